"""What dies again, together, or without an agent: no reply is lost, and nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import tempfile
import time
from pathlib import Path

import httpx
import psutil
import pytest

from earg.client import AgentClient, connect
from earg.config import Edge, NodeSpec, StaticConfig
from earg.images import Implementation
from earg.node import GIVE_UP
from earg.status import NodeState
from tests.earg.running import MODELS
from tests.earg.test_agent import (
    deploy_all,
    is_back,
    kill_agent,
    pids_of,
    predict,
    processes_in,
    wait_for,
)
from tests.earg.test_heartbeat import frontend_pid
from tests.earg.test_survival import (
    DIAMOND,
    Load,
    deploy_mixed,
    implementation,
    node,
    nodes,
    primary_pid,
    settled,
)

pytestmark = pytest.mark.slow

LEDGER = StaticConfig(nodes("front", "ledger", stateful="ledger"), (Edge((1,), (2,)),))


@pytest.fixture(autouse=True)
def _marked_processes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The agent hands EARG_* on, so that this test can tell its processes from all others.
    monkeypatch.setenv("EARG_HOME", str(home))


def said_of(agent: AgentClient, name: str) -> list[str]:
    """What happened to a node, without the changes of state that followed from it."""
    events = agent.events("g")
    return [event.what for event in events if event.node == name and not event.after]


def test_the_tenth_kill_of_a_primary_goes_as_the_first(agent: AgentClient) -> None:
    kills = 10
    graph = deploy_mixed(agent, LEDGER)

    async def scenario() -> int:
        async with Load(graph.url, clients=4) as load:
            for kill in range(kills):
                process = "model" if kill % 2 else "proxy"
                pid = await asyncio.to_thread(primary_pid, agent, "g", "ledger", process)
                os.kill(pid, signal.SIGKILL)
                await load.more(20)
                await asyncio.to_thread(
                    wait_for,
                    lambda kill=kill: (
                        said_of(agent, "ledger").count("has a new backup") == kill + 1
                        and settled(agent, "g")()
                    ),
                    "ready, with a new backup",
                    30,
                )
        assert load.failures == []
        return len(load.replies)

    count = asyncio.run(scenario())
    assert json.loads(predict(graph.url, b"?"))["all"] == count
    said = said_of(agent, "ledger")
    took = [re.fullmatch(r"its backup took over in (\d+) ms", what) for what in said]
    milliseconds = [int(one[1]) for one in took if one]
    assert len(milliseconds) == kills
    # The machine may be busy; that a kill takes longer the more there were is what must not be.
    assert max(milliseconds[-3:]) < 10 * max(1000, *milliseconds[:3])


@pytest.mark.parametrize(
    "victims",
    [
        (("c1", "proxy"), ("c5", "proxy")),
        (("c1", "model"), ("c5", "model")),
        (("c2", "model"), ("c4", "proxy")),
        (("c2", "proxy"), ("c1", "proxy")),
    ],
    ids=lambda victims: "+".join(f"{name}-{process}" for name, process in victims),
)
def test_two_nodes_that_die_at_once_cost_no_reply(
    agent: AgentClient, victims: tuple[tuple[str, str], ...]
) -> None:
    config = StaticConfig(
        nodes("c1", "c2", "c3", "c4", "c5", stateful="c2"), DIAMOND.dist, DIAMOND.reduce
    )
    graph = deploy_all(agent, "g", config, implementation("Named"))

    async def scenario() -> None:
        async with Load(graph.url) as load:
            await load.more(30)
            pids = [
                await asyncio.to_thread(primary_pid, agent, "g", name, process)
                for name, process in victims
            ]
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            await load.more(100)
        assert load.failures == []
        assert load.replies == {
            key: f"c5(c3(c2(c1({key})))|c4(c2(c1({key}))))".encode() for key in load.replies
        }

    asyncio.run(scenario())
    wait_for(settled(agent, "g"), "every node is ready again", 30)


def test_what_dies_after_the_agent_died_under_load_costs_no_reply(home: Path) -> None:
    with connect(home) as agent:
        graph = deploy_mixed(agent, LEDGER)

        async def scenario() -> int:
            async with Load(graph.url) as load:
                await load.more(30)
                await asyncio.to_thread(kill_agent, agent)
                # Without an agent the graph serves on.
                await load.more(50)
                with await asyncio.to_thread(connect, home, False) as next_agent:
                    for name, process in (("ledger", "model"), ("front", "proxy")):
                        pid = await asyncio.to_thread(primary_pid, next_agent, "g", name, process)
                        os.kill(pid, signal.SIGKILL)
                        await load.more(30)
                        await asyncio.to_thread(
                            wait_for, settled(next_agent, "g"), "every node is ready again", 30
                        )
            assert load.failures == []
            return len(load.replies)

        count = asyncio.run(scenario())
        assert json.loads(predict(graph.url, b"?"))["all"] == count


def test_no_request_hangs_when_its_frontend_is_killed(agent: AgentClient) -> None:
    graph = deploy_all(agent, "g", DIAMOND, implementation("Named"))
    outcomes: list[str] = []

    async def client(number: int, until: float) -> None:
        async with httpx.AsyncClient(timeout=20) as http:
            sent = 0
            while time.monotonic() < until:
                text = f"{number}.{sent}"
                sent += 1
                try:
                    reply = await http.post(
                        f"{graph.url}/predict", content=text, headers={"Content-Type": "text/plain"}
                    )
                except httpx.TimeoutException:
                    outcomes.append("hung")
                except httpx.TransportError:
                    # Refused, or cut off: the client knows, and may send it again.
                    outcomes.append("cut off")
                    await asyncio.sleep(0.05)
                else:
                    expected = f"c5(c3(c2(c1({text})))|c4(c2(c1({text}))))"
                    right = reply.status_code == 200 and reply.text == expected
                    outcomes.append("answered" if right else f"{reply.status_code} {reply.text}")

    async def scenario() -> None:
        until = time.monotonic() + 4
        clients = [asyncio.create_task(client(number, until)) for number in range(8)]
        await asyncio.sleep(1)
        os.kill(await asyncio.to_thread(frontend_pid, agent), signal.SIGKILL)
        await asyncio.gather(*clients)

    asyncio.run(scenario())
    assert set(outcomes) == {"answered", "cut off"}
    wait_for(lambda: is_back(agent.graph("g").url, graph.url), "the frontend is back")
    assert predict(graph.url, b"x") == b"c5(c3(c2(c1(x)))|c4(c2(c1(x))))"


def test_a_crash_loop_ends_dead_after_few_starts(agent: AgentClient, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    model = Implementation("hanging:DiesAgain", str(MODELS), (("STARTS", str(starts)),))
    deploy_all(agent, "g", StaticConfig((NodeSpec("only", "1", "image", False, 8),)), model)
    os.kill(primary_pid(agent, "g", "only", "model"), signal.SIGKILL)
    wait_for(lambda: agent.graph("g").nodes[0].state is NodeState.DEAD, "it is given up", 30)
    count = len(starts.read_text())
    assert 2 <= count <= 1 + GIVE_UP
    reason = agent.graph("g").nodes[0].reason
    assert "RuntimeError: start 2 or later" in reason
    time.sleep(2)
    assert len(starts.read_text()) == count
    assert node(agent.graph("g"), "only").state is NodeState.DEAD


def test_nothing_is_left_behind(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        # The agent hands TMPDIR on.
        monkeypatch.setenv("TMPDIR", temporary)
        with connect(home) as agent:
            deploy_all(agent, "g", DIAMOND, implementation("Named"))
            addresses = [pair.address for one in agent.graph("g").nodes for pair in one.pairs]
            for name, process in (("c1", "proxy"), ("c3", "model")):
                os.kill(primary_pid(agent, "g", name, process), signal.SIGKILL)
            wait_for(settled(agent, "g"), "every node is ready again", 30)
            pids = [*pids_of(agent.graph("g")), frontend_pid(agent)]
            agent.down("g")
            assert [pid for pid in pids if psutil.pid_exists(pid)] == []
            (left,) = processes_in(home)
            assert left.pid == agent.hello()[1]
            listening = {
                connection.laddr.ip.removeprefix("::ffff:")
                for connection in psutil.net_connections("inet")
                if connection.status == psutil.CONN_LISTEN
            }
            assert listening & set(addresses) == set()
            assert files_in(home) <= KEPT | {"agent.sock"}
            # The agent holds no descriptor of what has ended.
            before = len(list(Path(f"/proc/{left.pid}/fd").iterdir()))
            deploy_all(agent, "g", DIAMOND, implementation("Named"))
            agent.down("g")
            wait_for(
                lambda: len(list(Path(f"/proc/{left.pid}/fd").iterdir())) <= before,
                "all is closed again",
            )
            agent.shutdown()
        assert processes_in(home) == []
        assert files_in(home) <= KEPT
        assert list(Path(temporary).iterdir()) == []


KEPT = {"agent.lock", "agent.log", "static.earg", "targets.json"}
"""Files that stay: what was deployed last, and the list for Prometheus, which is empty then."""


def files_in(home: Path) -> set[str]:
    """All files in a home but the logs of its graphs."""
    return {
        path.name
        for path in home.rglob("*")
        if not path.is_dir() and path.parent != home / "graphs" / "g" / "logs"
    }


def test_a_client_that_comes_while_the_frontend_is_replaced_waits_for_the_next(
    agent: AgentClient,
) -> None:
    config = StaticConfig((NodeSpec("only", "1", "image", False, 8),))
    graph = deploy_all(agent, "g", config, implementation("Named"))
    for _ in range(3):
        pid = frontend_pid(agent)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: not psutil.pid_exists(pid), "it is gone")  # type: ignore[misc]
        # On a connection of its own, while nobody accepts any.
        assert predict(graph.url, b"x") == b"only(x)"
        assert agent.graph("g").url in (graph.url, "")
        wait_for(lambda: agent.graph("g").url == graph.url, "the agent knows that it is back")
