"""Which host each node is on, in the live view's API and in the commands."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from earg.config import NodeSpec, StaticConfig
from earg.extras import Extras, NodeExtras
from earg.status import GraphStatus, HostStatus, NodeState, NodeStatus, PairStatus, Role
from hogar_provider.cli import nodes as nodes_command
from hogar_provider.cli.status import hosts_of
from hogar_provider.hooks.earg import EargHook
from hogar_provider.plugins.api.agents import engines_in_use
from hogar_provider.plugins.api.declared import Declared
from hogar_provider.plugins.api.graph_view import Look, graph_view, summary

CONFIG = StaticConfig(tuple(NodeSpec(name, "1", "i:1", name == "B", 8) for name in "AB"))

ALIVE = HostStatus("box-1", False, "", 900.0)
DEAD = HostStatus("box-2", True, "it answered last 6 s ago", 950.0)


def pair(host: str, state: NodeState = NodeState.READY, role: Role = Role.PRIMARY) -> PairStatus:
    return PairStatus(role, state, "10.0.0.7:22223", 0, 0, "", "", "", (), host)


def node(index: int, name: str, *pairs: PairStatus) -> NodeStatus:
    return NodeStatus(index, name, "1", "i:1", pairs[0].state, "", pairs)


def graph(
    *nodes: NodeStatus, hosts: tuple[HostStatus, ...] = (), frontend: str = ""
) -> GraphStatus:
    return GraphStatus("Graph", "1", "http://10.0.0.2:8500", 2, nodes, (), hosts, frontend)


BEFORE = graph(
    node(1, "A", pair("box-2")),
    node(2, "B", pair("box-1"), pair("box-2", role=Role.BACKUP)),
    hosts=(
        replace(ALIVE, nodes=("B",)),
        replace(DEAD, dead=False, reason="", nodes=("A", "B")),
    ),
    frontend="box-1",
)
AFTER = graph(
    node(1, "A", pair("box-1", NodeState.STARTING)),
    node(2, "B", pair("box-1")),
    hosts=(replace(ALIVE, nodes=("A", "B")), replace(DEAD, nodes=("A", "B"))),
    frontend="box-1",
)


def look(status: GraphStatus, engine: str = "docker", **more: object) -> Look:
    at = Look(1000.0, True, status, None, CONFIG, engine=engine)
    return replace(at, **more)  # type: ignore[arg-type]


DECLARED = Declared("Graph", "Graph", "1", "docker", "", "", CONFIG, Extras())


def test_a_graph_tells_its_hosts_and_the_host_of_each_pair() -> None:
    view = graph_view(DECLARED, look(BEFORE))
    assert (view.engine, view.frontend_host) == ("docker", "box-1")
    assert [[(one.role, one.host) for one in each.pairs] for each in view.nodes] == [
        [("primary", "box-2")],
        [("primary", "box-1"), ("backup", "box-2")],
    ]
    assert [(one.name, one.dead, one.nodes) for one in view.hosts] == [
        ("box-1", False, ["B"]),
        ("box-2", False, ["A", "B"]),
    ]
    line = summary(view)
    assert (line.engine, line.hosts, line.dead_hosts) == ("docker", 2, [])


def test_what_was_on_a_dead_host_is_told_after_it_was_started_elsewhere() -> None:
    view = graph_view(DECLARED, look(AFTER))
    # The dead one first: that is what a person has to see.
    dead, alive = view.hosts
    assert (dead.name, dead.dead, dead.since) == ("box-2", True, 950.0)
    assert dead.reason == "it answered last 6 s ago"
    assert dead.nodes == ["A", "B"]
    assert alive.nodes == ["A", "B"]
    assert summary(view).dead_hosts == ["box-2"]


def test_on_the_engine_of_one_machine_there_is_nothing_of_hosts() -> None:
    local = graph(node(1, "A", replace(pair(""), address="127.3.0.1:22223")))
    view = graph_view(DECLARED, look(local, engine="local"))
    assert (view.engine, view.hosts, view.frontend_host) == ("local", [], "")
    assert view.nodes[0].pairs[0].host == "127.3.0.1"
    assert (summary(view).hosts, hosts_of(local)) == (0, "")


def test_an_engine_that_needs_no_connection_is_asked_once_it_had_an_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EARG_HOME", str(tmp_path))
    assert engines_in_use() == ["local"]
    # Where the engine of the connection `docker` has its agent.
    opened = EargHook("docker").engine()
    opened.home.prepare()
    assert engines_in_use() == ["local", "docker"]


@pytest.mark.parametrize("engine", ["local", "docker"])
def test_another_share_of_a_machine_is_a_difference_where_it_is_granted(engine: str) -> None:
    wanted = Extras(((1, NodeExtras(cpu=0.5, memory=2**30, host="gpu-box")),))
    runs = Extras(((1, NodeExtras(cpu=0.5, gpu=1)),))
    status = look(BEFORE, engine, extras=runs)
    view = graph_view(replace(DECLARED, extras=wanted), status)
    drift = [
        "memory 1GiB is declared, without limit runs",
        "gpu 0 is declared, 1 runs",
        "host gpu-box is declared, any runs",
    ]
    assert view.nodes[0].drift == (drift if engine == "docker" else [])
    assert view.nodes[0].declared is not None
    assert view.nodes[0].declared.more == "cpu 0.5, memory 1GiB, host gpu-box"


def test_the_command_says_which_hosts_do_not_answer() -> None:
    assert hosts_of(BEFORE) == "2/2 answer"
    ill = replace(BEFORE, hosts=(replace(ALIVE, reason="its daemon is away"), DEAD))
    assert hosts_of(ill).startswith("1/2 answer; box-2 does not since ")
    assert hosts_of(ill).endswith("; box-1: its daemon is away")
    assert hosts_of(AFTER) == (
        "1/2 answer; box-2 does not since 1970-01-01T00:15:50.000+00:00: it answered last 6 s ago"
    )


@pytest.mark.parametrize("status", [BEFORE, graph(node(1, "A", pair("")))], ids=["hosts", "none"])
def test_nodes_are_listed_with_their_hosts_where_there_are_any(
    status: GraphStatus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nodes_command, "deployed", lambda args: (status,))
    nodes_command.run(Namespace(output="json", verbose=False))
    rows = json.loads(capsys.readouterr().out)
    hosts = [row.get("host") for row in rows]
    assert hosts == (["box-2", "box-1", "box-2"] if status.hosts else [None])
