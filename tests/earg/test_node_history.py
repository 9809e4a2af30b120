"""The agent's samples: a node's last minutes outlive its proxies, and tell what they used."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from earg.client import AgentClient
from earg.config import Edge, StaticConfig
from earg.images import Implementation
from earg.node_history import NodeHistory
from earg.protos import hogar_pb2
from earg.sampling import NodeUsage
from earg.statistics import HISTORY_SECONDS, NodeReport
from earg.status import NodeState, Role
from earg.usage import ContainerUsage
from tests.earg.running import MODELS
from tests.earg.test_agent import deploy_all, predict, wait_for
from tests.earg.test_survival import nodes, settled


class Clock:
    """Unix seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Proxy:
    """One that started now; in its nth second it answered n requests."""

    def __init__(self, clock: Clock, name: str) -> None:
        self.clock, self.name, self.started = clock, name, clock.now

    def said(self, seconds: int) -> hogar_pb2.NodeStatistics:
        uptime = self.clock.now - self.started
        history = [hogar_pb2.Sample(requests=n + 1) for n in range(int(uptime))]
        return hogar_pb2.NodeStatistics(
            proxy=self.name, uptime=uptime, history=history[-seconds:] if seconds else []
        )


def whole(
    history: NodeHistory, proxy: Proxy | None, seconds: int = HISTORY_SECONDS
) -> tuple[list[int], float]:
    """What is told of the node's last ``seconds``, the agent's part and the proxy's own."""
    said = None
    if proxy is not None:
        said = proxy.said(max(seconds, history.wanted))
        history.take(said)
    earlier, end = history.earlier(said, seconds)
    own = [] if said is None else list(said.history)
    return [sample.requests for sample in (*earlier, *own)], end


@pytest.mark.parametrize("jump", [47.0, -47.0])
def test_a_machines_clock_that_is_set_loses_no_second(jump: float) -> None:
    clock, unix = Clock(), Clock()
    history = NodeHistory(clock, unix)
    proxy = Proxy(clock, "a")
    clock.now += 3
    unix.now += 3
    whole(history, proxy)
    clock.now += 2
    unix.now += 2 + jump
    assert whole(history, proxy) == ([1, 2, 3, 4, 5], unix.now)


def test_the_seconds_before_a_failure_stay_when_another_proxy_serves() -> None:
    clock = Clock()
    history = NodeHistory(clock, clock)
    first, backup = Proxy(clock, "a"), Proxy(clock, "b")
    clock.now += 5.25
    assert whole(history, first) == ([1, 2, 3, 4, 5], 1_000_005.0)
    clock.now += 2
    assert whole(history, first, 3) == ([5, 6, 7], 1_000_007.0)
    # The backup has counted as long, but was not the node's primary: its own begins now.
    clock.now += 2
    assert whole(history, backup) == ([1, 2, 3, 4, 5, 6, 7, 8, 9], 1_000_009.0)
    assert whole(history, backup, 1) == ([9], 1_000_009.0)
    # One that is started anew leaves a hole that is filled: one sample is one second.
    clock.now += 3
    third = Proxy(clock, "a")
    clock.now += 2
    assert whole(history, third) == (
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0, 1, 2],
        pytest.approx(1_000_014.25),
    )


def test_a_node_without_a_primary_keeps_its_seconds_and_time_goes_on() -> None:
    clock = Clock()
    history = NodeHistory(clock, clock)
    assert whole(history, None) == ([], 0.0)
    proxy = Proxy(clock, "a")
    clock.now += 3
    whole(history, proxy)
    clock.now += 2.5
    assert whole(history, None) == ([1, 2, 3, 0, 0], 1_000_005.0)
    assert whole(history, None, 2) == ([0, 0], 1_000_005.0)


def test_no_more_than_a_quarter_of_an_hour_is_kept_and_each_second_once() -> None:
    clock = Clock()
    history = NodeHistory(clock, clock)
    proxy = Proxy(clock, "a")
    for _ in range(HISTORY_SECONDS):
        clock.now += 1.5
        history.take(proxy.said(history.wanted))
    assert history.wanted == 2
    backup = Proxy(clock, "b")
    clock.now += 1
    counts, _ = whole(history, backup)
    last = HISTORY_SECONDS * 3 // 2
    assert counts == [*range(last - HISTORY_SECONDS + 2, last + 1), 1]


def test_an_answer_that_is_older_than_the_last_one_changes_nothing() -> None:
    clock = Clock()
    history = NodeHistory(clock, clock)
    proxy = Proxy(clock, "a")
    clock.now += 4
    late = proxy.said(10)
    clock.now += 1
    history.take(proxy.said(10))
    history.take(late)
    earlier, end = history.earlier(late, 10)
    assert ([one.requests for one in (*earlier, *late.history)], end) == (
        [1, 2, 3, 4],
        1_000_004.0,
    )
    assert whole(history, proxy) == ([1, 2, 3, 4, 5], 1_000_005.0)


