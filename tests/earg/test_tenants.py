"""The nodes of hosts, and what was lost with one that died."""

from __future__ import annotations

from dataclasses import replace

from earg.status import GraphStatus, HostStatus
from earg.status_wire import graph_message, read_graph
from earg.tenants import Tenants

ALIVE = HostStatus("box-1", False, "", 900.0)
DEAD = HostStatus("box-2", True, "it answered last 6 s ago", 950.0)
BEFORE = [("A", {"box-2"}), ("B", {"box-1", "box-2"})]
AFTER = [("A", {"box-1"}), ("B", {"box-1"})]


def test_what_was_on_a_dead_host_is_told_until_it_answers_again() -> None:
    tenants = Tenants()
    before = tenants.follow((ALIVE, replace(DEAD, dead=False)), BEFORE)
    assert [host.nodes for host in before] == [("B",), ("A", "B")]
    for _ in range(2):
        after = tenants.follow((ALIVE, DEAD), AFTER)
        assert [host.nodes for host in after] == [("A", "B"), ("A", "B")]
    # Once it answers, only what is really there counts.
    back = tenants.follow((ALIVE, replace(DEAD, dead=False)), AFTER)
    assert [host.nodes for host in back] == [("A", "B"), ()]


def test_whoever_asks_the_agent_is_told_of_them() -> None:
    hosts = Tenants().follow((ALIVE, DEAD), BEFORE)
    status = GraphStatus("Graph", "1", "", 2, (), (), hosts, "box-1")
    assert read_graph(graph_message(status)).hosts == hosts
