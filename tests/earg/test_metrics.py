"""Prometheus metrics of real proxies and frontends, and the file that says what to scrape."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from earg import metrics_proxy
from earg.addresses import AddressPool
from earg.client import AgentClient, connect
from earg.config import Edge, NodeSpec, StaticConfig, read_runtime, write_runtime, write_static
from earg.frontend_counts import FAILING_SECONDS, FrontendCounts
from earg.images import Implementation
from earg.journal import Journal
from earg.lane import LaneServer
from earg.lane_client import LaneClient
from earg.metrics import EXPORTED_LATENCY_BOUNDS, LATENCY_STEP, cumulative_buckets, thinned
from earg.metrics_proxy import families, on_loop, serve_metrics
from earg.metrics_targets import MetricsTarget, TargetsFile, targets_text
from earg.model_usage import pid_namespace, read_model_usage
from earg.pair import Commands, RunningPair
from earg.protos import (
    hogar_pb2,
    hogar_pb2_grpc,
    model_pb2,
    prediction_pb2,
    prediction_pb2_grpc,
)
from earg.proxy_figures import ProxyFigures, ReplicationFigures
from earg.replication import Primary
from earg.security import security
from earg.statistics import LATENCY_BOUNDS, Histogram, Recorder
from earg.status import NodeState, Role
from tests.earg.running import (
    MODELS,
    running_model,
    running_proxy,
    runtime,
    serving,
    set_model,
    stub_of,
)
from tests.earg.test_agent import wait_for

pytestmark = pytest.mark.slow

CHAIN = StaticConfig(
    (
        NodeSpec("first", "1", "image", False, 8),
        NodeSpec("count", "1", "image", True, 8),
        NodeSpec("last", "1", "image", False, 8),
    ),
    (Edge((1,), (2,)), Edge((2,), (3,))),
)


def deploy(agent: AgentClient, name: str = "chain") -> str:
    text = write_static(CHAIN)
    for index, spec in enumerate(CHAIN.nodes, 1):
        entrypoint = "little:Counter" if spec.stateful else "little:Echo"
        agent.deploy_node(name, "1", text, index, Implementation(entrypoint, str(MODELS)))
    agent.wire(name)
    for index in range(1, len(CHAIN.nodes) + 1):
        agent.probe(name, index)
    return agent.serve(name).url


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AgentClient, str]]:
    """A graph with a stateful node, and its URL."""
    with connect(tmp_path_factory.mktemp("metrics") / "earg") as agent:
        try:
            yield agent, deploy(agent)
        finally:
            agent.shutdown()


def fetch(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as reply:
        assert reply.headers["content-type"].startswith("text/plain")
        text: str = reply.read().decode()
    return text


class Exposition:
    """What ``/metrics`` of one process says, parsed by prometheus_client."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = [s for family in self.families.values() for s in family.samples]

    def value(self, name: str, **labels: str) -> float:
        (found,) = (
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )
        return float(found)


def targets_of(agent: AgentClient) -> dict[tuple[str, ...], str]:
    """The addresses of the targets file, by graph, node and role."""
    groups = json.loads(agent.home.metrics_targets.read_text(encoding="utf-8"))
    found = {}
    for group in groups:
        (address,) = group["targets"]
        labels = group["labels"]
        found[labels["graph"], labels.get("node", ""), labels["role"]] = address
    assert len(found) == len(groups)
    return found


def scrape(agent: AgentClient, node: str, role: str = "primary") -> Exposition:
    return Exposition(fetch(targets_of(agent)["chain", node, role]))


def post(url: str, text: str) -> int:
    headers = {"Content-Type": "text/plain"}
    return httpx.post(f"{url}/predict", content=text.encode(), headers=headers).status_code


# --- what is counted ------------------------------------------------------------------------


