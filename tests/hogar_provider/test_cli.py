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

BY_HAND = '''
from airflow.sdk import DAG
from hogar_provider.operators.deploy import DeployNodeOperator
from hogar_provider.operators.wire import WireGraphOperator

CONFIG = """1
0
A,1,test/upper:1,false,1
"""
with DAG("by_hand", schedule=None):
    deploy = DeployNodeOperator(
        task_id="deploy", graph="Handy", version="1", config=CONFIG, index=1
    )
    deploy >> WireGraphOperator(task_id="wire", graph="Handy")
'''
"""A DAG that deploys a graph without any UDGL file."""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowCommand]:
    """An Airflow that has deployed the graph Small-One, of two operators."""
    settings = {
        # A DAG that its file gives no longer is noticed after these seconds.
        "AIRFLOW__DAG_PROCESSOR__STALE_DAG_THRESHOLD": "5",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "0",
        "AIRFLOW__SCHEDULER__PARSING_CLEANUP_INTERVAL": "0",
    }
    airflow = AirflowCommand(tmp_path_factory.mktemp("airflow"), settings)
    airflow.dags.mkdir()
    for file in (*LOADERS, *MODELS.glob("*.*")):
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


def test_status_and_nodes_tell_what_serves_and_whose_it_is(airflow: AirflowCommand) -> None:
    ((row,), nodes, (graph,)) = airflow.rows(
        "hogar status", "hogar nodes Small-One", "hogar graphs"
    )
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
    assert [(node["node"], node["state"], node["role"]) for node in nodes] == [
        ("A", "ready", "primary"),
        ("B", "ready", "primary"),
    ]
    assert all(int(node["model_pid"]) > 0 and int(node["proxy_pid"]) > 0 for node in nodes)
    assert (graph["dag_id"], graph["file"]) == ("Small-One", str(airflow.dags / "small.udgl"))


def test_the_output_has_the_forms_of_airflows_own_commands(airflow: AirflowCommand) -> None:
    table = airflow.run("hogar", "status", "Small-One")
    header, line = (text for text in table.splitlines() if "|" in text)
    assert [word.strip() for word in header.split("|")][:3] == ["graph", "version", "state"]
    assert line.split("|")[0].strip() == "Small_One"
    (_, text, _), (_, plain, _) = airflow.each(
        "hogar status --output yaml", "hogar nodes --output plain"
    )
    assert yaml.safe_load(text)[0]["graph"] == "Small_One"
    assert plain.splitlines()[1].split()[:2] == ["Small_One", "A"]


def test_a_batch_limit_is_shown_and_changed(airflow: AirflowCommand) -> None:
    show = "hogar batch Small-One A"
    ((before,), (changed,), (after,)) = airflow.rows(show, f"{show} 8 --wait 5ms", show)
    assert (before["limit"], before["set_by"]) == ("1", "config")
    assert (changed["limit"], changed["limit_before"], changed["wait"]) == ("8", "1", "0.005")
    assert (after["limit"], after["wait"]) == ("8", "0.005")
    assert after["set_by"].startswith("airflow hogar batch (")


def test_a_request_is_answered(airflow: AirflowCommand) -> None:
    send = "hogar send Small-One --text hogar"
    (code, out, _), (_, answer, _) = airflow.each(send, f"{send} --output json")
    assert (code, out) == (0, "RAGOH\n")
    (answered,) = json.loads(answer)
    assert (answered["reply"], answered["content_type"]) == ("RAGOH", "text/plain")


def test_logs_and_events_are_told(airflow: AirflowCommand) -> None:
    lines, events, (last,) = airflow.rows(
        "hogar logs Small-One A --proxy", "hogar events Small-One", "hogar events --limit 1"
    )
    ((_, text, _),) = airflow.each("hogar logs Small-One A --proxy --lines 1")
    assert text == lines[-1]["line"] + "\n"
    assert ("A", "ready") in {(event["node"], event["after"]) for event in events}
    assert last == events[-1]


