"""The agent of the kubernetes engine deploys, tells and takes away, and keeps nothing itself."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import math
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from earg.addresses import AddressPool
from earg.protos import hogar_pb2, hogar_pb2_grpc
from earg.statistics import NodeReport
from earg.statistics_wire import read_graph_statistics
from earg.status import NodeState, Role
from hogar_provider.engines import (
    kubernetes_agent,
    kubernetes_apply,
    kubernetes_rollout,
    kubernetes_usage,
)
from hogar_provider.engines.kubernetes_settings import KubernetesSettings, Reach
from tests.kubernetes.agents import Client, running_agent, until
from tests.kubernetes.cluster import (
    Cluster,
    read_role,
    running,
    running_cluster,
    unwired,
    waiting,
)
from tests.kubernetes.graphs import GRAPH
from tests.kubernetes.server_side_apply import Object
from udgl.targets._pairs import WIRING_PORT

pytestmark = pytest.mark.slow

ROLE = Path(__file__).parents[2] / "docs" / "kubernetes_role.yaml"
Scenario = Callable[[Cluster, Client], Awaitable[None]]

LONGER = GRAPH.replace(
    "logical flow\ndistribute\n",
    "operator Last\nimage team/last:1\nlogical flow\ndistribute\nCount -> Last\n",
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (kubernetes_agent, kubernetes_apply, kubernetes_rollout):
        monkeypatch.setattr(module, "LOOK_INTERVAL", 0.05)
    monkeypatch.setattr(kubernetes_agent, "EVENTS_AGE", 0.0)
    monkeypatch.setattr(kubernetes_agent, "LIVE_TIMEOUT", 1.0)


def run(folder: Path, scenario: Scenario, **fields: Any) -> None:
    async def work() -> None:
        # A Role that was too small would end every test here.
        async with running_cluster(role=read_role(ROLE), **fields) as (cluster, settings):
            cluster.says |= {"hello-greet": unwired, "hello-count": unwired, "hello-last": unwired}
            async with running_agent(folder / "home", settings) as client:
                await scenario(cluster, client)

    asyncio.run(work())


@pytest.fixture
def pool(request: pytest.FixtureRequest) -> Iterator[AddressPool]:
    """Loopback addresses for this test alone."""
    addresses = AddressPool(f"{request.node.nodeid} {os.getpid()}")
    yield addresses
    addresses.close()


async def refusal(call: Awaitable[Any]) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    return str(caught.value.details())


class Wiring(hogar_pb2_grpc.AgentServicer):
    """What answers in the place of a graph's wiring."""

    async def Graphs(
        self, request: hogar_pb2.GraphsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> hogar_pb2.GraphsReply:
        return hogar_pb2.GraphsReply(graphs=[hogar_pb2.GraphStatus(name=request.graph)])


@contextlib.asynccontextmanager
async def answering_wiring(cluster: Cluster, address: str = "127.0.0.1:0") -> AsyncIterator[None]:
    """Something that answers at the port of the wiring's pod."""
    server = grpc.aio.server()
    hogar_pb2_grpc.add_AgentServicer_to_server(Wiring(), server)
    port = server.add_insecure_port(address)
    await server.start()
    cluster.ports["hello-wiring", WIRING_PORT] = ("127.0.0.1", port)
    try:
        yield
    finally:
        await server.stop(None)


def model_of(cluster: Cluster, kind: str, name: str) -> Object:
    one = cluster.find(kind, name)
    assert one is not None
    return dict(one["spec"]["template"]["spec"]["containers"][0])


def test_nodes_are_deployed_one_by_one_and_told_with_their_hosts(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, client: Client) -> None:
        hello = await client.stub.Hello(hogar_pb2.HelloRequest())
        assert hello.engine == "kubernetes"
        assert await client.graphs() == []
        node = await client.deployed(2)
        assert (node.name, node.state) == ("Count", NodeState.STARTING)
        assert node.reason == "its proxy has no graph yet"
        pods = cluster.pods_of("hello-count")
        assert [pair.role for pair in node.pairs] == [Role.PRIMARY, Role.BACKUP]
        assert [pair.host for pair in node.pairs] == [pod["spec"]["nodeName"] for pod in pods]
        assert node.pairs[0].model_log == "pod/hello-count-0 -c model"
        graph = await client.graph()
        assert [one.name for one in graph.nodes] == ["Count"]
        assert (graph.operators, graph.url, graph.version) == (2, "", "1")
        await client.deployed(1, entrypoint="models:Greet")
        graph = await client.graph()
        assert [one.name for one in graph.nodes] == ["Greet", "Count"]
        assert {host.name for host in graph.hosts} <= {"node-a", "node-b"}
        # The class is told to the models of the node alone.
        for kind, name in (("Deployment", "hello-greet"), ("StatefulSet", "hello-greet-more")):
            env = model_of(cluster, kind, name)["env"]
            assert {"name": "EARG_ENTRYPOINT", "value": "models:Greet"} in env
        assert "models:Greet" not in str(model_of(cluster, "StatefulSet", "hello-count"))
        # Nothing that needs the whole graph is there yet.
        assert cluster.find("Deployment", "hello-wiring") is None
        assert cluster.find("Deployment", "hello-frontend") is None
        said = await refusal(client.stub.Wire(hogar_pb2.GraphRequest(graph="other"), timeout=5))
        assert said == "no graph 'other' is deployed here (deployed: hello)"

    run(tmp_path, scenario)


def test_a_second_deploy_of_the_same_changes_nothing_and_force_replaces_the_pods(
    tmp_path: Path,
) -> None:
    async def scenario(cluster: Cluster, client: Client) -> None:
        def pods() -> set[str]:
            return {pod["metadata"]["uid"] for pod in cluster.pods_of("hello-greet")}

        await client.deployed(1)
        before, versions = pods(), cluster.find("Deployment", "hello-greet")
        await client.deployed(1)
        assert pods() == before
        assert cluster.find("Deployment", "hello-greet") == versions
        await client.deployed(1, force=True)
        assert pods() & before == set()
        forced = pods()
        # What was forced once is no change of the next deploy.
        await client.deployed(1)
        assert pods() == forced

    run(tmp_path, scenario)


def test_a_node_that_does_not_come_up_is_told_with_its_log_and_taken_away(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, client: Client) -> None:
        crash = {"restartCount": 3, "lastState": {"terminated": {"exitCode": 1}}}
        cluster.says["hello-count"] = waiting("model", "CrashLoopBackOff", "back-off", **crash)
        cluster.logs["hello-count", "model", True] = "Traceback\nValueError: no weights\n"
        reply = await client.deploy(2)
        assert reply.failure.startswith("pod hello-count-0, container model: CrashLoopBackOff")
        assert reply.log == "Traceback\nValueError: no weights"
        # It is being deleted; its pods have their time to end.
        cluster.control()
        assert cluster.all("Pod") == []
        cluster.says["hello-count"] = unwired
        await client.deployed(2)
        # One that replaces another is left to Kubernetes, which goes on trying.
        cluster.says["hello-count"] = waiting("model", "CrashLoopBackOff", "back-off", **crash)
        reply = await client.deploy(2, GRAPH.replace("count:1", "count:2"), version="2")
        assert reply.failure
        assert model_of(cluster, "StatefulSet", "hello-count")["image"] == "team/count:2"
        (node,) = (await client.graph()).nodes
        assert node.state is NodeState.DEAD
        assert "CrashLoopBackOff: back-off; it ended with exit code 1" in node.reason

    run(tmp_path, scenario)


def test_the_graphs_token_is_the_namespaces_unless_somebody_has_given_another(
    tmp_path: Path,
) -> None:
    def token(cluster: Cluster, name: str) -> str:
        one = cluster.find("Secret", name)
        assert one is not None
        return base64.b64decode(one["data"]["token"]).decode()

    async def scenario(cluster: Cluster, client: Client) -> None:
        own = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "other-token"},
            "data": {"token": base64.b64encode(b"t" * 40).decode()},
        }
        cluster.add(own)
        await client.deployed(1)
        await client.deployed(1, graph="other")
        assert token(cluster, "hello-token") == token(cluster, "hogar-token")
        assert len(token(cluster, "hogar-token")) == 64
        assert token(cluster, "other-token") == "t" * 40
        await client.down("other")
        await client.down()
        # What others have made, and what is the namespace's, stays.
        assert {one["metadata"]["name"] for one in cluster.all("Secret")} == {
            "other-token",
            "hogar-token",
        }

    run(tmp_path, scenario)


