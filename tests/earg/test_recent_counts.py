"""What a node had counted half a minute ago, as its agent keeps it."""

from __future__ import annotations

import pytest

from earg.protos import hogar_pb2
from earg.recent_counts import WINDOW, RecentCounts
from earg.statistics import Recorder
from earg.statistics_wire import read_graph_statistics, statistics_message
from earg.status import NodeState


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Node:
    """One that is sampled every 2 s; each request is computed by itself in 1 ms."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.counts = RecentCounts(self.clock)
        self.restart()

    def restart(self) -> None:
        self.recorder = Recorder(self.clock)

    def said(self, proxy: str = "A.proxy") -> hogar_pb2.NodeStatistics:
        return statistics_message(self.recorder.snapshot(proxy, 4, "config"))

    def request(self) -> None:
        self.recorder.arrive(1)
        batch = self.recorder.begin(1, 1)
        self.clock.now += 0.001
        self.recorder.end(batch, 1, 0)
        self.recorder.leave(1)

    def pass_by(self, seconds: float) -> None:
        for _ in range(round(seconds / 2)):
            self.clock.now += 2.0
            self.counts.take(self.said())

    def lately(self) -> int:
        """How many requests left in the window, as whoever looks first finds."""
        now = self.said()
        report = hogar_pb2.NodeReport(
            index=1, name="A", state=NodeState.READY.value, statistics=now
        )
        before = self.counts.before(now)
        if before is not None:
            report.before.CopyFrom(before)
        (node,) = read_graph_statistics(hogar_pb2.GraphStatistics(nodes=[report])).nodes
        assert node.statistics is not None
        if node.before is None:
            return node.statistics.total.count
        added = node.statistics.total.since(node.before.total)
        assert added.count == node.statistics.batches.since(node.before.batches).count
        return added.count


@pytest.fixture
def node() -> Node:
    return Node()


def test_of_a_young_node_all_is_of_late(node: Node) -> None:
    node.request()
    node.pass_by(10)
    assert node.counts.before(node.said()) is None
    assert node.lately() == 1


def test_what_is_older_than_the_window_is_left_out(node: Node) -> None:
    node.request()
    node.pass_by(WINDOW + 10)
    assert node.lately() == 0
    for _ in range(3):
        node.request()
    assert node.lately() == 3
    node.pass_by(WINDOW - 4)
    assert node.lately() == 3
    node.pass_by(8)
    assert node.lately() == 0


def test_an_agent_that_has_just_found_a_node_knows_of_what_came_since(node: Node) -> None:
    node.request()
    node.clock.now += 500.0
    assert node.lately() == 1
    node.pass_by(2)
    node.request()
    assert node.lately() == 1


def test_another_proxy_counts_anew(node: Node) -> None:
    node.request()
    node.pass_by(WINDOW + 10)
    node.restart()
    node.request()
    assert node.lately() == 1
    node.clock.now += WINDOW + 1
    assert node.counts.before(node.said("B.proxy")) is None
    # Of the same name, and with another start.
    late = node.said()
    late.uptime = 0.5
    assert node.counts.before(late) is None


def test_what_is_kept_stays_small(node: Node) -> None:
    node.pass_by(3600)
    assert len(node.counts._kept) <= WINDOW / 2 + 2
    assert sum(len(kept) for _, kept in node.counts._kept) < 20_000
