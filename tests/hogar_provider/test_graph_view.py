"""The view of a graph, computed from what is declared and what the agent tells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import udgl
from earg.config import Edge, NodeSpec, StaticConfig
from earg.extras import Extras, NodeExtras, read_extras
from earg.request_wire import GraphLoad
from earg.statistics import EarlierCounts, GraphStatistics, Histogram, NodeReport, NodeStatistics
from earg.status import Event, GraphStatus, NodeState, NodeStatus, PairStatus, Role
from earg.usage import ContainerUsage, ProcessUsage, cores_used
from hogar_provider.dag_builder import build_dag
from hogar_provider.plugins.api.batch_view import batch_view, hint
from hogar_provider.plugins.api.declared import (
    Declared,
    connection_of,
    deploy_task,
    read_declared,
)
from hogar_provider.plugins.api.drift import (
    batch_of_config,
    choices_drift,
    drift_of,
    more_words,
    topology_drift,
)
from hogar_provider.plugins.api.flow_rates import flows_of, slowest_path
from hogar_provider.plugins.api.graph_view import Look, graph_view, summary
from hogar_provider.plugins.api.window import milliseconds, recent
from tests.hogar_provider.folders import chain, stored

BOUNDS = (0.001, 0.01, 0.1, 1.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
NOTHING = Histogram(BOUNDS, (0,) * 5, 0.0)


def sizes(**counts: int) -> Histogram:
    """So many batches of each size: ``sizes(s4=30)`` are 30 batches of 4."""
    by_size = {int(name[1:]): count for name, count in counts.items()}
    held = [by_size.get(int(bound), 0) for bound in SIZES]
    return Histogram(SIZES, (*held, 0), float(sum(size * n for size, n in by_size.items())))


def statistics(**changes: object) -> NodeStatistics:
    """A proxy's, of a node that does nothing."""
    plain = NodeStatistics(
        *("A.proxy", 100.0, 0, 0, 0, 0, 0, 0.0, 0.0, NOTHING, NOTHING, NOTHING, sizes(), 32),
        limit_set_by="config",
        batch_most=32,
    )
    return replace(plain, **changes)


def config(*names: str, dist: tuple[Edge, ...] = (), reduce: tuple[Edge, ...] = ()) -> StaticConfig:
    nodes = tuple(NodeSpec(name, "1", f"image/{name}:1", False, 32) for name in names)
    return StaticConfig(nodes, dist, reduce)


def declared(wanted: StaticConfig | None, problem: str = "") -> Declared:
    return Declared("Graph", "Graph", "1", "", "", "", wanted, problem=problem)


def node(index: int, name: str, state: NodeState, **changes: str) -> NodeStatus:
    pair = PairStatus(Role.PRIMARY, state, "127.0.0.9:22223", 11, 12, "", "", "", (11, 13))
    status = NodeStatus(index, name, "1", f"image/{name}:1", state, "", (pair,))
    return replace(status, **changes)


def status(*nodes: NodeStatus, url: str = "http://127.0.0.1:1") -> GraphStatus:
    return GraphStatus("Graph", "1", url, len(nodes), nodes)


def report(index: int, name: str, said: NodeStatistics | None, *used: ProcessUsage) -> NodeReport:
    return NodeReport(index, name, NodeState.READY, 0, said, "" if said else "gone", used)


# --- hints and fill -----------------------------------------------------------------------------


def test_batches_far_below_the_limit_say_that_it_holds_nothing_back() -> None:
    found = hint(statistics(), sizes(s4=30))
    assert found == "fills 4.0 of 32: the limit is not what holds this node back"
    assert "its wait only adds latency" in hint(statistics(batch_wait=0.01), sizes(s1=30))


def test_full_batches_and_a_queue_suggest_a_higher_limit() -> None:
    assert "a higher limit may raise the throughput" in hint(statistics(queued=64), sizes(s32=30))
    assert hint(statistics(queued=3), sizes(s32=30)) == ""