def test_an_agent_that_follows_finds_everything_in_the_cluster(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_cluster(role=read_role(ROLE)) as (cluster, settings):
            async with running_agent(tmp_path / "home", settings) as client:
                await client.deployed(1)
                await client.deployed(2)
                plan = await client.stub.Plan(hogar_pb2.GraphRequest(graph="hello"))
            async with running_agent(tmp_path / "home", settings) as client:
                graph = await client.graph()
                assert [node.name for node in graph.nodes] == ["Greet", "Count"]
                assert plan == await client.stub.Plan(hogar_pb2.GraphRequest(graph="hello"))
                await client.down()
                assert await client.graphs() == []
                # Its own token is the namespace's: the next graph has the same.
                assert cluster.names() == {("Secret", "hogar-token")}
                assert cluster.all("Pod") == []
                said = await refusal(client.down())
                assert said == "no graph 'hello' is deployed here (deployed: none)"

    asyncio.run(work())


def test_a_graph_of_other_nodes_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, client: Client) -> None:
        for index in (1, 2, 3):
            await client.deployed(index, LONGER)
        before = {pod["metadata"]["uid"] for pod in cluster.all("Pod")}
        secret = cluster.find("Secret", "hello-token")
        await client.deployed(1, version="2")
        graph = await client.graph()
        assert (graph.version, [node.name for node in graph.nodes]) == ("2", ["Greet"])
        assert before & {pod["metadata"]["uid"] for pod in cluster.all("Pod")} == set()
        assert secret != cluster.find("Secret", "hello-token")
        told = [event.what for event in await client.events()]
        assert "was taken down: its next config has other nodes or edges" in told

    run(tmp_path, scenario)


