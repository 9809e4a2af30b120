"""A graph that chooses, has replicas, waits, an environment and classes of its own: deployed by the
provider's tasks, redeployed, and shown."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import udgl
from earg.client import AgentClient
from earg.status import GraphStatus
from hogar_provider.dag_builder import GraphDag, build_dag
from hogar_provider.plugins.api.declared import read_declared
from hogar_provider.plugins.api.graph_view import graph_view
from hogar_provider.plugins.api.looking import Looker
from hogar_provider.redeploy import deployed_graph, redeploy_difference
from tests.hogar_provider.folders import stored
from tests.hogar_provider.running import run
from tests.hogar_provider.test_operators import ask

OPERATORS = """\
meta
  name Grown-Up
  version 1
defaults
  timeout 20s
operator Words
  entrypoint small:Words, batch dynamic 16, latency 40ms, wait 1ms
operator Short
  entrypoint small:Says, env GREETING="good morning", replicas 2, retries 1
operator Long
  image test/says:1, env GREETING=hello
operator Router
  image test/says:1, cpu 2
operator Left
  entrypoint small:Says, env GREETING=left
operator Right
  entrypoint small:Says, env GREETING=right
"""
TOTAL = """\
operator Total
  image test/last:1, stateful Yes, backup 0
"""
FLOW = """\
logical flow
switch
  Words -> Short when count <= 2, Long when words contains "long"
  Words -> Router otherwise
split
  Router -> Left 75%, Right 25%
distribute
  Short -> Total
  Long -> Total
  Left -> Total
  Right -> Total
