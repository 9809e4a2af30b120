"""Originals among ours, and failures: every accepted request is answered, and once.

The original is ``originals.py``, which speaks the plain protocol alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from earg.client import AgentClient, connect
from earg.config import Edge, StaticConfig
from earg.protos import management_pb2, management_pb2_grpc
from tests.earg.test_agent import deploy_all, kill_agent, predict, wait_for
from tests.earg.test_redeploy import changed, deploy, named
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


def ledger(agent: AgentClient) -> dict[str, Any]:
    (graph,) = json.loads(agent.home.ledger.read_text())["graphs"]
    found: dict[str, Any] = graph
    return found


@contextmanager
def admin_of(agent: AgentClient) -> Iterator[Any]:
    """The ManagementServer of the one graph that is deployed."""
    graph = ledger(agent)
    with grpc.insecure_channel(f"{graph['admin_ip']}:{graph['admin_port']}") as channel:
        yield management_pb2_grpc.ManagementServerStub(channel)


async def kill_under_load(
    agent: AgentClient, url: str, name: str, process: str, times: int
) -> Load:
    async with Load(url) as load:
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


@pytest.mark.parametrize("originals", [("c2",)], indirect=True)
def test_a_killed_model_of_an_original_costs_no_reply(
    originals: tuple[str, ...], agent: AgentClient
) -> None:
    graph = deploy_all(agent, "g", CHAIN, implementation("Named"))
    asyncio.run(kill_under_load(agent, graph.url, "c2", "model", times=1))


@pytest.mark.parametrize("originals", [("c1", "c3", "c5")], indirect=True)
@pytest.mark.parametrize("name", ["c1", "c2", "c3", "c4"])
def test_originals_that_begin_join_and_end_a_graph_survive_with_ours(
    originals: tuple[str, ...], agent: AgentClient, name: str
) -> None:
    graph = deploy_all(agent, "g", DIAMOND, implementation("Named"))
    load = asyncio.run(kill_under_load(agent, graph.url, name, "proxy", times=1))
    assert {key: sorted(value.decode()) for key, value in load.replies.items()} == {
        key: sorted(path_of(DIAMOND, key)) for key in load.replies
    }


@pytest.mark.parametrize("originals", [("c2",)], indirect=True)
@pytest.mark.parametrize("other", ["c1", "c3"])
def test_an_original_and_its_neighbour_killed_at_once_cost_no_reply(
    originals: tuple[str, ...], agent: AgentClient, other: str
) -> None:
    graph = deploy_all(agent, "g", CHAIN, implementation("Named"))

    async def scenario() -> None:
        async with Load(graph.url) as load:
            await load.more(50)
            now = await asyncio.to_thread(agent.graph, "g")
            for pid in [node(now, name).pairs[0].proxy_pid for name in ("c2", other)]:
                os.kill(pid, signal.SIGKILL)
            await load.more(100)
        assert load.failures == []

    asyncio.run(scenario())
    wait_for(settled(agent, "g"), "every node is ready again")


@pytest.mark.parametrize("originals", [("c2",)], indirect=True)
@pytest.mark.parametrize("name", ["c1", "c2", "c3"])
def test_another_version_beside_an_original_costs_no_reply(
    originals: tuple[str, ...], agent: AgentClient, name: str
) -> None:
    graph = deploy(agent, CHAIN, named, "1")

    async def scenario() -> None:
        async with Load(graph.url) as load:
            await load.more(50)
            await asyncio.to_thread(deploy, agent, changed(CHAIN, name, version="2"), named)
            await load.more(50)
        assert load.failures == []

    asyncio.run(scenario())
    # Originals know the graph by the version before.
    asyncio.run(kill_under_load(agent, graph.url, "c3", "proxy", times=1))


@pytest.mark.parametrize("originals", [("c2",)], indirect=True)
def test_another_agent_goes_on_with_originals(
    originals: tuple[str, ...], agent: AgentClient, home: Path
) -> None:
    graph = deploy_all(agent, "g", CHAIN, implementation("Named"))
    asyncio.run(kill_under_load(agent, graph.url, "c3", "proxy", times=1))
    kill_agent(agent)
    with connect(home) as other:
        wait_for(settled(other, "g"), "every node is ready")
        asyncio.run(kill_under_load(other, graph.url, "c3", "proxy", times=1))
        asyncio.run(kill_under_load(other, graph.url, "c2", "proxy", times=1))


@pytest.mark.parametrize("originals", [("c4",)], indirect=True)
def test_an_original_at_the_sink_behind_ours_is_replaced(
    originals: tuple[str, ...], agent: AgentClient
) -> None:
    graph = deploy_all(agent, "g", CHAIN, implementation("Named"))
    asyncio.run(kill_under_load(agent, graph.url, "c4", "proxy", times=3))


@pytest.mark.parametrize("originals", [("front",)], indirect=True)
@pytest.mark.parametrize("process", ["model", "proxy"])
def test_a_killed_primary_behind_an_original_counts_every_request_once(
    originals: tuple[str, ...], agent: AgentClient, process: str
) -> None:
    config = StaticConfig(nodes("front", "ledger", stateful="ledger"), (Edge((1,), (2,)),))
    graph = deploy_mixed(agent, config)
    load = asyncio.run(kill_under_load(agent, graph.url, "ledger", process, times=3))
    replies = [json.loads(reply) for reply in load.replies.values()]
    assert {reply["times"] for reply in replies} == {1}
    assert sorted(reply["all"] for reply in replies) == list(range(1, len(replies) + 1))


@pytest.mark.parametrize("originals", [("c1", "c2")], indirect=True)
def test_a_killed_frontend_counts_on_where_originals_wait_for_the_next_number(
    originals: tuple[str, ...], agent: AgentClient
) -> None:
    graph = deploy_all(agent, "g", CHAIN, implementation("Named"))
    for number in range(20):
        predict(graph.url, f"{number}".encode())
    os.kill(ledger(agent)["frontend"]["pid"], signal.SIGKILL)
    wait_for(
        lambda: any(one.what == "is back" for one in agent.events("g")), "the frontend is back"
    )
    for _ in range(20):
        assert predict(agent.graph("g").url, b"x") == path_of(CHAIN, "x").encode()


@pytest.mark.parametrize("originals", [()], indirect=True)
def test_the_management_server_looks_and_lets_be_what_runs(
    originals: tuple[str, ...], agent: AgentClient
) -> None:
    deploy_all(agent, "g", CHAIN, implementation("Named"))
    pair = node(agent.graph("g"), "c2").pairs[0]
    with admin_of(agent) as admin:
        config = admin.GetRuntimeDAG(management_pb2.RuntimeDAGInfo(name="g"), timeout=5)
        assert config.file.startswith("g-test\n4\n")
        assert pair.address in config.file
        assert admin.AddRuntimeDAG(config, timeout=5).status == "ok"
        for name, field in (("other", "name"), ("2", "version")):
            asked = management_pb2.RuntimeDAGInfo(**{field: name})
            with pytest.raises(grpc.RpcError, match="this is the admin of g, version test"):
                admin.GetRuntimeDAG(asked, timeout=5)
        with pytest.raises(grpc.RpcError, match="deploy another through the agent"):
            admin.AddRuntimeDAG(management_pb2.RuntimeDAGInfo(file="x"), timeout=5)

        def report(**fields: str) -> management_pb2.FailureResponse:
            known = {"hostip": pair.address, "modelid": "2", "appid": "g-test"}
            info = management_pb2.FailureInfo(**known | fields)
            answer: management_pb2.FailureResponse = admin.ReportContainerFailure(info, timeout=40)
            return answer

        for wrong, sentence in (
            ({"appid": "other-1"}, "not of that graph"),
            ({"modelid": "9"}, "has no node 9"),
            ({"modelid": "two"}, "the node's place in the config"),
            ({"modelname": "x" * 5000}, "longer than"),
        ):
            with pytest.raises(grpc.RpcError, match=sentence):
                report(**wrong)
        assert report(hostip="127.0.0.1").status == "it was replaced before"
        answer = report()
        assert answer.status == "it runs and answers"
        assert (answer.isstateful, answer.isprimary, answer.modelid) == (False, False, "2")
        assert answer.newruntimedag == answer.oldruntimedag == config.file
        assert node(agent.graph("g"), "c2").pairs[0].proxy_pid == pair.proxy_pid
        os.kill(pair.proxy_pid, signal.SIGSTOP)
        assert report().status == "the agent has replaced it"
        assert node(agent.graph("g"), "c2").pairs[0].proxy_pid not in (0, pair.proxy_pid)
