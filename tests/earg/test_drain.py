"""A graph that is drained answers what it has accepted, takes nothing new, and is stopped."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.error
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import pytest

from earg.client import AgentClient, AgentError, UndrainedError, connect
from earg.config import NodeSpec, StaticConfig
from earg.protos import model_pb2, prediction_pb2, prediction_pb2_grpc
from earg.status import GraphStatus, NodeState
from tests.earg.test_agent import (
    deploy_all,
    kill_agent,
    one_node,
    pids_of,
    predict,
    processes_in,
    wait_for,
)
from tests.earg.test_survival import DIAMOND, implementation, settled

pytestmark = pytest.mark.slow

ONE_AT_A_TIME = StaticConfig((NodeSpec("only", "1", "image", False, 1),))


@pytest.fixture(autouse=True)
def _marked_processes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The agent hands EARG_* on, so that this test can tell its processes from all others.
    monkeypatch.setenv("EARG_HOME", str(home))


@pytest.fixture
def slow(agent: AgentClient) -> GraphStatus:
    """A graph that takes a second for each request, one after the other."""
    return deploy_all(agent, "g", ONE_AT_A_TIME, implementation("Slow"))


@pytest.fixture
def threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(16)


def send(
    agent: AgentClient, graph: GraphStatus, threads: ThreadPoolExecutor, count: int
) -> list[Future[bytes]]:
    """Send so many requests; returns when all are in the graph."""
    replies = [threads.submit(predict, graph.url, b"%d" % n) for n in range(count)]

    def all_arrived() -> bool:
        (report,) = agent.statistics("g").nodes
        counted = report.statistics
        if counted is None:
            return False
        return counted.requests + counted.running + counted.queued + counted.leaving >= count

    wait_for(all_arrived, "all requests are in the graph")
    return replies


def is_told(agent: AgentClient, what: str) -> Callable[[], bool]:
    return lambda: any(event.what == what for event in agent.events("g"))


def test_a_drained_graph_answers_what_it_accepted_and_refuses_the_rest(
    agent: AgentClient, slow: GraphStatus, threads: ThreadPoolExecutor, home: Path
) -> None:
    known = json.loads((home / "ledger.json").read_text())["graphs"][0]
    replies = send(agent, slow, threads, 4)
    draining = threads.submit(agent.drain, "g", 60.0)
    wait_for(is_told(agent, "takes no new requests"), "the drain has begun")
    assert agent.graph("g").nodes[0].state is NodeState.DRAINING
    refused = httpx.post(f"{slow.url}/predict", content=b"x")
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "1"
    assert "being drained" in refused.json()["error"]
    assert httpx.get(f"{slow.url}/v2/health/ready").status_code == 503
    with grpc.insecure_channel(f"{known['frontend_ip']}:{known['proxy_port']}") as channel:
        stub = prediction_pb2_grpc.ProxyServerStub(channel)
        request = prediction_pb2.request(input_=model_pb2.input(inputType="", inputStream="x"))
        with pytest.raises(grpc.RpcError) as error:
            stub.downstream(request, timeout=10)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "being drained" in error.value.details()
    for call in (
        lambda: agent.drain("g", 1.0),
        lambda: agent.deploy_node("g", "2", one_node(), 1, implementation("Echo")),
    ):
        with pytest.raises(AgentError, match="is being drained"):
            call()
    assert draining.result(timeout=60) == 0
    assert [reply.result(timeout=10) for reply in replies] == [b"0", b"1", b"2", b"3"]
    assert agent.graphs() == ()
    assert [process.pid for process in processes_in(home)] == [agent.hello()[1]]


def test_no_request_is_lost_where_clients_keep_sending_until_they_are_refused(
    agent: AgentClient,
) -> None:
    graph = deploy_all(agent, "g", DIAMOND, implementation("Named"))
    enough = threading.Event()

    async def scenario() -> list[int]:
        async with httpx.AsyncClient(timeout=60) as http:

            async def client(number: int) -> int:
                sent = 0
                while True:
                    reply = await http.post(
                        f"{graph.url}/predict",
                        content=f"{number}.{sent}",
                        headers={"Content-Type": "text/plain"},
                    )
                    if reply.status_code != 200:
                        return reply.status_code
                    assert f"c1({number}.{sent})" in reply.text
                    sent += 1
                    if sent == 20:
                        enough.set()

            clients = [asyncio.create_task(client(number)) for number in range(8)]
            await asyncio.to_thread(enough.wait, 60)
            assert await asyncio.to_thread(agent.drain, "g", 30.0) == 0
            return await asyncio.gather(*clients)

    assert asyncio.run(scenario()) == [503] * 8


def test_a_drain_that_takes_too_long_tells_how_many_are_left_and_the_graph_serves_again(
    agent: AgentClient, slow: GraphStatus, threads: ThreadPoolExecutor
) -> None:
    replies = send(agent, slow, threads, 5)
    with pytest.raises(UndrainedError, match=r"graph g is not drained: \d requests were left") as e:
        agent.drain("g", 0.3)
    assert 3 <= e.value.left <= 5
    assert predict(slow.url, b"x") == b"x"
    assert [reply.result(timeout=20) for reply in replies] == [b"0", b"1", b"2", b"3", b"4"]
    wait_for(settled(agent, "g"), "the node is ready again")
    told = [event.what for event in agent.events("g") if event.node == "graph"]
    assert told == ["takes no new requests", "takes requests again"]


def test_a_forced_drain_stops_the_graph_when_its_time_has_passed(
    agent: AgentClient, slow: GraphStatus, threads: ThreadPoolExecutor, home: Path
) -> None:
    replies = send(agent, slow, threads, 6)
    left = agent.drain("g", 0.3, force=True)
    assert 4 <= left <= 6
    assert agent.graphs() == ()
    assert [process.pid for process in processes_in(home)] == [agent.hello()[1]]
    # They fail, and not silently; some may have been answered while it was stopped.
    errors = [error for reply in replies if (error := reply.exception(timeout=20)) is not None]
    assert 2 <= len(errors) <= left
    assert all(isinstance(error, (urllib.error.URLError, ConnectionError)) for error in errors)


def test_a_graph_whose_agent_is_killed_while_it_drains_serves_again(
    home: Path, threads: ThreadPoolExecutor
) -> None:
    with connect(home) as agent:
        graph = deploy_all(agent, "g", ONE_AT_A_TIME, implementation("Slow"))
        replies = send(agent, graph, threads, 3)
        threads.submit(agent.drain, "g", 60.0)
        wait_for(is_told(agent, "takes no new requests"), "the drain has begun")
        kill_agent(agent)
    with connect(home, start=False) as agent:

        def serves() -> bool:
            reply = httpx.post(f"{graph.url}/predict", content=b"x", timeout=30)
            return reply.status_code == 200

        wait_for(serves, "the graph takes requests again")
        assert [reply.result(timeout=20) for reply in replies] == [b"0", b"1", b"2"]
        wait_for(settled(agent, "g"), "the node is ready")
        assert pids_of(agent.graph("g")) == pids_of(graph)


def test_a_graph_that_was_never_wired_is_drained_at_once(agent: AgentClient) -> None:
    agent.deploy_node("g", "1", one_node(), 1, implementation("Echo"))
    assert agent.drain("g", 30.0) == 0
    with pytest.raises(AgentError, match="no graph 'g' is deployed here"):
        agent.drain("g", 30.0)
