"""The operators beyond bringing a graph up, each alone: batches, requests, undeploying; links."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Asset

from earg.client import AgentClient
from hogar_provider.assets import graph_asset
from hogar_provider.dag_builder import GraphDag
from hogar_provider.exceptions import AirflowException, AirflowFailException
from hogar_provider.operators.batch import SetBatchOperator
from hogar_provider.operators.send import SendRequestOperator
from hogar_provider.operators.serve import ServeGraphOperator
from hogar_provider.operators.undeploy import UndeployGraphOperator
from hogar_provider.replies import PathError, at_path, difference
from tests.hogar_provider.running import build, prepared, run

pytestmark = pytest.mark.slow

UP = ("deploy.A", "wire", "probe.A", "serve")
KEY = SimpleNamespace(dag_id="Small", run_id="manual__1+2", task_id="deploy.A", map_index=-1)


@pytest.fixture
def words(models: Path, agent: AgentClient) -> GraphDag:
    """A graph that serves and replies JSON."""
    dag = build(models, "test/words:1")
    run(dag, *UP)
    return dag


def send(**arguments: Any) -> Any:
    return SendRequestOperator(task_id="send", graph="Small", **arguments).execute({})


def test_a_request_returns_its_reply(words: GraphDag) -> None:
    assert send(text="to be") == {"words": ["to", "be"], "count": 2}


def test_an_expected_reply_is_no_failure(words: GraphDag) -> None:
    send(text="to be", equals={"count": 2, "words": ["to", "be"]})
    send(text="to be", contains="be")
    send(text="to be", path="$.words[1]", equals="be")
    send(text="to be", path="count", equals=2)
    send(text="to be", path="words.0", contains="t")


def test_another_reply_fails_with_the_difference(words: GraphDag) -> None:
    with pytest.raises(AirflowException, match=r'(?s)-  "not".*\+  "to"'):
        send(text="to be", equals={"count": 2, "words": ["not", "be"]})
    with pytest.raises(AirflowException, match="does not contain 'question'"):
        send(text="to be", contains="question")
    with pytest.raises(AirflowException, match=r"(?s)at count .*-3\n\+2"):
        send(text="to be", path="count", equals=3)
    with pytest.raises(AirflowException, match=r"\$ has no 'sum'; it has words, count"):
        send(text="to be", path="sum", equals=3)


def test_an_error_reply_fails_the_task(words: GraphDag) -> None:
    with pytest.raises(AirflowException, match=r"answers: HTTP [45]"):
        send(value=3)


def test_a_graph_that_is_not_deployed_gets_no_request(agent: AgentClient) -> None:
    with pytest.raises(AirflowException, match="no graph 'Small' is deployed"):
        send(text="to be")


def test_a_request_is_one_thing(tmp_path: Path) -> None:
    with pytest.raises(AirflowFailException, match="Give one of text, value and file"):
        send(text="a", value=1)
    with pytest.raises(AirflowFailException, match="cannot be read"):
        send(file=tmp_path / "none.wav")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$", {"a": [{"b.c": 1}]}),
        ("a[0]", {"b.c": 1}),
        ('$.a[0]["b.c"]', 1),
        ("a.0", {"b.c": 1}),
    ],
)
def test_a_path_leads_to_a_value(path: str, value: Any) -> None:
    assert at_path({"a": [{"b.c": 1}]}, path) == value


@pytest.mark.parametrize("path", ["a[1]", "b", "a[0].b", "a[", "$..a"])
def test_a_path_that_leads_nowhere_says_so(path: str) -> None:
    with pytest.raises(PathError):
        at_path({"a": [{"b.c": 1}]}, path)


def test_values_are_compared_as_json() -> None:
    assert difference(1, 1.0) == ""
    assert difference(True, 1) != ""
    assert difference([True], [1]) != ""
    assert difference("a\nb", "a\nc").endswith("-b\n+c")
    assert difference("1", 1) != ""


def test_a_batch_is_set_and_what_was_before_returned(words: GraphDag, agent: AgentClient) -> None:
    task = SetBatchOperator(
        task_id="batch", graph="Small", node="A", limit="6", wait="0.01", dynamic="", dag=words
    )
    before = task.execute({})
    assert (before["limit"], before["who"]) == (1, "config")
    statistics = agent.statistics("Small").nodes[0].statistics
    assert statistics is not None
    assert (statistics.batch_limit, statistics.batch_wait) == (6, 0.01)
    assert statistics.limit_set_by == "Airflow task Small.batch"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Give one of limit, wait, objective and dynamic"),
        ({"limit": "x"}, "limit must be a number, not 'x'"),
        ({"limit": 1.5}, "limit must be a whole number"),
        ({"dynamic": "perhaps"}, "dynamic must be true or false"),
    ],
)
def test_a_batch_that_makes_no_sense_is_a_sentence(arguments: Any, message: str) -> None:
    task = SetBatchOperator(task_id="batch", graph="Small", node="A", **arguments)
    with pytest.raises(AirflowFailException, match=message):
        task.settings()


def test_a_batch_of_an_unknown_node_names_those_there_are(words: GraphDag) -> None:
    task = SetBatchOperator(task_id="batch", graph="Small", node="B", limit=2, dag=words)
    with pytest.raises(AirflowFailException, match="has no node 'B'; it has A"):
        task.execute({})


@pytest.mark.parametrize("drain", [True, False])
def test_a_graph_is_taken_down_and_that_can_be_repeated(
    words: GraphDag, agent: AgentClient, drain: bool
) -> None:
    task = UndeployGraphOperator(task_id="down", graph="Small", drain=drain)
    dry = UndeployGraphOperator(task_id="dry", graph="Small", dry=True)
    assert dry.execute({}) is None
    assert [graph.name for graph in agent.graphs()] == ["Small"]
    assert task.execute({}) is True
    assert agent.graphs() == ()
    assert task.execute({}) is False


def test_undeploying_starts_no_agent(connection: Path) -> None:
    assert UndeployGraphOperator(task_id="down", graph="Small").execute({}) is False
    assert not (connection / "agent.sock").exists()


def test_serving_updates_the_graphs_asset(words: GraphDag) -> None:
    asset = Asset("earg://Small")
    events = {asset: SimpleNamespace(extra={})}
    task = prepared(words, "serve")
    assert task.outlets == [asset]
    url = task.execute({"outlet_events": events})
    assert events[asset].extra == {"graph": "Small", "version": "1", "url": url}
    assert graph_asset("Small") == asset
    assert ServeGraphOperator(task_id="serve", graph="{{ params.graph }}").outlets == []


def test_links_lead_to_what_is_there(
    words: GraphDag, agent: AgentClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://airflow.example/base/")
    live = "http://airflow.example/base/dags/Small/plugin/hogar"
    elsewhere = SimpleNamespace(**vars(KEY) | {"dag_id": "mine"})
    for task_id in ("deploy.A", "probe.A", "wire", "serve"):
        task = prepared(words, task_id)
        task.execute({})
        links = {link.name: link.get_link(task, ti_key=KEY) for link in task.operator_extra_links}
        if task_id in ("wire", "serve"):
            assert links["Live view"] == live
        else:
            assert links["Live view"] == f"{live}#hogar?node=1"
            assert links["Node log"] == f"{live}#hogar?node=1&part=log"
        # In a DAG of somebody's own there is no such page.
        link = task.operator_extra_links[0].get_link(task, ti_key=elsewhere)
        with urllib.request.urlopen(link, timeout=20) as page:
            assert json.load(page)["name"] == "Small"
        with urllib.request.urlopen(links["Metrics"], timeout=20) as page:
            assert b"# HELP" in page.read()


def test_links_of_a_task_that_failed_lead_to_its_log(
    words: GraphDag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://airflow.example/base/")
    task = prepared(words, "deploy.A")
    links = {link.get_link(task, ti_key=KEY) for link in task.operator_extra_links}
    assert links == {
        "http://airflow.example/base/dags/Small/runs/manual__1%2B2/tasks/deploy.A",
    }
