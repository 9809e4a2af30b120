"""Proxies over real gRPC on loopback: deploying, batching, fan-out, joins, both protocols."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from earg.addresses import AddressPool
from earg.config import Edge, NodeSpec, RuntimeConfig, RuntimeNode, write_runtime
from earg.extras import read_extras, write_extras
from earg.lane import LaneServer
from earg.payload import is_failure, pack, unpack
from earg.protos import (
    hogar_pb2,
    hogar_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    prediction_pb2,
    prediction_pb2_grpc,
)
from earg.proxy import Proxy
from earg.status import PingStatus
from tests.earg.running import (
    control_of,
    eventually,
    open_lane,
    pair,
    running_model,
    running_proxy,
    runtime,
    serving,
    set_model,
    stub_of,
)


class Sink(prediction_pb2_grpc.ProxyServerServicer, hogar_pb2_grpc.LaneServicer):
    """Stands where the frontend does and keeps what the graph's sink sends; of an error, the
    sentence as bytes."""

    def __init__(self) -> None:
        self.outputs: dict[int, Any] = {}
        self.traces: dict[int, hogar_pb2.Trace] = {}
        self._lanes = LaneServer(self._relayed)
        self._port = 0

    async def listen(self, ip: str) -> None:
        self._port = await self._lanes.start(ip)

    def close(self) -> None:
        self._lanes.close()

    async def Open(self, request: hogar_pb2.LaneRequest, context: Any) -> hogar_pb2.LaneReply:
        return hogar_pb2.LaneReply(port=self._port)

    def _relayed(self, message: bytes) -> bytes:
        for one in hogar_pb2.RelayRequest.FromString(message).requests:
            failed = is_failure(one.payload)
            self.outputs[one.id] = one.payload.data if failed else unpack(one.payload)
            if one.HasField("trace"):
                self.traces[one.id] = one.trace
        return b""

    async def outputstream(
        self, request: prediction_pb2.request, context: Any
    ) -> model_pb2.response:
        self.outputs[request.req_id] = request.input_.inputStream
        return model_pb2.response(status="ok")

    async def wait_for(self, count: int) -> dict[int, Any]:
        async def complete() -> bool:
            return len(self.outputs) >= count

        await eventually(complete, f"{count} outputs; there are {self.outputs}")
        return self.outputs


@contextlib.asynccontextmanager
async def sink_at(pool: AddressPool, ip: str, sink: Sink, plain: bool) -> AsyncIterator[None]:
    """Serve ``sink`` where the frontend is; a ``plain`` one has no lane, as an original."""
    services: list[Any] = [(prediction_pb2_grpc.add_ProxyServerServicer_to_server, sink)]
    if not plain:
        services.append((hogar_pb2_grpc.add_LaneServicer_to_server, sink))
    await sink.listen(ip)
    try:
        async with serving(f"{ip}:{pool.ports.proxy}", *services):
            yield
    finally:
        sink.close()


@contextlib.asynccontextmanager
async def graph(
    pool: AddressPool,
    entrypoints: dict[str, str],
    dist: tuple[Edge, ...] = (),
    reduce: tuple[Edge, ...] = (),
    batch: int = 8,
    plain_sink: bool = False,
    extras: str = "",
    replicas: int = 1,
) -> AsyncIterator[tuple[RuntimeConfig, Sink, dict[str, Any], dict[str, Proxy]]]:
    """A wired graph in this process: its config, its sink, a stub and the proxy of each node.
    Each node has so many models; ``extras`` are as a person writes them."""
    sink = Sink()
    addresses = {name: pool.take() for name in entrypoints}
    config = runtime(pool.take(), addresses, dist, reduce, batch)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(sink_at(pool, config.frontend_ip, sink, plain_sink))
        stubs: dict[str, Any] = {}
        proxies = {}
        more: dict[str, list[str]] = {}
        for name, entrypoint in entrypoints.items():
            ip = addresses[name]
            # Its models end after their proxy: until then they serve its lane.
            models = [ip, *(pool.take() for _ in range(1, replicas))]
            for model_ip in models:
                await stack.enter_async_context(running_model(pool, model_ip, entrypoint))
            more[name] = models[1:]
            proxies[name] = await stack.enter_async_context(running_proxy(pool, f"g.{name}", ip))
            stubs[name] = await stack.enter_async_context(stub_of(pool, ip))
        for index, (name, stub) in enumerate(stubs.items(), 1):
            await set_model(pool, stub, addresses[name], index)
            for replica, ip in enumerate(more[name], 1):
                info = prediction_pb2.modelinfo(
                    modelIp=ip, modelPort=pool.ports.model, modelId=index, replicaId=replica
                )
                await stub.SetModelReplica(prediction_pb2.modelinfolist(list=[info]))
        text = write_extras(read_extras(extras, config.static), config.static)
        for name, stub in stubs.items():
            if text:
                async with control_of(pool, addresses[name]) as control:
                    await control.SetExtras(hogar_pb2.Extras(text=text))
            dag = write_runtime(config, choices=bool(text))
            await stub.SetDAG(prediction_pb2.dag(dag_=dag))
        for name, stub in stubs.items():
            await eventually(lambda s=stub: is_ready(s), f"{name} is ready")
        yield config, sink, stubs, proxies


@contextlib.asynccontextmanager
async def stateful_pair(
    pool: AddressPool, entrypoint: str, *, plain_sink: bool = False
) -> AsyncIterator[tuple[list[str], Sink, list[Any]]]:
    """A graph of one stateful node with a backup, in this process: the addresses of its pairs, its
    sink, and a stub of each pair. The backup has no state yet."""
    name = entrypoint.rpartition(":")[2].lower()
    names = [f"g.{name}", f"g.{name}.backup"]
    ips = [pool.take(), pool.take()]
    pairs = [pair(one, ip) for one, ip in zip(names, ips, strict=True)]
    node = RuntimeNode(NodeSpec(name, "1", "image", True, 8), pairs[0], pairs[1])
    config = RuntimeConfig("g", "1", "frontend", "frontend", pool.take(), (node,))
    sink = Sink()
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(sink_at(pool, config.frontend_ip, sink, plain_sink))
        stubs = []
        for one, ip in zip(names, ips, strict=True):
            await stack.enter_async_context(running_model(pool, ip, entrypoint))
            await stack.enter_async_context(running_proxy(pool, one, ip))
            stubs.append(await stack.enter_async_context(stub_of(pool, ip)))
            await set_model(pool, stubs[-1], ip)
            await stubs[-1].SetDAG(prediction_pb2.dag(dag_=write_runtime(config)))
        yield ips, sink, stubs


async def is_ready(stub: Any) -> bool:
    reply = await stub.ping(prediction_pb2.ping_req())
    return bool(reply.status == PingStatus.READY)


def request(request_id: int, text: str, source: str = "127.9.9.9:1") -> prediction_pb2.request:
    return prediction_pb2.request(
        input_=model_pb2.input(inputType="text", inputStream=text),
        src_uri=source,
        req_id=request_id,
    )


SIMPLEDAG = dict.fromkeys(("c1", "c2", "c3", "c4", "c5"), "little:Echo")
SIMPLEDAG_EDGES = ((Edge((1,), (2,)), Edge((2,), (3, 4))), (Edge((3, 4), (5,)),))


def test_a_request_fans_out_and_is_joined(pool: AddressPool) -> None:
    async def scenario() -> None:
        async with graph(pool, SIMPLEDAG, *SIMPLEDAG_EDGES) as (_, sink, stubs, _):
            for number in range(50):
                await stubs["c1"].downstream(request(number, f"r{number}"))
            outputs = await sink.wait_for(50)
            assert outputs == {number: f"r{number}+r{number}" for number in range(50)}

    asyncio.run(scenario())


def test_an_original_frontend_gets_the_output_in_the_plain_protocol(pool: AddressPool) -> None:
    async def scenario() -> None:
        async with graph(pool, {"only": "little:Echo"}, plain_sink=True) as (_, sink, stubs, _):
            await stubs["only"].downstream(request(3, "hello"))
            assert await sink.wait_for(1) == {3: "hello"}

    asyncio.run(scenario())


def test_a_join_takes_plain_requests_by_their_senders_address(pool: AddressPool) -> None:
    async def scenario() -> None:
        nodes = dict.fromkeys(("a", "b", "c", "d"), "little:Echo")
        edges = ((Edge((1,), (2, 3)),), (Edge((3, 2), (4,)),))
        async with graph(pool, nodes, *edges) as (config, sink, stubs, _):
            address = {
                n: node.primary.proxy_ip for n, node in zip(nodes, config.nodes, strict=True)
            }
            await stubs["d"].downstream(request(1, "from b", f"{address['b']}:22223"))
            await stubs["d"].downstream(request(1, "from c", f"{address['c']}:22223"))
            assert await sink.wait_for(1) == {1: "from c+from b"}
            with pytest.raises(grpc.aio.AioRpcError, match="not an address of this graph"):
                await stubs["d"].downstream(request(2, "from nowhere", "10.0.0.1:22223"))

    asyncio.run(scenario())


def test_requests_gather_into_batches_up_to_the_limit(pool: AddressPool) -> None:
    async def scenario() -> None:
        async with graph(pool, {"sizes": "little:BatchSizes"}, batch=4) as (_, sink, stubs, _):
            stub = stubs["sizes"]
            await asyncio.gather(*(stub.downstream(request(n, "x")) for n in range(20)))
            sizes = list((await sink.wait_for(20)).values())
            assert max(sizes) == 4
            # While the model computed, others gathered: full batches, not twenty of one.
            assert sizes.count(4) >= 12

    asyncio.run(scenario())


def test_the_batch_limit_is_changed_while_it_runs(pool: AddressPool) -> None:
    async def scenario() -> None:
        async with graph(pool, {"sizes": "little:BatchSizes"}, batch=8) as (_, sink, stubs, _):
            stub = stubs["sizes"]
            reply = await stub.AdjustBatchSize(prediction_pb2.batch_adj_request(ratio=0.25))
            assert reply.status == "2"
            await asyncio.gather(*(stub.downstream(request(n, "x")) for n in range(12)))
            assert max((await sink.wait_for(12)).values()) == 2
            with pytest.raises(grpc.aio.AioRpcError, match="above 0"):
                await stub.AdjustBatchSize(prediction_pb2.batch_adj_request(ratio=0))

    asyncio.run(scenario())


def test_requests_are_counted_and_one_sent_twice_counts_once(pool: AddressPool) -> None:
    async def scenario() -> None:
        async with graph(pool, {"count": "little:Counter"}) as (_, sink, stubs, _):
            stub = stubs["count"]
            for request_id in (1, 2, 2, 1, 3):
                await stub.downstream(request(request_id, "x"))
            assert await sink.wait_for(3) == {1: 1, 2: 2, 3: 3}
            info = await stub.GetRuntimeInfo(prediction_pb2.runtimequery())
            assert info.n_requests == 3

    asyncio.run(scenario())


def test_readiness_climbs_from_the_sinks(pool: AddressPool) -> None:
    async def scenario() -> None:
        addresses = {"first": pool.take(), "last": pool.take()}
        config = runtime(pool.take(), addresses, (Edge((1,), (2,)),))
        text = write_runtime(config)
        async with contextlib.AsyncExitStack() as stack:
            enter = stack.enter_async_context
            stubs = {}
            for name, ip in addresses.items():
                await enter(running_model(pool, ip, "little:Echo"))
                await enter(running_proxy(pool, f"g.{name}", ip))
                stubs[name] = await enter(stub_of(pool, ip))

            async def statuses() -> list[int]:
                found = [await s.ping(prediction_pb2.ping_req()) for s in stubs.values()]
                return [reply.status for reply in found]

            assert await statuses() == [PingStatus.MODEL_UNSET] * 2
            with pytest.raises(grpc.aio.AioRpcError, match="Model Not Set"):
                await stubs["first"].SetDAG(prediction_pb2.dag(dag_=text))
            for index, (name, stub) in enumerate(stubs.items(), 1):
                await set_model(pool, stub, addresses[name], index)
            with pytest.raises(grpc.aio.AioRpcError, match="Model Already Set"):
                await set_model(pool, stubs["first"], addresses["first"])
            await stubs["first"].SetDAG(prediction_pb2.dag(dag_=text))
            assert await statuses() == [PingStatus.MODEL_SET] * 2
            await stubs["last"].SetDAG(prediction_pb2.dag(dag_=text))

            async def all_ready() -> bool:
                return await statuses() == [PingStatus.READY] * 2

            await eventually(all_ready, "both ready")

    asyncio.run(scenario())


def test_a_dead_model_is_seen_and_its_requests_fail_with_a_sentence(pool: AddressPool) -> None:
    async def scenario() -> None:
        ip = pool.take()
        config = runtime(pool.take(), {"only": ip}, ())
        sink = Sink()
        await sink.listen(config.frontend_ip)
        async with (
            serving(
                f"{config.frontend_ip}:{pool.ports.proxy}",
                (hogar_pb2_grpc.add_LaneServicer_to_server, sink),
            ),
            running_proxy(pool, "g.only", ip),
            stub_of(pool, ip) as stub,
        ):
            async with running_model(pool, ip, "little:Echo"):
                await set_model(pool, stub, ip)
                await stub.SetDAG(prediction_pb2.dag(dag_=write_runtime(config)))
                await eventually(lambda: is_ready(stub), "ready")

            async def is_failed() -> bool:
                reply = await stub.ping(prediction_pb2.ping_req())
                return bool(reply.status == PingStatus.MODEL_FAILED)

            await eventually(is_failed, "the model's end is seen")
            await stub.downstream(request(1, "x"))
            outputs = await sink.wait_for(1)
            assert b"g.only.proxy: the model did not answer" in outputs[1]
        sink.close()

    asyncio.run(scenario())


class OriginalModel(model_pb2_grpc.PredictServiceServicer):
    """A model that speaks EARG's plain protocol alone, and keeps what it was asked."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    async def Predict(self, request: model_pb2.input, context: Any) -> model_pb2.output:
        self.calls.append([request.inputStream])
        return model_pb2.output(outputType="text", outputStream=request.inputStream.upper())

    async def BatchPredict(
        self, request: model_pb2.BatchInput, context: Any
    ) -> model_pb2.BatchOuput:
        self.calls.append([one.inputStream for one in request.inputs])
        outputs = [
            model_pb2.output(outputType="text", outputStream=one.inputStream.upper())
            for one in request.inputs
        ]
        return model_pb2.BatchOuput(outputs=outputs, count=len(outputs))

    async def SetProxy(self, request: model_pb2.proxyinfo, context: Any) -> model_pb2.response:
        return model_pb2.response(status="ok")

    async def Ping(self, request: model_pb2.hi, context: Any) -> model_pb2.response:
        return model_pb2.response(status="ok")