def test_two_configs_at_once_are_refused(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, client: Client) -> None:
        cluster.says["hello-greet"] = waiting("model", "ContainerCreating", "")
        first = asyncio.create_task(client.deploy(1))
        await until(lambda: cluster.find("Deployment", "hello-greet") is not None)
        said = await refusal(client.deploy(2, GRAPH.replace("batch 8", "batch 4")))
        assert said.startswith("graph hello is being deployed with another config (version 1)")
        cluster.says["hello-greet"] = unwired
        assert not (await first).failure

    run(tmp_path, scenario)


def test_fewer_replicas_leave_nothing_of_those_there_were(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, client: Client) -> None:
        await client.deployed(1)
        assert len(cluster.pods_of("hello-greet-more")) == 1
        more = GRAPH.replace("replicas 2", "replicas 4")
        await client.deployed(1, more, version="2")
        assert len(cluster.pods_of("hello-greet-more")) == 3
        await client.deployed(1, GRAPH.replace("replicas 2\n", ""), version="3")
        assert cluster.find("StatefulSet", "hello-greet-more") is None
        assert cluster.find("Service", "hello-greet-more") is None
        assert cluster.pods_of("hello-greet-more") == []

    run(tmp_path, scenario)


def test_a_graph_is_deployed_again_with_its_wiring_first(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, client: Client) -> None:
        cluster.says |= dict.fromkeys(("hello-greet", "hello-count", "hello-frontend"), running)
        await client.deployed(1)
        said = await refusal(client.wire())
        assert said == "graph hello cannot be wired: Count not running; deploy every node first"
        await client.deployed(2)
        async with answering_wiring(cluster):
            await redeploy(cluster, client)

    async def redeploy(cluster: Cluster, client: Client) -> None:
        assert (await client.wire()).version == "1"
        greet = {pod["metadata"]["uid"] for pod in cluster.pods_of("hello-greet")}

        changed = GRAPH.replace("batch 8", "batch 4")
        cluster.applied.clear()
        await client.deployed(2, changed, version="2")
        order = [f"{one['kind']} {one['metadata']['name']}" for one in cluster.applied]
        assert order.index("ConfigMap hello-config") < order.index("Deployment hello-wiring")
        assert order.index("Deployment hello-wiring") < order.index("StatefulSet hello-count")
        assert "Deployment hello-greet" not in order
        assert (await client.wire()).version == "2"
        assert {pod["metadata"]["uid"] for pod in cluster.pods_of("hello-greet")} == greet

        # A node that has not followed yet keeps the graph from being wired.
        await client.deployed(2, changed.replace("greet:1", "greet:2"), version="3")
        assert await refusal(client.wire()) == (
            "graph hello cannot be wired: Greet (version 1) not deployed with its new config yet; "
            "deploy every node first"
        )

    run(tmp_path, scenario)


