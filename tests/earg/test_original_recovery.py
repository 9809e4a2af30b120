"""Originals among ours, and failures: every accepted request is answered, and once.

The original is ``originals.py``, which speaks the plain protocol alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import grpc
import pytest

from earg.client import AgentClient
from earg.config import Edge, NodeSpec, StaticConfig, write_static
from earg.protos import management_pb2, management_pb2_grpc
from earg.status import GraphStatus
from tests.earg.test_agent import deploy_all, kill_agent, predict, wait_for
from tests.earg.test_survival import (
    DIAMOND,
    Load,
    implementation,
    node,
    nodes,
    primary_pid,
    settled,
)

pytestmark = pytest.mark.slow

ORIGINAL = [sys.executable, "-P", str(Path(__file__).parent / "originals.py")]

CHAIN = StaticConfig(
    nodes("c1", "c2", "c3", "c4"), (Edge((1,), (2,)), Edge((2,), (3,)), Edge((3,), (4,)))
)


@pytest.fixture
def originals(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Lets the agent start originals as the proxies of these operators."""
    names: tuple[str, ...] = request.param
    monkeypatch.setenv("EARG_PROXY_COMMANDS", json.dumps(dict.fromkeys(names, ORIGINAL)))
    return names


def ledger(agent: AgentClient) -> dict[str, object]:
    (graph,) = json.loads(agent.home.ledger.read_text())["graphs"]
    found: dict[str, object] = graph
    return found


async def kill_under_load(
    agent: AgentClient, url: str, name: str, process: str, times: int
) -> Load:
    async with Load(url, tag=f"{name}.{process}.") as load:
        await load.more(50)
        for _ in range(times):
            pid = await asyncio.to_thread(primary_pid, agent, "g", name, process)
            os.kill(pid, signal.SIGKILL)
            await load.more(100)
            await asyncio.to_thread(wait_for, settled(agent, "g"), "every node is ready again")
    assert load.failures == []
    return load


def path_of(config: StaticConfig, request: str) -> str:
    replies: dict[int, str] = {}
    for index, spec in enumerate(config.nodes, 1):
        sources = config.sources_of(index)
        inner = "|".join(replies[one] for one in sources) if sources else request
        replies[index] = f"{spec.name}({inner})"
    return replies[len(config.nodes)]


@pytest.mark.parametrize("originals", [("c2",)], indirect=True)
@pytest.mark.parametrize("name", ["c1", "c2", "c3", "c4"])
def test_a_killed_proxy_beside_an_original_costs_no_reply(
    originals: tuple[str, ...], agent: AgentClient, name: str
) -> None:
    graph = deploy_all(agent, "g", CHAIN, implementation("Named"))
    load = asyncio.run(kill_under_load(agent, graph.url, name, "proxy", times=2))
    assert {key: value.decode() for key, value in load.replies.items()} == {
        key: path_of(CHAIN, key) for key in load.replies
    }