def test_what_was_sent_is_what_the_metrics_count(served: tuple[AgentClient, str]) -> None:
    agent, url = served
    nodes = [spec.name for spec in CHAIN.nodes]
    before = {node: scrape(agent, node) for node in (*nodes,)}
    front_before = scrape(agent, "", "frontend")
    statuses = [post(url, text) for text in (*"abcdefghijklmnopqrst", *["bad"] * 3)]
    assert (statuses.count(200), statuses.count(500)) == (20, 3)
    sent = {"first": 23, "count": 23, "last": 23}
    computed = {"first": 23, "count": 23, "last": 20}  # an error passes by the model
    wait_for(
        lambda: all(
            scrape(agent, node).value("earg_requests_total")
            - before[node].value("earg_requests_total")
            == sent[node]
            for node in nodes
        ),
        "all requests are handed on",
    )
    for node in nodes:
        now, then = scrape(agent, node), before[node]

        def grown(name: str, now: Exposition = now, then: Exposition = then, **labels: str) -> Any:
            return now.value(name, **labels) - then.value(name, **labels)

        assert grown("earg_errors_total") == (3 if node == "count" else 0)
        for name in ("earg_queue_seconds", "earg_latency_seconds"):
            assert grown(f"{name}_count") == grown(f"{name}_bucket", le="+Inf") == 23
            assert grown(f"{name}_sum") > 0
        assert grown("earg_compute_seconds_count") == computed[node]
        assert grown("earg_batch_size_sum") == computed[node]
        assert 1 <= grown("earg_batch_size_count") <= computed[node]
        assert now.value("earg_batch_limit") == 8
        assert now.value("earg_ready") == 1
        for name in ("earg_queued_requests", "earg_running_requests", "earg_leaving_requests"):
            assert now.value(name) == 0
        for sample in now.samples:
            if sample.name.startswith("earg_"):
                assert sample.labels.pop("le", "") is not None
                assert sample.labels == {"graph": "chain", "node": node, "role": "primary"}
        assert now.value("process_resident_memory_bytes") > 1e6
        assert now.value("earg_model_resident_memory_bytes") > 1e6
        assert now.value("earg_model_cpu_seconds_total") > 0
    front = scrape(agent, "", "frontend")
    assert front.value("earg_frontend_requests_total", code="200") == 20 + sum(
        sample.value
        for sample in front_before.samples
        if sample.name == "earg_frontend_requests_total" and sample.labels["code"] == "200"
    )
    assert front.value("earg_frontend_requests_total", code="500") == 3
    assert (
        front.value("earg_frontend_latency_seconds_count")
        - front_before.value("earg_frontend_latency_seconds_count")
        == 23
    )
    assert front.value("earg_frontend_requests_in_graph") == 0
    assert front.value("earg_frontend_concurrency_limit") == 1024
    assert front.value("earg_frontend_rejected_total") == 0
    assert front.value("process_resident_memory_bytes") > 1e6


def test_health_checks_and_scrapes_count_as_no_requests(served: tuple[AgentClient, str]) -> None:
    agent, url = served
    before = scrape(agent, "", "frontend").value("earg_frontend_latency_seconds_count")
    for path in ("/ready", "/v2/health/live", "/v2/models/chain", "/metrics", "/nowhere"):
        httpx.get(url + path)
    assert scrape(agent, "", "frontend").value("earg_frontend_latency_seconds_count") == before


def test_an_inference_and_a_grpc_call_count_by_their_status(
    served: tuple[AgentClient, str],
) -> None:
    agent, url = served
    assert httpx.post(f"{url}/v2/models/chain/infer", content=b"{").status_code == 400
    folder = agent.home.graph_folder("chain")
    config = read_runtime((folder / "runtime.earg").read_text(encoding="utf-8"))
    with grpc.insecure_channel(f"{config.frontend_ip}:22223") as channel:
        stub = prediction_pb2_grpc.ProxyServerStub(channel)
        for kind, text in (("text", "x"), ("text", "bad"), ("bytes", "no base64!")):
            asked = model_pb2.input(inputType=kind, inputStream=text)
            request = prediction_pb2.request(input_=asked)
            if text == "x":
                stub.downstream(request, timeout=10)
                continue
            with pytest.raises(grpc.RpcError):
                stub.downstream(request, timeout=10)
    front = scrape(agent, "", "frontend")
    for code in ("400", "OK", "INTERNAL", "INVALID_ARGUMENT"):
        assert front.value("earg_frontend_requests_total", code=code) == 1
    assert agent.load("chain").failing


def test_only_what_failed_lately_is_failing() -> None:
    now = 100.0
    counts = FrontendCounts(lambda: now)
    for code in ("200", "404", "503", "504", "OK", "INTERNAL", "RESOURCE_EXHAUSTED", "CANCELLED"):
        counts.answered(code, 0.1)
    now = 100.5
    counts.answered("500", 0.1)
    assert counts.failing() == 5 / (FAILING_SECONDS + 0.5)
    now = 101.0
    counts.answered("504", 0.1)
    assert counts.failing() == 6 / FAILING_SECONDS
    now = 100 + FAILING_SECONDS + 1
    assert counts.failing() == 1 / FAILING_SECONDS
    now = 200.0
    assert counts.failing() == 0