def test_inside_the_cluster_a_graph_is_reached_by_the_names_of_its_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: AddressPool
) -> None:
    ip, resolve = pool.take(), socket.getaddrinfo

    def cluster_dns(host: Any, *rest: Any, **more: Any) -> Any:
        known = {"hello-wiring.graphs.svc": ip}
        return resolve(known.get(host, host), *rest, **more)

    async def work() -> None:
        async with running_cluster(role=read_role(ROLE)) as (cluster, settings):
            settings = replace(settings, reach=Reach.SERVICE)
            async with running_agent(tmp_path / "home", settings) as client:
                for index in (1, 2):
                    await client.deployed(index)
                with pytest.raises(grpc.aio.AioRpcError):
                    await client.wire(2)
                (warning,) = (await client.graph()).warnings
                assert warning.startswith("hello-wiring.graphs.svc has no address here (")
                assert warning.endswith(
                    "; set 'reach' to port-forward where the agent is outside the cluster"
                )
                monkeypatch.setattr(socket, "getaddrinfo", cluster_dns)
                async with answering_wiring(cluster, f"{ip}:{WIRING_PORT}"):
                    graph = await client.wire()
                assert (graph.url, graph.warnings) == ("http://hello.graphs.svc", ())
            settings = replace(settings, url="https://ml.example/{graph}/")
            async with running_agent(tmp_path / "home", settings) as client:
                assert (await client.graph()).url == "https://ml.example/hello/"

    asyncio.run(work())


def test_what_the_wiring_found_gone_is_pruned_when_it_is_wired(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, client: Client) -> None:
        for index in (1, 2):
            await client.deployed(index)
        labels = {
            "hogar/engine": "kubernetes",
            "hogar/graph": "hello",
            "app.kubernetes.io/managed-by": "hogar",
        }
        for kind, version in (("Service", "v1"), ("ConfigMap", "v1")):
            cluster.add(
                {
                    "apiVersion": version,
                    "kind": kind,
                    "metadata": {"name": "hello-old", "labels": labels},
                    **({"data": {}} if kind == "ConfigMap" else {"spec": {"ports": []}}),
                }
            )
        cluster.says |= dict.fromkeys(("hello-greet", "hello-count", "hello-frontend"), running)
        async with answering_wiring(cluster):
            await client.wire()
        assert cluster.find("Service", "hello-old") is None
        assert cluster.find("ConfigMap", "hello-old") is None
        assert cluster.find("Secret", "hello-token") is not None

    run(tmp_path, scenario)


def test_two_graphs_whose_names_make_one_are_not_mixed(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, client: Client) -> None:
        await client.deployed(1, graph="a_b")
        before = cluster.names()
        said = await refusal(client.deploy(1, graph="a.b"))
        assert "is there already and is not of this graph" in said
        assert cluster.names() == before
        assert [graph.name for graph in await client.graphs()] == ["a_b"]

    run(tmp_path, scenario)


def test_all_graphs_are_looked_at_with_as_many_calls_as_one(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, client: Client) -> None:
        async def calls() -> int:
            before = len(cluster)
            await client.graphs()
            return len(cluster) - before

        await client.deployed(1)
        one = await calls()
        for name in ("second", "third"):
            await client.deployed(1, graph=name)
        assert await calls() == one
        assert [graph.name for graph in await client.graphs()] == ["hello", "second", "third"]
        # What is new enough is not asked for again.
        before = len(cluster)
        await client.stub.Graphs(hogar_pb2.GraphsRequest(age=600.0), timeout=20)
        assert len(cluster) - before <= one

    run(tmp_path, scenario)


def test_what_a_node_asks_of_its_host_reaches_its_pods(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, client: Client) -> None:
        asking = GRAPH.replace(
            "image team/greet:1\n",
            "image team/greet:1\ncpu 0.5\nmemory 1GiB\ngpu 1\nhost zone=a\nenv LANG=en\n",
        )
        await client.deployed(1, asking)
        one = cluster.find("Deployment", "hello-greet")
        assert one is not None
        pod = one["spec"]["template"]["spec"]
        assert pod["nodeSelector"] == {"zone": "a"}
        amounts = {"cpu": "500m", "memory": "1Gi", "nvidia.com/gpu": "1"}
        assert pod["containers"][0]["resources"] == {"requests": amounts, "limits": amounts}
        assert {"name": "LANG", "value": "en"} in pod["containers"][0]["env"]

    run(tmp_path, scenario)


