"""States are exact, and the events tell each change of them with its cause."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from earg import node as node_module
from earg.client import AgentClient
from earg.config import NodeSpec, StaticConfig
from earg.extras import Extras
from earg.images import Implementation
from earg.node import RunningNode
from earg.state_changes import BUSY_QUIET
from earg.status import NodeState, NodeStatus, QueueLoad
from earg.status_wire import LOAD_KEY, load_metadata, read_load
from tests.earg.test_agent import deploy_all, predict, wait_for
from tests.earg.test_survival import (
    DIAMOND,
    STATEFUL_CHAIN,
    implementation,
    node,
    primary_pid,
    settled,
)


@pytest.mark.parametrize(
    ("queued", "limit", "capacity", "busy"),
    [
        (0, 1, 8192, False),
        (1, 1, 8192, False),
        (2, 1, 8192, True),
        (15, 8, 8192, False),
        (16, 8, 8192, True),
        # A limit that the queue could never hold twice: nearly full is busy.
        (7000, 8192, 8192, False),
        (7400, 8192, 8192, True),
    ],
)
def test_a_node_is_busy_when_two_batches_wait_or_its_queue_is_nearly_full(
    queued: int, limit: int, capacity: int, busy: bool
) -> None:
    assert QueueLoad(queued, limit, capacity).is_busy is busy


def test_a_load_survives_its_way_and_nonsense_is_none() -> None:
    load = QueueLoad(3, 8, 8192)
    assert read_load(load_metadata(load)) == load
    for value in ("", "1,2", "a,b,c", "1,2,3,4"):
        assert read_load([("other", "x"), (LOAD_KEY, value)]) is None
    assert read_load([]) is None


class _Around:
    """A graph of which a node needs nothing but its event log."""

    wired = True
    draining = False
    extras = Extras()

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []

    def tell(self, node: str, what: str, before: str = "", after: str = "") -> None:
        self.told.append((before, after, what))


def test_a_node_that_is_busy_and_ready_by_turns_does_not_flood_the_events(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    around = _Around()
    spec = NodeSpec("only", "1", "image", False, 8)
    flapping = RunningNode(1, spec, Implementation("a:B", ""), [], around)  # type: ignore[arg-type]
    now = [1000.0]
    state = [NodeState.READY]

    async def status() -> NodeStatus:
        return NodeStatus(1, "only", "1", "image", state[0], "", ())

    monkeypatch.setattr(node_module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(flapping, "status", status)

    async def look_for(seconds: float, busy: Callable[[float], bool]) -> None:
        end = now[0] + seconds
        while now[0] < end:
            state[0] = NodeState.BUSY if busy(now[0]) else NodeState.READY
            await flapping.look()
            now[0] += 0.5

    # One that changes with every look is told of once, when it is new.
    asyncio.run(look_for(60, lambda at: int(at * 2) % 2 == 0))
    assert len(around.told) == 1
    # One that stays so is told of, but not more often than once in BUSY_QUIET seconds.
    asyncio.run(look_for(120, lambda at: int(at / 3) % 2 == 0))
    assert 2 <= len(around.told) - 1 <= 120 / BUSY_QUIET + 1
    before = len(around.told)
    asyncio.run(look_for(30, lambda at: True))
    asyncio.run(look_for(30, lambda at: False))
    assert [after for _, after, _ in around.told[before:]][-1] == "ready"


def changes(agent: AgentClient, name: str) -> list[tuple[str, str, str]]:
    """The changes of a node's state: from, to, and why."""
    return [
        (event.before, event.after, event.what)
        for event in agent.events("g")
        if event.node == name and event.after
    ]


@pytest.mark.slow
def test_a_node_in_which_requests_wait_is_busy_and_serves(agent: AgentClient) -> None:
    config = StaticConfig((NodeSpec("only", "1", "image", False, 1),))
    graph = deploy_all(agent, "g", config, implementation("Slow"))
    wait_for(lambda: changes(agent, "only")[-1][1] == "ready", "it is told that it is ready")
    with ThreadPoolExecutor(8) as threads:
        replies = [threads.submit(predict, graph.url, b"x") for _ in range(8)]
        wait_for(lambda: agent.graph("g").nodes[0].state is NodeState.BUSY, "it is busy")
        status = agent.probe("g", 1, timeout=5)
        assert status.state is NodeState.BUSY
        assert "requests wait, at most 1 are computed at once" in status.reason
        wait_for(lambda: changes(agent, "only")[-1][:2] == ("ready", "busy"), "it is told")
        assert "requests wait" in changes(agent, "only")[-1][2]
        assert [reply.result(timeout=30) for reply in replies] == [b"x"] * 8
    wait_for(lambda: changes(agent, "only")[-1][:2] == ("busy", "ready"), "it is told", 30)


@pytest.mark.slow
def test_a_killed_stateless_process_is_told_as_changes_of_its_nodes_state_alone(
    agent: AgentClient,
) -> None:
    deploy_all(agent, "g", DIAMOND, implementation("Named"))
    wait_for(
        lambda: all(changes(agent, one.name)[-1][1] == "ready" for one in DIAMOND.nodes),
        "it is told that every node is ready",
    )
    others = {name: changes(agent, name) for name in ("c1", "c2", "c4", "c5")}
    assert [one[:2] for one in changes(agent, "c3")] == [("", "starting"), ("starting", "ready")]
    pid = primary_pid(agent, "g", "c3", "proxy")
    os.kill(pid, signal.SIGKILL)
    wait_for(
        lambda: (
            [one[:2] for one in changes(agent, "c3")][2:]
            == [("ready", "recovering"), ("recovering", "ready")]
        ),
        "it is told",
    )
    cause = changes(agent, "c3")[2][2]
    assert cause == f"the proxy of its primary (pid {pid}) was killed by SIGKILL"
    assert {name: changes(agent, name) for name in others} == others


@pytest.mark.slow
def test_a_stateful_node_is_degraded_until_it_has_a_backup_again(agent: AgentClient) -> None:
    deploy_all(agent, "g", STATEFUL_CHAIN, implementation("Named"))
    wait_for(lambda: changes(agent, "ledger")[-1][1] == "ready", "it is told that it is ready")
    backup = node(agent.graph("g"), "ledger").pairs[1]
    os.kill(backup.model_pid, signal.SIGKILL)
    wait_for(
        lambda: (
            [one[:2] for one in changes(agent, "ledger")][2:]
            == [("ready", "degraded"), ("degraded", "ready")]
        ),
        "it is told",
    )
    assert "the model of its backup" in changes(agent, "ledger")[2][2]
    wait_for(settled(agent, "g"), "every node is ready")
