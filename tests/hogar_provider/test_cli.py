"""``airflow hogar``, in processes of its own, against a real agent and a real metadata database."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from earg.client import NoAgentError, connect
from tests.hogar_provider.airflows import AirflowCommand
from tests.hogar_provider.folders import LOADERS, MODELS, ROOT, chain

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

UNDEPLOY = ROOT / "dags/hogar_undeploy.py"


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowCommand]:
    """An Airflow that has deployed the graph Small-One, of two operators."""
    airflow = AirflowCommand(tmp_path_factory.mktemp("airflow"))
    airflow.dags.mkdir()
    for file in (*LOADERS, UNDEPLOY, *MODELS.glob("*.*")):
        shutil.copy(file, airflow.dags)
    text = chain("Small-One", "test/upper:1", "test/backwards:1")
    (airflow.dags / "small.udgl").write_text(text)
    airflow.run("db", "migrate")
    airflow.run("dag-processor", "--num-runs", "1")
    airflow.run("dags", "test", "Small-One")
    yield airflow
    try:
        with connect(airflow.earg, start=False) as client:
            client.shutdown()
    except NoAgentError:
        pass


def test_status_tells_what_serves_and_whose_it_is(airflow: AirflowCommand) -> None:
    (row,) = airflow.rows("hogar", "status")
    url = row.pop("url")
    assert url.startswith("http://127.0.0.1:")
    assert row == {
        "graph": "Small_One",
        "version": "1",
        "state": "serving",
        "nodes": "2/2",
        "dag_id": "Small-One",
        "orphaned": "False",
        "warnings": "",
    }
    table = airflow.run("hogar", "status", "Small-One")
    header, line = (text for text in table.splitlines() if "|" in text)
    assert [word.strip() for word in header.split("|")][:3] == ["graph", "version", "state"]
    assert line.split("|")[0].strip() == "Small_One"
    (again,) = yaml.safe_load(airflow.run("hogar", "status", "--output", "yaml"))
    assert again["url"] == url


def test_nodes_are_told_with_their_processes(airflow: AirflowCommand) -> None:
    rows = airflow.rows("hogar", "nodes", "Small-One")
    assert [(row["node"], row["state"], row["role"]) for row in rows] == [
        ("A", "ready", "primary"),
        ("B", "ready", "primary"),
    ]
    assert all(int(row["model_pid"]) > 0 and int(row["proxy_pid"]) > 0 for row in rows)


def test_a_batch_limit_is_shown_and_changed(airflow: AirflowCommand) -> None:
    (before,) = airflow.rows("hogar", "batch", "Small-One", "A")
    assert (before["limit"], before["set_by"]) == ("1", "config")
    (changed,) = airflow.rows("hogar", "batch", "Small-One", "A", "8", "--wait", "5ms")
    assert (changed["limit"], changed["limit_before"], changed["wait"]) == ("8", "1", "0.005")
    (after,) = airflow.rows("hogar", "batch", "Small-One", "A")
    assert after["limit"] == "8"
    assert after["set_by"].startswith("airflow hogar batch (")
    assert "--static" in airflow.refused(
        "hogar", "batch", "Small-One", "A", "--dynamic", "--static"
    )


def test_a_request_is_answered(airflow: AirflowCommand) -> None:
    assert airflow.run("hogar", "send", "Small-One", "--text", "hogar") == "RAGOH\n"
    (answer,) = airflow.rows("hogar", "send", "Small_One", "--text", "hogar")
    assert (answer["reply"], answer["content_type"]) == ("RAGOH", "text/plain")
    assert "one of --text, --value and --file" in airflow.refused("hogar", "send", "Small-One")
    assert "is no JSON" in airflow.refused("hogar", "send", "Small-One", "--value", "{")


def test_logs_and_events_are_told(airflow: AirflowCommand) -> None:
    lines = airflow.rows("hogar", "logs", "Small-One", "A", "--proxy")
    assert lines
    text = airflow.run("hogar", "logs", "Small-One", "A", "--proxy", "--lines", "1")
    assert text == lines[-1]["line"] + "\n"
    events = airflow.rows("hogar", "events", "Small-One")
    assert ("A", "ready") in {(event["node"], event["after"]) for event in events}
    assert len(airflow.rows("hogar", "events", "--limit", "1")) == 1


def test_what_is_not_there_is_a_sentence(airflow: AirflowCommand) -> None:
    assert "no graph 'Other' is deployed here (deployed: Small_One)" in airflow.refused(
        "hogar", "status", "Other"
    )
    assert "has no node 'Z' (nodes: A, B)" in airflow.refused("hogar", "logs", "Small-One", "Z")
    assert "earg_elsewhere" in airflow.refused("hogar", "status", "--conn-id", "earg_elsewhere")


def test_a_connection_of_the_database_names_the_engine(airflow: AirflowCommand) -> None:
    other = airflow.home / "other"
    extra = json.dumps({"home": str(other)})
    airflow.run("connections", "add", "earg_other", "--conn-type", "earg", "--conn-extra", extra)
    done = airflow.start("hogar", "status", "--conn-id", "earg_other", "--output", "json")
    assert json.loads(done.stdout) == []
    assert f"no agent runs in {other}" in done.stderr


def test_a_graph_without_its_file_is_orphaned_until_it_is_taken_down(
    airflow: AirflowCommand,
) -> None:
    file = airflow.dags / "small.udgl"
    (row,) = airflow.rows("hogar", "graphs")
    assert (row["file"], row["state"], row["orphaned"]) == (str(file), "serving", "False")

    text = file.read_text()
    file.unlink()
    airflow.run("dag-processor", "--num-runs", "1")
    (row,) = airflow.rows("hogar", "status")
    assert (row["state"], row["dag_id"], row["orphaned"]) == ("serving", "Small-One", "True")
    assert airflow.run("hogar", "send", "Small-One", "--text", "hogar") == "RAGOH\n"

    file.write_text(text)
    airflow.run("dag-processor", "--num-runs", "1")
    (row,) = airflow.rows("hogar", "status")
    assert row["orphaned"] == "False"

    left = airflow.start("hogar", "undeploy", "Small-One", stdin="n\n")
    assert left.returncode == 1
    assert "left as it is" in left.stderr
    (down,) = airflow.rows("hogar", "undeploy", "Small-One", "--yes")
    assert down == {"graph": "Small_One", "version": "1", "unanswered": "0"}
    (row,) = airflow.rows("hogar", "graphs")
    assert (row["dag_id"], row["state"], row["orphaned"]) == ("Small-One", "not deployed", "False")


def test_the_dag_hogar_undeploy_takes_a_graph_down(airflow: AirflowCommand) -> None:
    airflow.run("dags", "test", "Small-One")
    assert airflow.rows("hogar", "status") != []
    for _ in range(2):  # Of a graph that is down already there is nothing to do.
        conf = json.dumps({"graph": "Small-One", "how": "at once"})
        log = airflow.run("dags", "test", "hogar_undeploy", "--conf", conf)
        assert "state=success" in log
        assert airflow.rows("hogar", "status") == []


def test_the_commands_cost_other_commands_neither_grpc_nor_the_runtime(tmp_path: Path) -> None:
    code = (
        "import sys; from airflow.cli import cli_parser; cli_parser.get_parser().format_help(); "
        "assert 'hogar' in cli_parser.ALL_COMMANDS_DICT; "
        "print(sorted({'earg', 'udgl', 'grpc', 'lark'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=AirflowCommand(tmp_path).variables(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"