def test_a_secret_without_a_token_is_named_and_its_content_is_not_told(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, client: Client) -> None:
        data = {"token": base64.b64encode(b"too-short-a-secret").decode()}
        about = {"name": "hello-token"}
        cluster.add({"apiVersion": "v1", "kind": "Secret", "metadata": about, "data": data})
        said = await refusal(client.deploy(1))
        assert said == (
            "the token in Secret hello-token is of 18 characters; 32 to 1024 are admitted"
        )

    run(tmp_path, scenario)


def test_logs_are_those_of_the_container_that_is_asked_for(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, client: Client) -> None:
        await client.deployed(2)
        cluster.logs["hello-count", "model", False] = "one\ntwo\nthree\n"
        cluster.logs["hello-count", "proxy", False] = "proxied\n"
        reply = await client.log(2, lines=2)
        assert (reply.text, reply.path) == ("two\nthree\n", "pod/hello-count-0 -c model")
        reply = await client.log(2, lines=5, proxy=True, backup=True)
        assert (reply.text, reply.path) == ("proxied\n", "pod/hello-count-1 -c proxy")
        # A run that has written nothing yet: the one before.
        cluster.logs["hello-count", "model", False] = ""
        cluster.logs["hello-count", "model", True] = "the last words\n"
        assert (await client.log(2, lines=5)).text == "the last words\n"
        await client.deployed(1)
        assert await refusal(client.log(1, backup=True)) == "Greet of graph hello has no backup"
        assert (await client.log(0, lines=5)).text == ""
        assert "there is no node 7" in await refusal(client.log(7))

    run(tmp_path, scenario)


def test_warnings_of_kubernetes_are_events_of_the_node_once(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, client: Client) -> None:
        await client.deployed(2)
        pod = cluster.pods_of("hello-count")[0]
        cluster.event(pod, "Unhealthy", "Readiness probe failed")
        cluster.event(pod, "Pulled", "Image is there already", kind="Normal")
        cluster.event({"metadata": {"name": "stranger-5"}}, "Failed", "not ours")
        found = [event for event in await client.events() if event.node == "Count"]
        assert found[0].what.startswith("Kubernetes: created ")
        assert [event.what for event in found[1:]] == [
            "hello-count-0: Unhealthy: Readiness probe failed"
        ]
        last = max(event.number for event in await client.events())
        assert await client.events(newer_than=last) == []
        cluster.event(pod, "FailedMount", "no volume")
        (one,) = await client.events(newer_than=last)
        assert (one.graph, one.node, one.number > last) == ("hello", "Count", True)
        assert one.what == "hello-count-0: FailedMount: no volume"

    run(tmp_path, scenario)


def test_a_host_whose_pods_are_all_marked_is_dead(tmp_path: Path) -> None:
    def lost(pod: Object) -> Object:
        status = running(pod, ready=False)
        if pod["spec"]["nodeName"] == "node-a":
            status["conditions"][-1] |= {
                "reason": "NodeNotReady",
                "lastTransitionTime": "2026-01-02T03:04:05Z",
            }
        return status

    async def scenario(cluster: Cluster, client: Client) -> None:
        await client.deployed(2)
        assert [host.dead for host in (await client.graph()).hosts] == [False, False]
        cluster.says["hello-count"] = lost
        graph = await client.graph()
        assert {host.name: host.dead for host in graph.hosts} == {"node-a": True, "node-b": False}
        dead = next(host for host in graph.hosts if host.dead)
        assert dead.since == 1767323045.0
        pairs = {pair.host: pair for pair in graph.nodes[0].pairs}
        assert pairs["node-a"].reason.endswith("its node node-a is not ready")

    run(tmp_path, scenario, hosts=("node-a", "node-b"))