def test_an_objective_that_holds_a_dynamic_limit_down_is_named() -> None:
    said = statistics(batch_limit=8, batch_most=32, batch_dynamic=True, queued=20)
    assert hint(said, sizes(s8=30)).startswith("the objective holds the limit at 8 of 32")


def test_few_batches_and_a_limit_of_one_suggest_nothing() -> None:
    assert hint(statistics(), sizes(s4=19)) == ""
    assert hint(statistics(batch_limit=1), sizes(s1=100)) == ""


def test_fill_is_the_mean_batchs_share_of_the_limit() -> None:
    view = batch_view(statistics(batch_wait=0.005), sizes(s8=10, s16=10), 32)
    assert (view.mean, view.fill, view.wait_ms, view.declared) == (12.0, 0.375, 5.0, 32)
    empty = batch_view(statistics(), sizes(), None)
    assert (empty.mean, empty.fill, empty.declared) == (None, None, None)


# --- flows --------------------------------------------------------------------------------------


def test_distribute_and_reduce_edges_carry_what_their_source_hands_on() -> None:
    graph = config(*("A", "B", "C", "D"), dist=(Edge((1,), (2, 3)),), reduce=(Edge((2, 3), (4,)),))
    flows = flows_of(graph, None, {1: 10.0, 2: 9.0, 3: 8.0, 4: 8.0})
    assert [(f.source, f.target, f.kind, f.requests_per_second) for f in flows] == [
        (1, 2, "distribute", 10.0),
        (1, 3, "distribute", 10.0),
        (2, 4, "reduce", 9.0),
        (3, 4, "reduce", 8.0),
    ]


def test_choices_carry_a_part_of_it_where_that_can_be_told() -> None:
    graph = config(
        *("A", "B", "C", "D"), dist=(Edge((1,), (2, 3)), Edge((2,), (4,)), Edge((3,), (4,)))
    )
    split = read_extras("split: {A: {B: 90, C: 10}}", graph)
    rates = {1: 10.0, 2: 7.0, 3: 3.0, 4: 10.0}
    found = [(f.kind, f.label, f.requests_per_second) for f in flows_of(graph, split, rates)]
    assert found[:2] == [("split", "90 %", 9.0), ("split", "10 %", 1.0)]
    switch = read_extras("""switch: {A: [{to: B, when: 'label == "x"'}, {to: C}]}""", graph)
    found = [(f.kind, f.label, f.requests_per_second) for f in flows_of(graph, switch, rates)]
    assert found[0] == ("switch", 'label == "x"', 7.0)
    assert found[1] == ("switch", "otherwise", 3.0)


def test_the_slowest_path_sums_latencies_along_the_flows() -> None:
    graph = config(*("A", "B", "C", "D"), dist=(Edge((1,), (2, 3)),), reduce=(Edge((2, 3), (4,)),))
    flows = flows_of(graph, Extras(), {})
    assert slowest_path(flows, {1: 1.0, 2: 5.0, 3: 9.0, 4: 2.0}) == 12.0
    assert slowest_path(flows, {1: None, 2: 5.0, 3: None, 4: None}) == 5.0
    assert slowest_path(flows, dict.fromkeys((1, 2, 3, 4))) is None


# --- drift --------------------------------------------------------------------------------------


def test_drift_names_what_is_declared_and_what_runs() -> None:
    spec = NodeSpec("A", "2", "image/A:2", True, -64)
    assert drift_of(spec, "1", "image/A:1", False, statistics(limit_set_by="ann")) == [
        "version 2 is declared, 1 runs",
        "image image/A:2 is declared, image/A:1 runs",
        "stateful Yes is declared, No runs",
        "batch dynamic up to 64 is declared, 32 is set by ann",
    ]
    assert drift_of(None, "1", "i", False, None) == ["is not declared any more"]


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (32, {}),
        (0, {"batch_limit": 1, "batch_most": 1}),
        (1, {"batch_limit": 1, "batch_most": 1}),
        (-32, {"batch_limit": 7, "batch_dynamic": True}),
    ],
)
def test_a_batch_as_declared_is_no_drift(batch: int, said: dict[str, object]) -> None:
    spec = NodeSpec("A", "1", "i", False, batch)
    assert drift_of(spec, "1", "i", False, statistics(**said)) == []
    assert batch_of_config(batch)