def test_what_cannot_be_done_is_a_sentence(airflow: AirflowCommand) -> None:
    said = airflow.refusals(
        "hogar status Other",
        "hogar logs Small-One Z",
        "hogar status --conn-id earg_elsewhere",
        "hogar batch Small-One A --dynamic --static",
        "hogar batch Small-One A 0",
        "hogar send Small-One",
        "hogar send Small-One --value {",
        "hogar undeploy Small-One --yes --timeout nan",
    )
    wanted = (
        "no graph 'Other' is deployed here (deployed: Small_One)",
        "has no node 'Z' (nodes: A, B)",
        "earg_elsewhere",
        "either --dynamic or --static",
        "limit",
        "one of --text, --value and --file",
        "is no JSON",
        "0 or more seconds",
    )
    for sentence, part in zip(said, wanted, strict=True):
        assert part in sentence


def test_a_connection_of_the_database_names_the_engine(airflow: AirflowCommand) -> None:
    other = airflow.home / "other"
    extra = json.dumps({"home": str(other)})
    airflow.run("connections", "add", "earg_other", "--conn-type", "earg", "--conn-extra", extra)
    ((_, out, err),) = airflow.each("hogar status --conn-id earg_other --output json")
    assert json.loads(out) == []
    assert f"no agent runs in {other}" in err


def test_a_graph_without_its_file_is_orphaned_until_it_has_one_again(
    airflow: AirflowCommand,
) -> None:
    file = airflow.dags / "small.udgl"
    text = file.read_text()
    file.unlink()
    parse_until(airflow, "orphaned", "True")
    ((row,), (graph,), (answer,)) = airflow.rows(
        "hogar status", "hogar graphs", "hogar send Small-One --text hogar"
    )
    assert (row["state"], row["dag_id"]) == ("serving", "Small-One")
    assert graph["orphaned"] == "True"
    assert answer["reply"] == "RAGOH"

    file.write_text(text)
    parse_until(airflow, "orphaned", "False")


def parse_until(airflow: AirflowCommand, column: str, value: str) -> None:
    """Let the dag processor read the folder until the graph's status is so."""
    for _ in range(4):
        airflow.run("dag-processor", "--num-runs", "2")
        ((row,),) = airflow.rows("hogar status")
        if row[column] == value:
            return
    raise AssertionError(row)


def test_a_graph_of_a_hand_written_dag_is_no_orphan_and_one_of_no_dag_is(
    airflow: AirflowCommand,
) -> None:
    (airflow.dags / "by_hand.py").write_text(BY_HAND)
    airflow.run("dag-processor", "--num-runs", "1")
    airflow.run("dags", "test", "by_hand")
    rows = {row["graph"]: row for (*rows,) in airflow.rows("hogar status") for row in rows}
    assert (rows["Handy"]["dag_id"], rows["Handy"]["orphaned"]) == ("by_hand", "False")
    airflow.run("dags", "delete", "by_hand", "--yes")
    rows = {row["graph"]: row for (*rows,) in airflow.rows("hogar status") for row in rows}
    assert (rows["Handy"]["dag_id"], rows["Handy"]["orphaned"]) == ("", "True")
    ((down,),) = airflow.rows("hogar undeploy Handy --now --yes")
    assert down["graph"] == "Handy"


def test_a_graph_is_taken_down_once_a_person_has_confirmed_it(airflow: AirflowCommand) -> None:
    left = airflow.start("hogar", "undeploy", "Small-One", stdin="n\n")
    assert left.returncode == 1
    assert "left as it is" in left.stderr
    (serving, (down,), nothing, (graph,)) = airflow.rows(
        "hogar status", "hogar undeploy Small-One --yes", "hogar status", "hogar graphs"
    )
    assert len(serving) == 1
    assert down == {"graph": "Small_One", "version": "1", "unanswered": "0"}
    assert nothing == []
    assert (graph["dag_id"], graph["state"], graph["orphaned"]) == (
        "Small-One",
        "not deployed",
        "False",
    )


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