def metrics_of(pod: Object, **used: tuple[str, str]) -> Object:
    """What the Metrics API tells of a pod: cpu and memory by container."""
    return {
        "metadata": {"name": pod["metadata"]["name"], "labels": pod["metadata"]["labels"]},
        "timestamp": "2026-01-02T03:04:05Z",
        "window": "15s",
        "containers": [
            {"name": name, "usage": {"cpu": cpu, "memory": memory}}
            for name, (cpu, memory) in used.items()
        ],
    }


def test_what_pods_use_is_told_by_the_metrics_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_usage, "INTERVAL", 0.0)
    monkeypatch.setattr(kubernetes_agent, "LIVE_TIMEOUT", 0.1)

    async def scenario(cluster: Cluster, client: Client) -> None:
        async def told(index: int) -> NodeReport:
            request = hogar_pb2.StatisticsRequest(graph="hello", history_seconds=60)
            reply = await client.stub.Statistics(request, timeout=20)
            return next(node for node in read_graph_statistics(reply).nodes if node.index == index)

        async def until_told(index: int, processes: int) -> NodeReport:
            async with asyncio.timeout(30):
                while len((found := await told(index)).processes) != processes:
                    await asyncio.sleep(0.05)
            return found

        for index in (1, 2):
            await client.deployed(index)
        assert (await told(2)).processes == ()
        greet, more, first, second = (
            *cluster.pods_of("hello-greet"),
            *cluster.pods_of("hello-greet-more"),
            *cluster.pods_of("hello-count"),
        )
        stranger = {"metadata": {"name": "stranger", "labels": {}}}
        cluster.metrics = [
            metrics_of(greet, model=("250m", "100Mi"), proxy=("1", "64Mi")),
            metrics_of(more, model=("1500000u", "100Mi")),
            metrics_of(first, model=("123456789n", "51200Ki"), proxy=("0", "1k"), init=("9", "9")),
            metrics_of(second, model=("nonsense", "1Mi"), proxy=("2", "1e3")),
            metrics_of(stranger, model=("7", "7Gi")),
        ]
        one = await until_told(1, 3)
        # By their pods' names, of which one is made up.
        assert sorted((u.kind, u.role, u.cores, u.memory) for u in one.processes) == [
            ("model", "primary", 0.25, 100 * 2**20),
            ("model", "primary", 1.5, 100 * 2**20),
            ("proxy", "primary", 1.0, 64 * 2**20),
        ]
        two = await until_told(2, 3)
        assert [(u.kind, u.role, u.cores, u.memory) for u in two.processes] == [
            ("model", "primary", 0.123456789, 50 * 2**20),
            ("proxy", "primary", 0.0, 1000),
            ("proxy", "backup", 2.0, 1000),
        ]
        # One measurement is one point of the charts, however often somebody looks.
        assert [(s.kind, s.role, s.cpu, s.memory) for s in one.usage.series] == [
            ("model", "primary", (1.75,), (200 * 2**20,)),
            ("proxy", "primary", (1.0,), (64 * 2**20,)),
        ]
        cluster.metrics[0]["timestamp"] = "2026-01-02T03:04:20Z"
        async with asyncio.timeout(30):
            while len((await told(1)).usage.times) < 2:
                await asyncio.sleep(0.05)
        # A pod that is gone is not measured any more.
        cluster.metrics = cluster.metrics[:1]
        assert len((await until_told(1, 2)).usage.times) == 3

    run(tmp_path, scenario)


@pytest.mark.parametrize("missing", ["API", "right"])
def test_without_the_metrics_api_there_are_no_figures_which_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, missing: str
) -> None:
    monkeypatch.setattr(kubernetes_usage, "INTERVAL", 0.0)
    monkeypatch.setattr(kubernetes_agent, "LIVE_TIMEOUT", 0.1)
    monkeypatch.setattr(kubernetes_usage, "RETRY", 0.0)

    async def scenario(cluster: Cluster, client: Client) -> None:
        if missing == "API":
            cluster.metrics = None
        else:
            assert cluster.role is not None
            cluster.role = [
                rule for rule in cluster.role if "metrics.k8s.io" not in rule["apiGroups"]
            ]
        await client.deployed(2)
        request = hogar_pb2.StatisticsRequest(graph="hello", history_seconds=60)
        before = len(cluster)
        while len(cluster) < before + 20:
            (node,) = (await client.stub.Statistics(request, timeout=20)).nodes
            assert node.name == "Count"
            assert list(node.processes) == []
            assert list(node.usage.times) == []

    run(tmp_path, scenario)
    (told,) = (
        record.getMessage()
        for record in caplog.records
        if record.name == "hogar_provider.engines.kubernetes_usage"
    )
    if missing == "API":
        assert told.startswith("no figures of containers: the cluster has no Metrics API")
    else:
        assert 'cannot list resource "pods" in API group "metrics.k8s.io"' in told
        assert "docs/kubernetes_role.yaml" in told


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2", 2.0),
        ("250m", 0.25),
        ("12345n", 1.2345e-05),
        ("1500u", 0.0015),
        ("1.5Gi", 1.5 * 2**30),
        ("129e6", 129e6),
        ("1E", 1e18),
        ("3k", 3000.0),
        ("50Ki", 51200.0),
        ("0", 0.0),
    ],
)
def test_quantities_are_numbers(text: str, number: float) -> None:
    assert kubernetes_usage.quantity(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["", "x", "1x", "m", None, "NaN", "Infinity", "1mm"])
