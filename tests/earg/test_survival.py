"""Processes die under load: no reply is lost, none is doubled, and state changes count once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from earg.client import AgentClient, connect
from earg.config import Edge, NodeSpec, StaticConfig
from earg.images import Implementation
from earg.status import GraphStatus, NodeState, NodeStatus, Role
from tests.earg.running import MODELS
from tests.earg.test_agent import deploy_all, is_back, predict, wait_for

pytestmark = pytest.mark.slow


def implementation(entrypoint: str, **environment: str) -> Implementation:
    return Implementation(f"little:{entrypoint}", str(MODELS), tuple(environment.items()))


def nodes(*names: str, stateful: str = "", batch: int = 8) -> tuple[NodeSpec, ...]:
    return tuple(NodeSpec(name, "1", "image", name == stateful, batch) for name in names)


DIAMOND = StaticConfig(
    nodes("c1", "c2", "c3", "c4", "c5"),
    (Edge((1,), (2,)), Edge((2,), (3, 4))),
    (Edge((3, 4), (5,)),),
)
STATEFUL_CHAIN = StaticConfig(
    nodes("first", "ledger", "last", stateful="ledger"), (Edge((1,), (2,)), Edge((2,), (3,)))
)


def node(graph: GraphStatus, name: str) -> NodeStatus:
    return next(one for one in graph.nodes if one.name == name)


def primary_pid(agent: AgentClient, graph: str, name: str, process: str) -> int:
    pair = node(agent.graph(graph), name).pairs[0]
    return pair.model_pid if process == "model" else pair.proxy_pid


def settled(agent: AgentClient, graph: str) -> Callable[[], bool]:
    whole = (NodeState.READY, NodeState.BUSY)
    return lambda: all(one.state in whole for one in agent.graph(graph).nodes)


class Load:
    """Clients that send numbered requests one after the other and keep every reply."""

    def __init__(self, url: str, clients: int = 8, tag: str = "") -> None:
        self._url = url
        self._tag = tag
        self._clients = clients
        self._stop = asyncio.Event()
        self.replies: dict[str, bytes] = {}
        self.failures: list[str] = []

    async def __aenter__(self) -> Load:
        self._http = httpx.AsyncClient(timeout=60)
        self._tasks = [asyncio.create_task(self._client(n)) for n in range(self._clients)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)
        await self._http.aclose()

    async def _client(self, client: int) -> None:
        number = 0
        while not self._stop.is_set():
            name = f"{self._tag}{client}.{number}"
            number += 1
            reply = await self._http.post(
                f"{self._url}/predict", content=name, headers={"Content-Type": "text/plain"}
            )
            if reply.status_code != 200:
                self.failures.append(f"{name}: {reply.status_code} {reply.text}")
            assert name not in self.replies
            self.replies[name] = reply.content

    async def more(self, count: int) -> None:
        """Wait for so many further replies."""
        target = len(self.replies) + count
        async with asyncio.timeout(60):
            while len(self.replies) < target:
                await asyncio.sleep(0.005)


def on(home: Path, work: Callable[[AgentClient], None]) -> None:
    with connect(home) as agent:
        work(agent)


@pytest.mark.parametrize("process", ["model", "proxy"])
@pytest.mark.parametrize("name", ["c1", "c3", "c5"])
def test_a_killed_stateless_process_costs_no_reply(
    agent: AgentClient, name: str, process: str
) -> None:
    graph = deploy_all(agent, "g", DIAMOND, implementation("Named"))

    async def scenario() -> None:
        async with Load(graph.url) as load:
            await load.more(50)
            pid = await asyncio.to_thread(primary_pid, agent, "g", name, process)
            os.kill(pid, signal.SIGKILL)
            await load.more(200)
        assert load.failures == []
        assert load.replies == {
            key: f"c5(c3(c2(c1({key})))|c4(c2(c1({key}))))".encode() for key in load.replies
        }

    asyncio.run(scenario())
    wait_for(settled(agent, "g"), "every node is ready again")
    said = [one.what for one in agent.events("g") if one.node == name and not one.after]
    assert f"the {process} of its primary" in said[0]
    assert "was killed by SIGKILL" in said[0]
    assert said[-1].startswith(f"its {process} is back")


def test_two_nodes_killed_at_once_cost_no_reply(agent: AgentClient) -> None:
    graph = deploy_all(agent, "g", DIAMOND, implementation("Named"))

    async def scenario() -> None:
        async with Load(graph.url) as load:
            await load.more(50)
            now = await asyncio.to_thread(agent.graph, "g")
            pairs = [node(now, name).pairs[0] for name in ("c2", "c5")]
            for pid in (pairs[0].proxy_pid, pairs[0].model_pid, pairs[1].proxy_pid):
                os.kill(pid, signal.SIGKILL)
            await load.more(200)
        assert load.failures == []

    asyncio.run(scenario())
    wait_for(settled(agent, "g"), "every node is ready again")


def test_a_stopped_process_is_replaced(agent: AgentClient) -> None:
    graph = deploy_all(agent, "g", DIAMOND, implementation("Named"))
    for process in ("proxy", "model"):
        os.kill(primary_pid(agent, "g", "c3", process), signal.SIGSTOP)
        assert predict(graph.url, b"x") == b"c5(c3(c2(c1(x)))|c4(c2(c1(x))))"
        wait_for(settled(agent, "g"), "every node is ready again")


@pytest.mark.parametrize("process", ["model", "proxy"])
def test_a_killed_primary_hands_over_and_every_request_counts_once(
    agent: AgentClient, process: str
) -> None:
    graph = deploy_all(agent, "g", STATEFUL_CHAIN, implementation("Ledger"))

    async def scenario() -> int:
        async with Load(graph.url) as load:
            for _ in range(4):
                await load.more(100)
                pid = await asyncio.to_thread(primary_pid, agent, "g", "ledger", process)
                os.kill(pid, signal.SIGKILL)
                await load.more(50)
                await asyncio.to_thread(wait_for, settled(agent, "g"), "ready, with a new backup")
        assert load.failures == []
        return len(load.replies)

    config = StaticConfig(nodes("front", "ledger", stateful="ledger"), (Edge((1,), (2,)),))
    agent.down("g")
    graph = deploy_mixed(agent, config)
    count = asyncio.run(scenario())
    summary = json.loads(predict(graph.url, b"?"))
    assert summary["all"] == count
    events = [one.what for one in agent.events("g") if one.node == "ledger" and not one.after]
    assert sum("its backup took over" in what for what in events) == 4
    assert sum(what == "has a new backup" for what in events) == 4


def deploy_mixed(agent: AgentClient, config: StaticConfig) -> GraphStatus:
    """A graph whose stateful nodes are ledgers and whose others echo."""
    from earg.config import write_static

    text = write_static(config)
    for index, spec in enumerate(config.nodes, 1):
        kind = "Ledger" if spec.stateful else "Echo"
        agent.deploy_node("g", "1", text, index, implementation(kind))
    agent.wire("g")
    for index in range(1, len(config.nodes) + 1):
        agent.probe("g", index)
    return agent.serve("g")


def test_every_reply_of_a_stateful_node_says_that_it_counted_once(agent: AgentClient) -> None:
    config = StaticConfig(nodes("ledger", stateful="ledger", batch=4))
    graph = deploy_mixed(agent, config)

    async def scenario() -> None:
        async with Load(graph.url) as load:
            for _ in range(3):
                await load.more(60)
                pid = await asyncio.to_thread(primary_pid, agent, "g", "ledger", "proxy")
                os.kill(pid, signal.SIGKILL)
                await load.more(30)
                await asyncio.to_thread(wait_for, settled(agent, "g"), "ready again")
        assert load.failures == []
        replies = [json.loads(reply) for reply in load.replies.values()]
        assert {reply["times"] for reply in replies} == {1}
        # Each request made the count one larger: every value once, none missing.
        assert sorted(reply["all"] for reply in replies) == list(range(1, len(replies) + 1))

    asyncio.run(scenario())


def test_a_killed_backup_is_replaced_and_holds_the_state(agent: AgentClient) -> None:
    graph = deploy_mixed(agent, StaticConfig(nodes("ledger", stateful="ledger")))

    async def scenario() -> None:
        async with Load(graph.url) as load:
            await load.more(50)
            backup = node(await asyncio.to_thread(agent.graph, "g"), "ledger").pairs[1]
            assert backup.role is Role.BACKUP
            os.kill(backup.model_pid, signal.SIGKILL)
            # The agent may have been quicker: what is left of a backup is ended by it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(backup.proxy_pid, signal.SIGKILL)
            await load.more(100)
            await asyncio.to_thread(wait_for, settled(agent, "g"), "a new backup")
            pid = await asyncio.to_thread(primary_pid, agent, "g", "ledger", "model")
            os.kill(pid, signal.SIGKILL)
            await load.more(100)
        assert load.failures == []
        replies = [json.loads(reply) for reply in load.replies.values()]
        assert sorted(reply["all"] for reply in replies) == list(range(1, len(replies) + 1))

    asyncio.run(scenario())


def test_a_stateful_model_without_get_state_serves_and_says_it_is_degraded(
    agent: AgentClient,
) -> None:
    config = StaticConfig(nodes("only", stateful="only"))
    graph = deploy_all(agent, "g", config, implementation("Forgetful"))
    assert predict(graph.url, b"x") == b"1"
    (status,) = agent.graph("g").nodes
    assert status.state is NodeState.DEGRADED
    assert "its model has no get_state() and set_state()" in status.reason


def test_a_killed_frontend_is_back_at_the_same_address(agent: AgentClient) -> None:
    graph = deploy_all(agent, "g", DIAMOND, implementation("Named"))
    expected = predict(graph.url, b"x")
    runtime = agent.home.graph_folder("g") / "runtime.earg"
    frontend_ip = runtime.read_text(encoding="utf-8").splitlines()[3].split(",")[2]
    pids = [
        int(folder.name)
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit() and is_frontend(folder, frontend_ip)
    ]
    assert len(pids) == 1
    os.kill(pids[0], signal.SIGKILL)

    def answers() -> bool:
        try:
            return predict(graph.url, b"x") == expected
        except OSError:
            return False

    wait_for(answers, "the frontend answers again")
    wait_for(lambda: is_back(agent.graph("g").url, graph.url), "the agent knows that it is back")
    assert [e.what for e in agent.events("g") if e.node == "frontend"][-1] == "is back"


def is_frontend(folder: Path, ip: str) -> bool:
    try:
        command = (folder / "cmdline").read_bytes()
        environment = (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"earg.frontend" in command and f"LISTEN_IP={ip}".encode() in environment


def test_a_request_that_kills_the_model_fails_and_the_others_do_not(agent: AgentClient) -> None:
    config = StaticConfig(nodes("only", batch=1))
    graph = deploy_all(agent, "g", config, implementation("DiesOnBad"))

    async def scenario() -> None:
        async with httpx.AsyncClient(timeout=60) as http:

            async def send(value: str) -> httpx.Response:
                return await http.post(
                    f"{graph.url}/predict", content=value, headers={"Content-Type": "text/plain"}
                )

            values = ["a", "bad", "b", "c"]
            replies = await asyncio.gather(*(send(value) for value in values))
        assert [reply.status_code for reply in replies] == [200, 500, 200, 200]
        assert "the model did not answer" in replies[1].json()["error"]

    asyncio.run(scenario())


def test_a_model_that_dies_on_every_start_ends_dead_with_its_log(
    agent: AgentClient, tmp_path: Path
) -> None:
    config = StaticConfig(nodes("only"))
    model = implementation("DiesOnSecondStart", MARK=str(tmp_path / "mark"))
    deploy_all(agent, "g", config, model)
    started = time.monotonic()
    os.kill(primary_pid(agent, "g", "only", "model"), signal.SIGKILL)
    wait_for(lambda: agent.graph("g").nodes[0].state is NodeState.DEAD, "the node is given up", 60)
    # Five starts with pauses between them: it does not spin.
    assert time.monotonic() - started > 1.0
    reason = agent.graph("g").nodes[0].reason
    assert "RuntimeError: the device is gone" in reason
    assert all(pair.model_pid == 0 for pair in agent.graph("g").nodes[0].pairs)
    # Once its cause is gone, deploying it again brings it back.
    (tmp_path / "mark").unlink()
    graph = deploy_all(agent, "g", config, model)
    assert predict(graph.url, b"x") == b"x"


@pytest.mark.parametrize(("name", "process"), [("first", "proxy"), ("ledger", "model")])
def test_a_batch_limit_that_somebody_set_outlives_its_proxy(
    agent: AgentClient, name: str, process: str
) -> None:
    deploy_all(agent, "g", STATEFUL_CHAIN, implementation("Named"))
    index = node(agent.graph("g"), name).index
    agent.set_batch_limit("g", index, 3, "ada")
    pid = primary_pid(agent, "g", name, process)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: primary_pid(agent, "g", name, process) not in (0, pid), "it is replaced")
    wait_for(settled(agent, "g"), "every node is ready again")

    def is_kept() -> bool:
        (report,) = [one for one in agent.statistics("g").nodes if one.name == name]
        assert report.statistics is not None
        return (report.statistics.batch_limit, report.statistics.limit_set_by) == (3, "ada")

    wait_for(is_kept, "the limit is as it was set")
