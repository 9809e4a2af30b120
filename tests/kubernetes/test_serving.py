"""A graph from its deploy to its end: the API is an emulator's, all that serves is real."""

from __future__ import annotations

import asyncio
import base64
import os
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from earg.addresses import AddressPool
from earg.protos import hogar_pb2
from earg.status import SERVING, NodeState, Role
from hogar_provider.engines import kubernetes_agent
from tests.kubernetes.agents import Client, running_agent, until
from tests.kubernetes.cluster import Cluster, read_role, running, running_cluster, unwired
from tests.kubernetes.graphs import GRAPH
from tests.kubernetes.processes import Processes
from tests.kubernetes.test_agent import ROLE

pytestmark = pytest.mark.slow

ONE_MODEL_EACH = GRAPH.replace("replicas 2\n", "")


@pytest.fixture
def processes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Processes]:
    pool = AddressPool(f"{request.node.nodeid} {os.getpid()}")
    found = Processes(tmp_path / "pods", pool)
    try:
        yield found
    finally:
        found.close()
        pool.close()


def ask(url: str, token: str, text: str) -> str:
    headers = {"Content-Type": "text/plain", "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{url}/predict", text.encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return str(reply.read().decode())


async def start_wiring(cluster: Cluster, processes: Processes) -> None:
    """What a kubelet does once the wiring's Deployment is there."""
    await until(lambda: cluster.find("Deployment", "hello-wiring") is not None, 90)
    one = cluster.find("Deployment", "hello-wiring")
    config = cluster.find("ConfigMap", "hello-config")
    assert one is not None
    assert config is not None
    processes.start_wiring(one, config)


async def serves(cluster: Cluster, client: Client, processes: Processes, trained: str) -> str:
    """Deploy and wire; the frontend's URL. ``trained`` is the folder of the first operator's
    model."""
    cluster.says |= {"hello-greet": unwired, "hello-count": unwired, "hello-frontend": unwired}
    cluster.ips |= processes.ips
    cluster.ports |= processes.ports
    await client.deployed(1, ONE_MODEL_EACH, entrypoint="counting_models:Greet", artifact=trained)
    await client.deployed(2, ONE_MODEL_EACH, entrypoint="counting_models:Count")
    secret = cluster.find("Secret", "hello-token")
    assert secret is not None
    token = base64.b64decode(secret["data"]["token"]).decode()
    processes.give_token(token)
    greet = cluster.find("Deployment", "hello-greet")
    assert greet is not None
    processes.start_pods({"hello-greet": processes.mount(greet, cluster.all("ConfigMap"))})
    starting = asyncio.create_task(start_wiring(cluster, processes))
    graph = await client.wire(timeout=60)
    await starting
    assert graph.url.startswith("http://127.0.0.1:")
    for index in (1, 2):
        node = await client.probe(index, timeout=60)
        assert node.state in SERVING, node
    assert (await client.serve(timeout=60)).url == graph.url
    assert await asyncio.to_thread(ask, graph.url, token, "a") == "1: good day a"
    async with asyncio.timeout(60):
        # The backup has the state.
        while any(node.state is not NodeState.READY for node in (await client.graph()).nodes):
            await asyncio.sleep(0.2)
    return token


def test_a_graph_is_deployed_serves_is_watched_and_goes(
    tmp_path: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_agent, "EVENTS_AGE", 0.0)

    async def scenario(cluster: Cluster, client: Client) -> None:
        # What the first operator says is its trained model.
        trained = tmp_path / "trained"
        trained.mkdir()
        (trained / "model").write_bytes(b"good day")
        token = await serves(cluster, client, processes, str(trained))
        cluster.says |= dict.fromkeys(("hello-greet", "hello-count", "hello-frontend"), running)

        graph = await client.graph()
        assert graph.warnings == ()
        greet, count = graph.nodes
        assert [pair.role for pair in count.pairs] == [Role.PRIMARY, Role.BACKUP]
        by_name = {pod["metadata"]["name"]: pod for pod in cluster.all("Pod")}
        for pair, name in zip(count.pairs, ("hello-count-0", "hello-count-1"), strict=True):
            assert pair.host == by_name[name]["spec"]["nodeName"]
            assert pair.model_log == f"pod/{name} -c model"
        assert greet.pairs[0].host in ("node-a", "node-b")
        assert graph.frontend_host in ("node-a", "node-b")

        # The batch limit changes while it serves, and the proxies' figures are told.
        limit = hogar_pb2.NodeBatchLimit(
            graph="hello", index=2, limit=hogar_pb2.BatchLimit(limit=3, who="a test")
        )
        assert (await client.stub.SetBatchLimit(limit, timeout=20)).limit == 8
        asked = hogar_pb2.StatisticsRequest(graph="hello", history_seconds=5)
        told = await client.stub.Statistics(asked, timeout=20)
        assert [node.name for node in told.nodes] == ["Greet", "Count"]
        assert told.nodes[1].statistics.batch_limit == 3
        assert told.nodes[1].statistics.requests == 1
        query = hogar_pb2.RequestsQuery(graph="hello", most=5)
        assert (await client.stub.Requests(query, timeout=20)).total == 0
        await client.stub.RecordedRequests(query, timeout=20)
        with pytest.raises(Exception, match="there is no node 9"):
            await client.stub.SetBatchLimit(
                hogar_pb2.NodeBatchLimit(graph="hello", index=9), timeout=20
            )

        # The primary's pod is lost: its backup takes over, and the log that is told is its own.
        cluster.logs["hello-count", "model", False] = "counting\n"
        processes.kill("hello-count-0 model")
        processes.kill("hello-count-0 proxy")
        assert await asyncio.to_thread(ask, graph.url, token, "b") == "2: good day b"
        async with asyncio.timeout(30):
            while (await client.log(2, lines=5)).path != "pod/hello-count-1 -c model":
                await asyncio.sleep(0.2)
        events = await client.events()
        assert any(event.node == "Count" and event.after for event in events)

        # Without its wiring the graph serves on, and the API tells what it knows.
        processes.kill("wiring")
        assert await asyncio.to_thread(ask, graph.url, token, "c") == "3: good day c"
        alone = await client.graph()
        assert [node.name for node in alone.nodes] == ["Greet", "Count"]
        (warning,) = alone.warnings
        assert warning.startswith("the wiring hello-wiring does not answer: ")
        told = await client.stub.Statistics(asked, timeout=20)
        assert told.nodes[0].reason.startswith("the wiring hello-wiring does not answer: ")
        await start_wiring(cluster, processes)
        async with asyncio.timeout(30):
            while (await client.graph()).warnings:
                await asyncio.sleep(0.2)

        begin = time.monotonic()
        drained = await client.stub.Drain(
            hogar_pb2.DrainRequest(graph="hello", timeout=10), timeout=60
        )
        assert (drained.stopped, drained.left) == (True, 0)
        assert time.monotonic() - begin < 30
        assert await client.graphs() == []
        assert cluster.names() == {("Secret", "hogar-token")}
        assert cluster.all("Pod") == []

    async def work() -> None:
        rules = read_role(ROLE)
        async with running_cluster(role=rules) as (cluster, settings):
            async with running_agent(tmp_path / "home", settings) as client:
                try:
                    await scenario(cluster, client)
                except BaseException:
                    print(processes.logs())
                    raise
            allowed = {
                (group, resource, verb)
                for rule in rules
                for group in rule["apiGroups"]
                for resource in rule["resources"]
                for verb in rule["verbs"]
            }
            # Nothing is in the Role that nobody needs.
            assert allowed - cluster.used == set()

    asyncio.run(work())