@pytest.mark.parametrize("batch", [0, 4])
def test_an_original_model_is_spoken_to_in_the_plain_protocol(
    pool: AddressPool, batch: int
) -> None:
    async def scenario() -> None:
        ip = pool.take()
        config = runtime(pool.take(), {"only": ip}, (), batch=batch)
        sink, model = Sink(), OriginalModel()
        await sink.listen(config.frontend_ip)
        async with (
            serving(
                f"{config.frontend_ip}:{pool.ports.proxy}",
                (hogar_pb2_grpc.add_LaneServicer_to_server, sink),
            ),
            serving(
                f"{ip}:{pool.ports.model}",
                (model_pb2_grpc.add_PredictServiceServicer_to_server, model),
            ),
            running_proxy(pool, "g.only", ip),
            stub_of(pool, ip) as stub,
        ):
            await set_model(pool, stub, ip)
            await stub.SetDAG(prediction_pb2.dag(dag_=write_runtime(config)))
            await eventually(lambda: is_ready(stub), "ready")
            relay = hogar_pb2.RelayRequest(
                source=0,
                requests=[hogar_pb2.Request(id=n, payload=pack(f"r{n}")) for n in range(3)],
            )
            async with open_lane(ip, pool.ports.proxy) as lane:
                assert await lane.exchange(relay.SerializeToString()) == b""
            assert await sink.wait_for(3) == {0: "R0", 1: "R1", 2: "R2"}
            expected = [["r0"], ["r1"], ["r2"]] if batch == 0 else [["r0", "r1", "r2"]]
            assert model.calls == expected
        sink.close()

    asyncio.run(scenario())


@pytest.mark.slow
def test_a_full_queue_holds_its_senders_back(pool: AddressPool) -> None:
    async def scenario() -> None:
        async with graph(pool, {"sizes": "little:BatchSizes"}, batch=1) as (
            config,
            _,
            stubs,
            proxies,
        ):
            ip = config.nodes[0].primary.proxy_ip
            answered = 0
            async with open_lane(ip, pool.ports.proxy) as lane:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(5):
                        for start in range(0, 20_000, 500):
                            requests = [
                                hogar_pb2.Request(id=start + n, payload=pack("x"))
                                for n in range(500)
                            ]
                            message = hogar_pb2.RelayRequest(requests=requests)
                            await lane.exchange(message.SerializeToString())
                            answered += 500
                # It computes 20 a second, and 8,192 may wait: the next message had no answer.
                assert 7_500 <= answered <= 8_500
                # The plain protocol has no such hold: it is told.
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await asyncio.gather(
                        *(stubs["sizes"].downstream(request(n, "x")) for n in range(20_000, 21_000))
                    )
                assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            await proxies["sizes"].close()

    asyncio.run(scenario())