def test_replication_is_told_by_the_primary_of_a_stateful_node_alone(
    served: tuple[AgentClient, str],
) -> None:
    agent, _ = served
    primary, backup = scrape(agent, "count"), scrape(agent, "count", "backup")
    assert primary.value("earg_backup_attached") == 1
    assert primary.value("earg_replication_lag_requests") == 0
    assert primary.value("earg_replication_lag_seconds") == 0
    for other in (backup, scrape(agent, "first")):
        assert not any(name.startswith("earg_replication") for name in other.families)
        assert "earg_backup_attached" not in other.families
    assert {s.labels["role"] for s in backup.samples if s.name == "earg_requests_total"} == {
        "backup"
    }


def test_a_backup_that_does_not_answer_makes_the_lag_grow(pool: AddressPool) -> None:
    answers = [hogar_pb2.RelayReply().SerializeToString()]

    class Slow(hogar_pb2_grpc.LaneServicer):
        """A backup that takes the whole state and then holds every change back."""

        def __init__(self) -> None:
            self.lanes = LaneServer(lambda message: answers.pop() if answers else None)
            self.port = 0

        async def Open(self, request: hogar_pb2.LaneRequest, context: Any) -> hogar_pb2.LaneReply:
            return hogar_pb2.LaneReply(port=self.port)

    async def body() -> None:
        forwarded: list[hogar_pb2.Request] = []

        async def forward(outputs: list[hogar_pb2.Request]) -> None:
            forwarded.extend(outputs)

        ip = pool.take()
        address = f"{ip}:{pool.ports.proxy}"
        slow = Slow()
        slow.port = await slow.lanes.start(ip)
        slow.lanes.release()
        primary = Primary(Journal((), 16, 1024), forward)
        assert primary.figures() == ReplicationFigures(False, 0, 0.0)
        async with serving(address, (hogar_pb2_grpc.add_LaneServicer_to_server, slow)):
            running = asyncio.create_task(primary.run())
            await (await primary.set_backup(address, 1, [hogar_pb2.State(data=b"s")]))
            assert primary.figures() == ReplicationFigures(True, 0, 0.0)
            state = [hogar_pb2.State(data=b"t")]
            await primary.commit([hogar_pb2.Request(id=1), hogar_pb2.Request(id=2)], state)
            await asyncio.sleep(0.1)
            await primary.commit([hogar_pb2.Request(id=3)], state)
            first = primary.figures()
            assert (first.has_backup, first.requests) == (True, 3)
            assert first.seconds >= 0.1
            await asyncio.sleep(0.1)
            assert primary.figures().seconds >= first.seconds + 0.1
            assert forwarded == []
            await primary.drop_backup(2)
            while len(forwarded) < 3:
                await asyncio.sleep(0.01)
            assert primary.figures() == ReplicationFigures(False, 0, 0.0)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await primary.close()
        slow.lanes.close()

    asyncio.run(body())


def test_a_batch_limit_is_told_without_who_set_it(served: tuple[AgentClient, str]) -> None:
    agent, _ = served
    agent.set_batch_limit("chain", 1, 5, who="somebody-with-a-name")
    try:
        text = fetch(targets_of(agent)["chain", "first", "primary"])
        assert Exposition(text).value("earg_batch_limit") == 5
        assert "somebody" not in text
    finally:
        agent.set_batch_limit("chain", 1, 8, who="test")


def test_openmetrics_is_spoken_to_who_asks_for_it(served: tuple[AgentClient, str]) -> None:
    agent, _ = served
    for role, node in (("frontend", ""), ("primary", "first")):
        address = targets_of(agent)["chain", node, role]
        accept = {"Accept": "application/openmetrics-text;version=1.0.0"}
        reply = httpx.get(f"http://{address}/metrics", headers=accept)
        assert reply.headers["content-type"].startswith("application/openmetrics-text")
        assert reply.text.endswith("# EOF\n")


