"""The hook: which agent a connection means, and its form."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from earg.client import AgentClient, connect
from earg.home import find_home
from hogar_provider import get_provider_info
from hogar_provider.engines.local import LocalEngine
from hogar_provider.exceptions import AirflowException, AirflowNotFoundException
from hogar_provider.hooks.earg import EargHook

TOKEN = "a-token-that-nobody-else-may-see-4711"


@contextmanager
def listening() -> Iterator[tuple[str, list[str | None]]]:
    """A frontend's URL, and what callers have shown it."""
    shown: list[str | None] = []

    class Frontend(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            shown.append(self.headers["Authorization"])
            self.rfile.read(int(self.headers["Content-Length"]))
            busy = "busy" in self.path
            body = b'{"error": "not now"}' if busy else b"hi"
            self.send_response(503 if busy else 200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Frontend) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", shown
        finally:
            server.shutdown()
            thread.join()


def define(monkeypatch: pytest.MonkeyPatch, conn_id: str, **extra: object) -> None:
    """Define an Airflow connection, as its environment variable does."""
    value = json.dumps({"conn_type": "earg", "extra": extra})
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", value)


def test_without_any_connection_it_is_the_agent_of_this_machine(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EARG_HOME", str(home))
    with EargHook().get_conn() as client:
        assert client.home.path == home
        assert client.hello()[1] > 0


def test_a_connection_names_the_agents_folder(connection: Path) -> None:
    with EargHook().get_conn() as client:
        assert client.home.path == connection


def test_a_connection_without_a_folder_is_the_agent_of_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    define(monkeypatch, "earg_default")
    assert EargHook().engine().home == find_home()


def test_another_connection_that_is_not_defined_is_an_error() -> None:
    with pytest.raises(AirflowNotFoundException, match="earg_elsewhere"):
        EargHook("earg_elsewhere").get_conn()


@pytest.mark.parametrize("value", ["relative/path", 7, ["/a"]])
def test_a_folder_that_makes_no_sense_is_an_error(
    value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    define(monkeypatch, "earg_odd", home=value)
    with pytest.raises(AirflowException, match=r"'earg_odd': 'home' must be an absolute path"):
        EargHook("earg_odd").get_conn()


def test_the_connection_test_tells_of_a_running_agent(agent: AgentClient) -> None:
    good, message = EargHook().test_connection()
    assert good
    assert f"pid {agent.hello()[1]}" in message
    assert "Deployed graphs: none" in message


def test_the_connection_test_starts_no_agent(connection: Path) -> None:
    good, message = EargHook().test_connection()
    assert good
    assert str(connection) in message
    assert "first deploy" in message
    assert not (connection / "agent.log").exists()


def test_the_connection_test_fails_where_no_agent_could_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    define(monkeypatch, "earg_default", home=str(tmp_path / "file" / "below"))
    good, message = EargHook().test_connection()
    assert not good
    assert str(tmp_path / "file") in message


def test_the_connection_test_fails_for_a_folder_that_makes_no_sense(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    define(monkeypatch, "earg_default", home="relative")
    assert EargHook().test_connection()[0] is False


def test_older_and_newer_airflows_draw_the_same_form() -> None:
    (info,) = get_provider_info()["connection-types"]
    behaviour = EargHook.get_ui_field_behaviour()
    assert behaviour["hidden_fields"] == info["ui-field-behaviour"]["hidden-fields"]
    widgets = EargHook.get_connection_form_widgets()
    assert set(widgets) == set(info["conn-fields"])
    assert widgets["home"].kwargs["description"] == info["conn-fields"]["home"]["description"]
    assert widgets["start"].field_class.__name__ == "BooleanField"


def test_the_connection_local_needs_no_definition(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EARG_HOME", str(home))
    assert EargHook("local").engine() == LocalEngine(find_home())
    with EargHook("local").get_conn() as client:
        assert client.home.path == home


def test_the_configuration_names_the_connection_where_nobody_else_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    define(monkeypatch, "earg_elsewhere", home=str(tmp_path))
    assert EargHook(None).earg_conn_id == "earg_default"
    monkeypatch.setenv("AIRFLOW__HOGAR__DEFAULT_CONN_ID", "earg_elsewhere")
    assert EargHook(None).engine().home.path == tmp_path
    assert EargHook("earg_default").engine().home == find_home()


@pytest.mark.parametrize("value", [False, "false", "False"])
def test_a_connection_may_forbid_to_start_an_agent(
    value: object, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    define(monkeypatch, "earg_default", home=str(home), start=value)
    with pytest.raises(AirflowException, match="forbids to start one"):
        EargHook().get_conn()
    good, message = EargHook().test_connection()
    assert not good
    assert "earg agent start" in message
    assert not (home / "agent.log").exists()


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        (
            {"engine": "nomad"},
            "'engine' must be one of 'local', 'docker', 'kubernetes', not 'nomad'",
        ),
        ({"engine": 7}, "'engine' must be a name, not 7"),
        ({"start": "perhaps"}, "'start' must be true or false, not 'perhaps'"),
    ],
)
def test_an_extra_that_makes_no_sense_is_an_error(
    extra: dict[str, object], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    define(monkeypatch, "earg_odd", **extra)
    with pytest.raises(AirflowException, match=sentence):
        EargHook("earg_odd").engine()


def test_a_token_is_shown_to_the_frontend_and_to_nobody_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    value = json.dumps({"conn_type": "earg", "password": TOKEN})
    monkeypatch.setenv("AIRFLOW_CONN_EARG_DEFAULT", value)
    with listening() as (url, shown):
        assert EargHook().send(url, b"Hello", "text/plain") == (b"hi", "text/plain")
        with pytest.raises(AirflowException, match="HTTP 503: not now"):
            EargHook().send(f"{url}/busy", b"Hello", "text/plain")
    assert shown == [f"Bearer {TOKEN}"] * 2
    assert TOKEN not in repr(EargHook().engine())
    with pytest.raises(AirflowException, match="does not answer"):
        EargHook().send(url, b"Hello", "text/plain", timeout=2)


def test_a_token_is_masked_in_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.log import redact

    value = json.dumps({"conn_type": "earg", "password": TOKEN})
    monkeypatch.setenv("AIRFLOW_CONN_EARG_DEFAULT", value)
    EargHook().engine()
    assert redact(f"the token is {TOKEN}") == "the token is ***"


def test_an_agent_that_cannot_be_started_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    define(monkeypatch, "earg_default", home=str(tmp_path / "file" / "below"))
    with pytest.raises(AirflowException, match="'earg_default'") as caught:
        EargHook().get_conn()
    assert str(tmp_path / "file") in str(caught.value)


def test_a_client_of_the_hook_is_a_client_of_the_same_agent(connection: Path) -> None:
    with EargHook().get_conn() as first, connect(connection, start=False) as second:
        assert first.hello() == second.hello()