"""
GROWN = OPERATORS + TOTAL + FLOW


def build(folder: Path, text: str = GROWN) -> GraphDag:
    path = folder / "grown.udgl"
    path.write_text(text, encoding="utf-8")
    return build_dag(udgl.load(path), path, text)


def test_the_tasks_follow_every_edge_of_a_graph_that_chooses(models: Path) -> None:
    dag = build(models)
    below = {
        task.task_id: {other.removeprefix("probe.") for other in task.downstream_task_ids}
        for task in dag.tasks
    }
    assert below["probe.Words"] == {"Short", "Long", "Router"}
    assert below["probe.Router"] == {"Left", "Right"}
    assert below["probe.Total"] == {"serve"}
    several = build(models, GROWN.partition("distribute")[0].replace(TOTAL, ""))
    assert several.get_task("serve").upstream_task_ids == {
        *("probe.Short", "probe.Long", "probe.Left", "probe.Right"),
    }


def test_the_docs_tell_what_an_operator_says_and_what_is_not_heeded(models: Path) -> None:
    dag = build(models)
    assert "line 13: the local engine does not heed the cpu of Router" in dag.doc_md
    docs = dag.get_task("deploy.Short").doc_md
    assert "class `small:Says`" in docs
    assert 'timeout 20s, retries 1, replicas 2, env GREETING="good morning"' in docs
    assert "batch dynamic 16" in dag.get_task("deploy.Words").doc_md
    assert "stateful, without a backup" in dag.get_task("deploy.Total").doc_md


def test_what_is_stored_and_returned_is_plain_json(models: Path) -> None:
    dag = build(models)
    json.dumps(stored(dag))
    assert json.loads(dag.get_task("deploy.Words").extras)["switch"]


@pytest.mark.slow
def test_a_graph_that_has_grown_is_deployed_changed_and_shown(
    models: Path, agent: AgentClient
) -> None:
    dag = build(models)
    deploy_all(dag)
    graph = agent.graph("Grown_Up")

    # Requests go the right way.
    assert reply_of(graph, "one two") == ["good morning", 2]
    assert reply_of(graph, "a long long way") == ["hello", 4]
    ways = Counter(reply_of(graph, f"way number {i}")[0] for i in range(60))
    assert set(ways) == {"left", "right"}
    assert ways["left"] > ways["right"]

    # An unchanged run keeps its processes.
    before = pids(graph)
    assert len(before["Short"][0]) == 2
    assert len(before["Total"]) == 1
    assert set(deploy_all(dag)) == {"unchanged"}
    assert pids(agent.graph("Grown_Up")) == before
    again = redeploy_difference(agent, dag.graph)
    assert again is not None
    assert not again, str(again)
    assert deployed_graph(agent, "Grown_Up") is not None

    # What a run's params say of batches goes with the extras.
    assert "unchanged" in deploy_all(dag, batch={"Words": 4})
    assert agent.statistics("Grown_Up").nodes[0].statistics.batch_limit <= 4  # type: ignore[union-attr]

    # A changed switch, wait and environment replace only what they must.
    changed = (
        GROWN.replace("count <= 2", "count <= 3")
        .replace("wait 1ms", "wait 2ms")
        .replace("GREETING=left", "GREETING=links")
        .replace("retries 1", "retries 2")
    )
    view = view_of(agent, changed)
    assert "Words is declared to choose otherwise than it does" in view.message
    assert drift(view)["Short"] == ["retries 2 is declared, 1 runs"]
    assert drift(view)["Left"] == ["env GREETING is declared otherwise than it runs"]
    assert "wait 2ms is declared, 1ms is set by config" in drift(view)["Words"]

    difference = str(redeploy_difference(agent, udgl.parse(changed)))
    assert "~ operator Short: retries 1 -> 2" in difference
    assert "~ operator Left: env" in difference
    deploy_all(build(models, changed))
    graph = agent.graph("Grown_Up")
    after = pids(graph)
    assert {name for name in after if after[name] != before[name]} == {"Words", "Short", "Left"}
    assert reply_of(graph, "one two three")[0] == "good morning"
    waiting = build(models, changed.replace("wait 2ms", "wait 3ms"))
    assert any(
        "batch set live" in change or change == "unchanged" for change in deploy_all(waiting)
    )
    assert pids(agent.graph("Grown_Up")) == after
    statistics = agent.statistics("Grown_Up").nodes[0].statistics
    assert statistics is not None
    assert (statistics.batch_wait, statistics.batch_dynamic) == (0.003, True)

    # The live view knows all of it.
    view = view_of(agent, waiting.text)
    assert drift(view) == {key: [] for key in after}
    assert view.message == ""
    names = {node.index: node.name for node in view.nodes}
    flows = {(names[f.source], names[f.target]): (f.kind, f.label) for f in view.flows}
    assert flows["Words", "Short"] == ("switch", "count <= 3")
    assert flows["Words", "Router"] == ("switch", "otherwise")
    assert flows["Router", "Left"] == ("split", "75 %")
    declared = {node.name: node.declared for node in view.nodes}
    assert declared["Words"].more == "wait 3ms, latency 40ms, timeout 20s"  # type: ignore[union-attr]
    assert declared["Words"].batch == -16  # type: ignore[union-attr]


def deploy_all(dag: GraphDag, **params: Any) -> list[str]:
    """Run all tasks of a run; what each deploy says that it has changed."""
    names = [node for node in dag.task_ids if node.startswith("deploy.")]
    probes = [node for node in dag.task_ids if node.startswith("probe.")]
    deployed = run(dag, *names, **params)
    json.dumps(deployed)
    run(dag, "wire", *probes, "serve", **params)
    return [one["change"] for one in deployed]


def reply_of(graph: GraphStatus, text: str) -> Any:
    return json.loads(ask(graph.url, text))


def pids(graph: GraphStatus) -> dict[str, list[list[int]]]:
    return {node.name: [list(pair.model_pids) for pair in node.pairs] for node in graph.nodes}


def view_of(agent: AgentClient, text: str) -> Any:
    declared = read_declared("Grown-Up", text, {}, "")
    return graph_view(declared, Looker(agent.home, "Grown_Up").look())


def drift(view: Any) -> dict[str, list[str]]:
    return {node.name: node.drift for node in view.nodes}