def test_operators_and_flows_that_do_not_run_are_told() -> None:
    runs = config("A", "B", dist=(Edge((1,), (2,)),))
    more = config("A", "B", "C", dist=(Edge((1,), (2,)), Edge((2,), (3,))))
    assert topology_drift(more, runs) == ["declared and not deployed: C"]
    other = config("A", "B", dist=(Edge((2,), (1,)),))
    assert topology_drift(other, runs) == [
        "the declared flows are not those that run: deploy the graph again"
    ]
    assert topology_drift(runs, runs) == topology_drift(None, runs) == []


# --- figures of late ----------------------------------------------------------------------------


def test_latencies_are_those_since_what_the_agent_tells_of_before() -> None:
    held = Histogram(BOUNDS, (100, 0, 0, 0, 0), 0.05)
    before = EarlierCounts("A.proxy", 50.0, NOTHING, NOTHING, held, sizes())
    now = statistics(total=Histogram(BOUNDS, (100, 0, 10, 0, 0), 0.55))
    assert recent(now, before).total.count == 10
    assert recent(now, None).total.count == 110
    # A proxy that was replaced counts anew.
    assert recent(now, replace(before, proxy="another")).total.count == 110
    assert recent(now, replace(before, uptime=500.0)).total.count == 110
    assert milliseconds(NOTHING, 0.95) is None
    assert milliseconds(now.total, 0.5) == pytest.approx(0.55)


def test_cores_are_those_of_late_or_those_since_the_start() -> None:
    def used(pid: int, seconds: float, age: float) -> ProcessUsage:
        return ProcessUsage(pid, "model", "primary", seconds, age, 1000)

    def container(
        name: str, cores: float | None, seconds: float = 0.0, age: float = 0.0
    ) -> ProcessUsage:
        return ContainerUsage(name, "model", 5.0, cores, 1000, seconds, age).of("primary")

    now = [used(1, 12.0, 100.0), used(2, 3.0, 6.0)]
    assert cores_used(now, [used(1, 10.0, 90.0)]) == pytest.approx(0.2 + 0.5)
    assert cores_used([], []) is None
    # Containers have no pid to be told apart by, and their platform tells them now and then.
    now = [container("a", 0.7, 12.0, 100.0), container("b", 0.25)]
    assert cores_used(now, [container("a", 0.1, 10.0, 90.0)]) == pytest.approx(0.2 + 0.25)
    assert cores_used(now, now) == pytest.approx(0.7 + 0.25)
    # One that was started anew, and one of which nothing is known yet.
    assert cores_used(now, [container("a", 0.1, 50.0, 90.0)]) == pytest.approx(0.7 + 0.25)
    assert cores_used([container("c", None)], []) is None


# --- the view -----------------------------------------------------------------------------------


def test_a_graph_that_is_not_deployed_is_shown_as_declared() -> None:
    wanted = config("A", "B", dist=(Edge((1,), (2,)),))
    view = graph_view(declared(wanted), Look(5.0, reachable=True))
    assert (view.deployed, view.state, view.at) == (False, "undeployed", 5.0)
    assert [(one.name, one.state) for one in view.nodes] == [
        ("A", "undeployed"),
        ("B", "undeployed"),
    ]
    assert [(one.source, one.target) for one in view.flows] == [(1, 2)]