def test_a_refused_request_is_counted_as_rejected(pool: AddressPool) -> None:
    from earg.frontend import Frontend, Limits, http_app
    from earg.inference_protocol import Model
    from earg.sender import Sender

    async def body() -> None:
        entry = Sender(0, "frontend", f"{pool.take()}:{pool.ports.proxy}", capacity=16)
        frontend = Frontend(entry, Limits(concurrency=2, deadline=0.5))
        transport = httpx.ASGITransport(http_app(frontend, Model("g", "1")))
        async with httpx.AsyncClient(transport=transport, base_url="http://frontend") as client:
            tensor = {"name": "x", "datatype": "INT8", "shape": [3], "data": [1] * 3}
            waiting = asyncio.create_task(client.post("/predict", content=b"x"))
            while not frontend.figures().in_graph:
                await asyncio.sleep(0)
            assert (await client.post("/v2/models/g/infer", json={"inputs": [tensor]})).is_error
            now = Exposition((await client.get("/metrics")).text)
            assert now.value("earg_frontend_requests_in_graph") == 1
            await waiting
            refused = await client.post(
                "/v2/models/g/infer",
                json={"inputs": [{**tensor, "shape": [2], "data": [1, 1]}]},
            )
            assert refused.status_code == 504
            crowd = [client.post("/predict", content=b"x") for _ in range(4)]
            statuses = sorted(reply.status_code for reply in await asyncio.gather(*crowd))
            assert statuses == [503, 503, 504, 504]
            text = (await client.get("/metrics")).text
        await entry.close()
        front = Exposition(text)
        assert front.value("earg_frontend_rejected_total") == 2
        assert front.value("earg_frontend_requests_total", code="503") == 2
        assert front.value("earg_frontend_requests_total", code="504") == 4
        assert front.value("earg_frontend_latency_seconds_sum") >= 4 * 0.5

    asyncio.run(body())


# --- arithmetic -----------------------------------------------------------------------------


def test_exported_buckets_are_every_second_one_and_exact() -> None:
    assert len(EXPORTED_LATENCY_BOUNDS) == 24
    assert EXPORTED_LATENCY_BOUNDS[-1] == LATENCY_BOUNDS[-1]
    counts = tuple(range(1, len(LATENCY_BOUNDS) + 2))
    buckets = cumulative_buckets(Histogram(LATENCY_BOUNDS, counts, 1.0), LATENCY_STEP)
    assert [float(bound) for bound, _ in buckets[:-1]] == pytest.approx(
        list(thinned(LATENCY_BOUNDS)), rel=1e-3
    )
    for (_, below), bound in zip(buckets, EXPORTED_LATENCY_BOUNDS, strict=False):
        place = LATENCY_BOUNDS.index(bound)
        assert below == sum(counts[: place + 1])
    assert buckets[-1] == ("+Inf", sum(counts))


def test_a_node_gives_few_series() -> None:
    recorder = Recorder()
    figures = ProxyFigures(
        "g", "n", Role.PRIMARY, True, recorder.snapshot("p", 8, "config"), replication=None
    )
    assert sum(len(family.samples) for family in families(figures)) <= 110


def test_a_models_usage_is_read_until_it_ends() -> None:
    code = "sum(range(10**7)); print('now', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as model:
        assert model.stdout is not None
        model.stdout.readline()
        usage = read_model_usage(model.pid)
        assert usage is not None
        assert 0.01 < usage.cpu_seconds < 60
        assert 1e6 < usage.memory < 1e9
        model.kill()
    assert read_model_usage(model.pid) is None


@pytest.mark.parametrize(("namespace", "known"), [(pid_namespace(), True), (1, False)])
def test_a_pid_of_another_namespace_is_not_taken_for_one_of_this(
    pool: AddressPool, namespace: int, known: bool
) -> None:
    class Peer(hogar_pb2_grpc.LaneServicer):
        def __init__(self, port: int) -> None:
            self.port = port

        async def Open(self, request: hogar_pb2.LaneRequest, context: Any) -> hogar_pb2.LaneReply:
            return hogar_pb2.LaneReply(port=self.port, pid=4711, pid_namespace=namespace)

    async def body() -> None:
        ip = pool.take()
        lanes = LaneServer(lambda message: b"")
        peer = Peer(await lanes.start(ip))
        address = f"{ip}:{pool.ports.model}"
        async with (
            serving(address, (hogar_pb2_grpc.add_LaneServicer_to_server, peer)),
            grpc.aio.insecure_channel(address) as channel,
        ):
            client = LaneClient(channel, ip, 5.0)
            assert client.peer_pid == 0
            lanes.release()
            await client.exchange(b"")
            assert client.peer_pid == (4711 if known else 0)
            client.close()
        lanes.close()

    asyncio.run(body())


# --- the port -------------------------------------------------------------------------------