def test_what_is_no_quantity_is_no_number(text: object) -> None:
    assert math.isnan(kubernetes_usage.quantity(text))


def test_what_the_account_may_not_do_is_named(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, client: Client) -> None:
        assert cluster.role is not None
        cluster.role = [rule for rule in cluster.role if "apps" not in rule["apiGroups"]]
        said = await refusal(client.deploy(1))
        assert 'cannot list resource "' in said
        assert 'in API group "apps" in the namespace "graphs"' in said
        assert "docs/kubernetes_role.yaml" in said

    run(tmp_path, scenario)


def test_what_makes_no_sense_is_refused_before_anything_is_applied(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, client: Client) -> None:
        assert "there is no node 3" in await refusal(client.deploy(3))
        assert "letters, digits" in await refusal(client.deploy(1, graph="a/b"))
        only_class = GRAPH.replace("image team/greet:1", "entrypoint models:Greet")
        said = await refusal(client.deploy(1, only_class, entrypoint="models:Greet"))
        assert said.startswith("operator 'Greet' has no image, only the class models:Greet")
        assert cluster.names() == set()

    run(tmp_path, scenario)


def test_a_start_that_its_client_ends_leaves_nothing(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, client: Client) -> None:
        cluster.says["hello-greet"] = waiting("model", "ContainerCreating", "")
        call = asyncio.create_task(client.deploy(1, timeout=100, start="s", start_timeout=100.0))
        await until(lambda: cluster.find("Deployment", "hello-greet") is not None)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

        def is_gone() -> bool:
            cluster.control()
            return cluster.find("Deployment", "hello-greet") is None

        await until(is_gone)
        joining = hogar_pb2.DeployNodeRequest(start="s")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.stub.DeployNode(joining, timeout=5)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND

    run(tmp_path, scenario)


def test_a_graph_that_is_taken_down_ends_the_deploy_of_its_nodes(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, client: Client) -> None:
        cluster.says["hello-greet"] = waiting("model", "ContainerCreating", "")
        call = asyncio.create_task(client.deploy(1, timeout=100))
        await until(lambda: cluster.find("Deployment", "hello-greet") is not None)
        await client.down()
        async with asyncio.timeout(30):
            reply = await call
        # Whichever of its workloads went first.
        assert reply.failure.endswith(" was deleted meanwhile")
        assert "hello-greet" in reply.failure
        assert cluster.names() == {("Secret", "hogar-token")}

    run(tmp_path, scenario)


def test_a_start_is_handed_over_to_who_asks_for_it_next(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, client: Client) -> None:
        cluster.says["hello-greet"] = waiting("model", "ContainerCreating", "")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.deploy(1, timeout=-1.0, start="s", start_timeout=100.0)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        cluster.says["hello-greet"] = unwired
        joining = hogar_pb2.DeployNodeRequest(start="s")
        reply = await client.stub.DeployNode(joining, timeout=20)
        assert reply.node.name == "Greet"

    run(tmp_path, scenario)


def test_settings_survive_their_journey_and_show_no_secret() -> None:
    settings = KubernetesSettings("graphs", kubeconfig="secret: text", token="t" * 40)
    assert KubernetesSettings.from_json(settings.to_json()) == settings
    assert "secret" not in repr(settings)
    assert "ttt" not in repr(settings)
