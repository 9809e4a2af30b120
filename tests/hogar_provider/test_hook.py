"""The hook: which agent a connection means, and its form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from earg.client import AgentClient, connect
from hogar_provider import get_provider_info
from hogar_provider.exceptions import AirflowException, AirflowNotFoundException
from hogar_provider.hooks.earg import EargHook


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
    assert EargHook().agent_folder() is None


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