@pytest.fixture
def spinning() -> Iterator[subprocess.Popen[bytes]]:
    """A process that computes all the time."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    yield process
    process.kill()
    process.wait()


def test_processes_are_told_apart_by_kind_and_role(spinning: subprocess.Popen[bytes]) -> None:
    usage = NodeUsage()
    me = os.getpid()
    usage.sample([(spinning.pid, "model2", "primary"), (me, "proxy", "primary")])
    time.sleep(0.5)
    usage.sample([(spinning.pid, "model2", "primary"), (me, "proxy", "primary")])
    usage.sample([(me, "proxy", "backup"), (2**22 + 1, "model", "primary")])
    told = usage.history(60)
    assert len(told.times) == 3
    assert list(told.times) == sorted(told.times)
    backup, model, proxy = told.series[1], told.series[0], told.series[2]
    assert [(one.kind, one.role) for one in told.series] == [
        ("model", "primary"),
        ("proxy", "backup"),
        ("proxy", "primary"),
    ]
    # Other processes may want the machine as well, so it is not a whole core.
    assert model.cpu[1] is not None
    assert 0.02 < model.cpu[1] < 1.5
    assert model.memory[0] is not None
    assert model.memory[0] > 2**16
    assert (model.cpu[2], model.memory[2]) == (None, None)
    assert proxy.memory[2] is None
    assert backup.memory[:2] == (None, None)
    assert backup.memory[2] is not None


def test_what_containers_use_is_sampled_once_a_reading() -> None:
    def read(name: str, kind: str, at: float, cores: float | None) -> ContainerUsage:
        return ContainerUsage(name, kind, at, cores, int(at))

    usage = NodeUsage()
    usage.take([])
    assert usage.history(60).times == ()
    first = [
        (Role.PRIMARY, read("a", "model", 10, None)),
        (Role.PRIMARY, read("b", "model", 11, 0.5)),
        (Role.PRIMARY, read("c", "proxy", 12, None)),
    ]
    for _ in range(3):
        usage.take(first)
    # A backup has taken over; the platform tells nothing of what there was before.
    usage.take([(Role.PRIMARY, read("d", "model", 20, 0.25))])
    usage.take([])
    usage.take([])
    told = usage.history(60)
    assert len(told.times) == 3
    assert [(one.kind, one.cpu, one.memory) for one in told.series] == [
        ("model", (0.5, 0.25, None), (21, 20, None)),
        ("proxy", (None, None, None), (12, None, None)),
    ]


LINE = StaticConfig(nodes("first", "ledger", stateful="ledger"), (Edge((1,), (2,)),), ())


@pytest.mark.slow
def test_a_failover_leaves_a_nodes_last_minutes_whole(agent: AgentClient) -> None:
    counter = Implementation("little:Counter", str(MODELS), ())
    url = deploy_all(agent, "kept", LINE, counter).url
    assert [one.name for one in agent.graphs("kept")] == ["kept"]
    assert agent.graphs("another") == ()
    agent.set_batch_limit("kept", 2, 4)
    for _ in range(20):
        predict(url, b"x")

    def report() -> NodeReport:
        (found,) = agent.statistics("kept", HISTORY_SECONDS, 2).nodes
        return found

    wait_for(lambda: sum(one.requests for one in report().history) == 20, "they are counted")
    before = report()
    served = [one for one in before.history if one.batches]
    assert sum(sum(one.sizes) for one in served) == sum(one.batches for one in served)
    assert any(0 < one.compute_p95 < 10 for one in served)
    assert any(0 < one.queue_p95 < 10 for one in served)
    assert abs(before.history_end - time.time()) < 10
    # Two samples of the agent, so that the dead one's seconds are in it.
    time.sleep(5)
    pair = agent.graph("kept").nodes[1].pairs[0]
    os.kill(pair.proxy_pid, signal.SIGKILL)
    os.kill(pair.model_pid, signal.SIGKILL)
    wait_for(settled(agent, "kept"), "the graph is whole again")
    for _ in range(5):
        predict(url, b"x")
    wait_for(lambda: sum(one.requests for one in report().history) == 25, "all are there")
    after = report()
    assert after.state is NodeState.READY
    assert after.statistics is not None
    assert sum(one.requests for one in after.statistics.history) == 5
    kinds = {(one.kind, one.role) for one in after.usage.series}
    assert kinds == {(kind, role) for kind in ("model", "proxy") for role in ("primary", "backup")}
    for series in after.usage.series:
        assert len(series.cpu) == len(series.memory) == len(after.usage.times)
        assert max(size or 0 for size in series.memory) > 2**20