def test_a_proxy_without_a_graph_tells_of_its_process_alone(pool: AddressPool) -> None:
    async def body() -> None:
        ip = pool.take()
        async with (
            running_proxy(pool, "g.only", ip) as proxy,
            running_model(pool, ip, "little:Echo"),
        ):
            server = serve_metrics(ip, pool.ports.metrics, proxy.figures)
            assert server is not None
            address = f"{ip}:{pool.ports.metrics}"
            without = Exposition(await asyncio.to_thread(fetch, address))
            assert not any(name.startswith("earg_") for name in without.families)
            assert "process_cpu_seconds" in without.families
            async with stub_of(pool, ip) as stub:
                await set_model(pool, stub, ip)
                text = write_runtime(runtime(pool.take(), {"only": ip}, ()))
                await stub.SetDAG(prediction_pb2.dag(dag_=text), timeout=10)
            wired = Exposition(await asyncio.to_thread(fetch, address))
            assert wired.value("earg_requests_total", graph="g", node="only", role="primary") == 0
            await check_what_is_told_of_a_model(f"{ip}:{pool.ports.proxy}", address)
            await asyncio.to_thread(server.close)
            with pytest.raises(urllib.error.URLError):
                await asyncio.to_thread(fetch, address)

    asyncio.run(body())


async def check_what_is_told_of_a_model(proxy: str, metrics: str) -> None:
    """Of one in another container, which has computed nothing yet for the proxy to know it."""
    labels = {"graph": "g", "node": "only", "role": "primary"}
    async with grpc.aio.insecure_channel(proxy) as channel:
        stub = hogar_pb2_grpc.StatisticsStub(channel)
        for wrong in (-1.0, math.nan, math.inf):
            with pytest.raises(grpc.aio.AioRpcError, match="cpu_seconds: expected seconds"):
                await stub.TellUsage(hogar_pb2.ModelUsage(cpu_seconds=wrong), timeout=10)
        assert "earg_model_cpu_seconds" not in await asyncio.to_thread(fetch, metrics)
        usage = hogar_pb2.ModelUsage(cpu_seconds=1.5, memory=2**33)
        await stub.TellUsage(usage, timeout=10)
    told = Exposition(await asyncio.to_thread(fetch, metrics))
    assert told.value("earg_model_cpu_seconds_total", **labels) == 1.5
    assert told.value("earg_model_resident_memory_bytes", **labels) == 2**33