def test_a_node_in_trouble_says_what_began_it() -> None:
    wanted = config("A", "B")
    nodes = (
        node(1, "A", NodeState.DEGRADED, reason="its backup is being replaced"),
        node(2, "B", NodeState.READY),
    )
    look = Look(1000.0, True, status(*nodes), None, wanted)
    events = [
        Event(900.0, "Graph", "A", "was killed by SIGTERM", "ready", "recovering", 1),
        Event(901.0, "Graph", "A", "it answers", "recovering", "ready", 2),
        Event(902.0, "Graph", "A", "was killed by SIGKILL", "ready", "recovering", 3),
        Event(903.0, "Graph", "A", "its backup is away", "recovering", "degraded", 4),
        Event(903.0, "Graph", "B", "was killed by SIGKILL", "ready", "recovering", 5),
        Event(904.0, "Graph", "B", "it answers", "recovering", "ready", 6),
    ]
    first, second = graph_view(declared(wanted), look, events).nodes
    assert (first.reason, first.since) == (
        "was killed by SIGKILL; its backup is being replaced",
        903.0,
    )
    assert second.reason == ""


def test_a_node_is_shown_with_its_state_since_and_pairs() -> None:
    wanted = config("A", "B", dist=(Edge((1,), (2,)),))
    look = Look(
        1000.0,
        True,
        status(node(1, "A", NodeState.READY), node(2, "B", NodeState.DEAD, reason="it ends")),
        GraphStatistics(
            "Graph",
            "1",
            (report(1, "A", statistics(requests=5, requests_per_second=2.5)), report(2, "B", None)),
        ),
        wanted,
        load=GraphLoad(3, 1.25),
    )
    events = [
        Event(900.0, "Graph", "B", "died", "ready", "recovering", 1),
        Event(950.0, "Graph", "B", "was given up", "recovering", "dead", 2),
        Event(960.0, "Graph", "A", "is slow", "ready", "busy", 3),
    ]
    view = graph_view(declared(wanted), look, events)
    first, second = view.nodes
    assert (view.state, view.in_graph) == ("dead", 3)
    # What clients got, whichever node failed, or none did: it may have been too late for them.
    assert view.errors_per_second == summary(view).errors_per_second == 1.25
    assert (second.state, second.reason, second.since) == ("dead", "it ends", 950.0)
    assert second.queued is second.p95_ms is second.batch is None
    # The last that is known of it is another state: since when it is ready, is not known.
    assert first.since is None
    assert (first.requests, first.requests_per_second) == (5, 2.5)
    assert first.pairs[0].host == "127.0.0.9"
    assert first.pairs[0].model_pids == [11, 13]
    line = summary(view)
    assert (line.nodes, line.nodes_dead, line.requests_per_second) == (2, 1, 2.5)


@pytest.mark.parametrize(
    ("states", "url", "expected"),
    [
        (("ready", "ready"), "http://x", "ready"),
        (("ready", "busy"), "http://x", "busy"),
        (("busy", "degraded"), "http://x", "degraded"),
        (("degraded", "recovering"), "http://x", "recovering"),
        (("ready", "ready"), "", "starting"),
        (("ready",), "http://x", "starting"),
    ],
)
def test_a_graphs_state_is_its_worst_nodes(
    states: tuple[str, ...], url: str, expected: str
) -> None:
    wanted = config("A", "B", dist=(Edge((1,), (2,)),))
    nodes = [node(i, "AB"[i - 1], NodeState(state)) for i, state in enumerate(states, start=1)]
    look = Look(1.0, True, status(*nodes, url=url), None, wanted)
    assert graph_view(declared(wanted), look).state == expected


def test_what_keeps_a_view_from_being_whole_is_said() -> None:
    look = Look(1.0, reachable=False, trouble="no agent runs in /x")
    view = graph_view(declared(None, problem="The code is not UDGL."), look)
    assert view.message == "The code is not UDGL. No agent runs in /x."


# --- what is declared ---------------------------------------------------------------------------