def test_a_taken_port_or_an_open_address_costs_the_metrics_alone(
    pool: AddressPool, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        ip = pool.take()
        with socket.create_server((ip, pool.ports.metrics)):
            assert serve_metrics(ip, pool.ports.metrics, lambda: None) is None
        assert serve_metrics("0.0.0.0", pool.ports.metrics, lambda: None) is None

    with caplog.at_level(logging.ERROR):
        asyncio.run(body())
    taken, open_to_all = (record.getMessage() for record in caplog.records)
    assert f"port {pool.ports.metrics}" in taken
    assert "0.0.0.0, which others can reach" in open_to_all


def test_a_proxys_metrics_ask_for_its_token(
    pool: AddressPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "token"
    secret.write_text("t" * 40)
    secret.chmod(0o600)
    monkeypatch.setenv("EARG_TOKEN_FILE", str(secret))
    security.cache_clear()

    async def body() -> None:
        ip = pool.take()
        server = serve_metrics(ip, pool.ports.metrics, lambda: None)
        assert server is not None
        url = f"http://{ip}:{pool.ports.metrics}/metrics"
        refused = await asyncio.to_thread(httpx.get, url)
        assert refused.status_code == 401
        assert "asks for a token" in refused.json()["error"]
        bearer = {"Authorization": f"Bearer {'t' * 40}"}
        told = await asyncio.to_thread(httpx.get, url, headers=bearer)
        assert "process_cpu_seconds_total" in told.text
        await asyncio.to_thread(server.close)

    try:
        asyncio.run(body())
    finally:
        security.cache_clear()


def test_a_loop_that_hangs_fails_the_scrape(
    pool: AddressPool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(metrics_proxy, "SNAPSHOT_TIMEOUT", 0.2)

    async def body() -> None:
        loop = asyncio.get_running_loop()
        asked = asyncio.create_task(asyncio.to_thread(on_loop, loop, lambda: 7))
        assert await asked == 7
        ip = pool.take()
        server = serve_metrics(ip, pool.ports.metrics, lambda: None)
        assert server is not None
        address = f"{ip}:{pool.ports.metrics}"
        asked = asyncio.create_task(asyncio.to_thread(fetch, address))
        await asyncio.sleep(0)
        time.sleep(1.0)
        with pytest.raises(urllib.error.HTTPError, match="500"):
            await asked
        assert "process_cpu_seconds" in await asyncio.to_thread(fetch, address)
        await asyncio.to_thread(server.close)

    asyncio.run(body())
    assert "TimeoutError" in capfd.readouterr().err


def test_a_silent_scraper_does_not_keep_the_others_out(
    pool: AddressPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_proxy._Handler, "timeout", 0.3)

    async def body() -> None:
        ip = pool.take()
        server = serve_metrics(ip, pool.ports.metrics, lambda: None)
        assert server is not None
        with socket.create_connection((ip, pool.ports.metrics)):
            text = await asyncio.to_thread(fetch, f"{ip}:{pool.ports.metrics}")
            assert "process_cpu_seconds" in text
        await asyncio.to_thread(server.close)

    asyncio.run(body())


# --- what to scrape -------------------------------------------------------------------------


def test_an_original_proxy_is_no_target(tmp_path: Path, pool: AddressPool) -> None:
    def pair(commands: Commands) -> RunningPair:
        pair = RunningPair(
            name="g.n",
            index=1,
            role=Role.PRIMARY,
            spec=CHAIN.nodes[0],
            ip="127.1.2.3",
            ports=pool.ports,
            commands=commands,
            folder=tmp_path,
            on_start=lambda: None,
            on_exit=lambda pair, child, kind: None,
        )
        assert pair.metrics_address == ""
        pair.proxy = object()  # type: ignore[assignment]
        return pair

    assert pair(Commands()).metrics_address == f"127.1.2.3:{pool.ports.metrics}"
    assert pair(Commands(proxy=("/usr/bin/proxy",))).metrics_address == ""


def test_the_targets_follow_what_is_deployed(home: Path) -> None:
    with connect(home) as agent:
        url = deploy(agent)
        targets = targets_of(agent)
        assert set(targets) == {
            ("chain", "first", "primary"),
            ("chain", "count", "primary"),
            ("chain", "count", "backup"),
            ("chain", "last", "primary"),
            ("chain", "", "frontend"),
        }
        assert f"http://{targets['chain', '', 'frontend']}" == url
        graph = agent.graph("chain")
        pair = graph.nodes[1].pairs[0]
        os.kill(pair.proxy_pid, signal.SIGKILL)
        wait_for(
            lambda: targets_of(agent)["chain", "count", "backup"].startswith(f"{pair.address}:"),
            "the roles have changed",
        )
        # The roles of the file and those that the proxies tell are the same.
        wait_for(
            lambda: agent.graph("chain").nodes[1].state is NodeState.READY, "there is a new backup"
        )
        for role in ("primary", "backup"):
            found = scrape(agent, "count", role)
            assert {s.labels["role"] for s in found.samples if "role" in s.labels} == {role}
        assert scrape(agent, "count").value("earg_backup_attached") == 1
        agent.down("chain")
        assert targets_of(agent) == {}


def test_an_agent_that_cannot_write_the_targets_says_so_and_serves(home: Path) -> None:
    home.mkdir(mode=0o700)
    (home / "prometheus").write_text("no folder", encoding="utf-8")
    with connect(home) as agent:
        assert post(deploy(agent), "x") == 200
        told = [event.what for event in agent.events() if "targets.json" in event.what]
        assert len(told) == 1
        assert "Prometheus does not learn" in told[0]


def test_a_target_has_its_host_where_there_are_several() -> None:
    there = MetricsTarget("10.0.0.7:22224", "g", "n", "primary", "box-1")
    here = MetricsTarget("127.0.0.1:1", "g", "", "frontend")
    assert [group["labels"] for group in json.loads(targets_text([there, here]))] == [
        {"graph": "g", "role": "primary", "node": "n", "host": "box-1"},
        {"graph": "g", "role": "frontend"},
    ]


def test_a_full_disk_keeps_the_old_targets_and_is_reported_once(tmp_path: Path) -> None:
    path = tmp_path / "prometheus" / "targets.json"
    reports: list[str] = []
    file = TargetsFile(path, reports.append)
    one = MetricsTarget("127.0.0.1:1", "g", "n", "primary")
    file.write([one])
    text = path.read_text(encoding="utf-8")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        file.write([one] * 100)
        file.write([one] * 101)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text(encoding="utf-8") == text
    assert [entry.name for entry in path.parent.iterdir()] == ["targets.json"]
    (report,) = reports
    assert str(path) in report
    assert "make room" in report
    file.write([one] * 101)
    assert len(json.loads(path.read_text(encoding="utf-8"))) == 101
    assert len(reports) == 1