def test_the_code_of_a_dag_tells_its_graph() -> None:
    task = {"graph": "My_Graph", "version": "1"}
    found = read_declared("My-Graph", chain("My-Graph", "a:1", "b:1"), task, "")
    assert (found.name, found.version, found.problem) == ("My_Graph", "1", "")
    assert found.config is not None
    assert [one.name for one in found.config.nodes] == ["A", "B"]
    plain = read_declared("My-Graph", "import airflow\n", task, "gpu")
    assert (plain.name, plain.config, plain.conn_id) == ("My_Graph", None, "gpu")
    assert plain.problem


def test_only_a_dag_that_deploys_nodes_is_a_graph() -> None:
    other = {"__var": {"_task_module": "airflow.providers.standard.operators.empty"}}
    mine = {"__var": {"_task_module": "hogar_provider.operators.deploy", "graph": "G"}}
    assert deploy_task({"tasks": [other]}) is None
    assert (deploy_task({"tasks": [other, mine]}) or {})["graph"] == "G"


def test_the_connection_is_the_default_of_the_dags_param() -> None:
    dag = build_dag(udgl.parse(chain("One", "test/upper:1")), Path("one.udgl"))
    kept = stored(dag)
    task = deploy_task(kept)
    assert task is not None
    assert connection_of(kept, task) == ""
    dag.params["earg_conn_id"] = "gpu_box"
    assert connection_of(stored(dag), task) == "gpu_box"
    assert connection_of({}, {"earg_conn_id": "named"}) == "named"


# --- extras -------------------------------------------------------------------------------------


def drifts(wanted: NodeExtras, runs: NodeExtras, **said: object) -> list[str]:
    spec = NodeSpec("A", "1", "image/A:1", False, 32)
    return drift_of(spec, "1", "image/A:1", False, statistics(**said), (wanted, runs))


def test_what_extras_declare_is_compared_with_what_runs() -> None:
    wanted = NodeExtras(2, 0.005, 0.05, 10.0, retries=1, env=(("A", "1"),))
    assert drifts(wanted, wanted, batch_wait=0.005, batch_objective=0.05) == []
    assert drifts(wanted, NodeExtras(env=(("B", "1"),)), limit_set_by="ann") == [
        "wait 5ms is declared, 0 is set by ann",
        "latency 50ms is declared, as usual is set by ann",
        "timeout 10s is declared, as usual runs",
        "retries 1 is declared, 0 runs",
        "replicas 2 is declared, 1 runs",
        "env A, B is declared otherwise than it runs",
    ]
    assert drifts(NodeExtras(backup=0), NodeExtras()) == ["backup 0 is declared, 1 runs"]


def test_what_extras_say_is_told_in_the_languages_words() -> None:
    said = NodeExtras(2, 0.005, 0.05, 90.0, 3, 0, (("A", "secret"),))
    assert more_words(said) == (
        "wait 5ms, latency 50ms, timeout 90s, retries 3, replicas 2, backup 0, env A"
    )
    assert more_words(NodeExtras()) == ""


def test_another_switch_or_split_is_told_whatever_the_order_of_the_nodes() -> None:
    one = config("A", "B", "C", dist=(Edge((1,), (2, 3)),))
    other = config("A", "C", "B", dist=(Edge((1,), (2, 3)),))
    for text, changed in (
        ("split: {A: {B: 90, C: 10}}", "split: {A: {B: 10, C: 90}}"),
        (
            "switch: {A: [{to: B, when: 'x > 1'}, {to: C}]}",
            "switch: {A: [{to: B, when: 'x > 2'}, {to: C}]}",
        ),
    ):
        before = (one, read_extras(text, one))
        assert choices_drift(before, (other, read_extras(text, other))) == []
        (said,) = choices_drift(before, (other, read_extras(changed, other)))
        assert said.startswith("A is declared to choose otherwise")
    assert choices_drift(None, (one, Extras())) == []
