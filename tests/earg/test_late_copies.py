"""Copies of a request that come late, such as one that a broken lane has kept: it counts once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from earg.addresses import AddressPool
from earg.config import NodeSpec, RuntimeConfig, RuntimeNode, write_runtime
from earg.lane import Lane
from earg.payload import pack
from earg.protos import hogar_pb2, hogar_pb2_grpc, prediction_pb2, prediction_pb2_grpc
from tests.earg.running import (
    control_of,
    open_lane,
    pair,
    running_model,
    running_proxy,
    serving,
    set_model,
    stub_of,
)
from tests.earg.test_proxy import Sink


async def send(lane: Lane, ids: Sequence[int], finished: Sequence[int] = ()) -> None:
    requests = [hogar_pb2.Request(id=one, payload=pack(f"r{one}")) for one in ids]
    message = hogar_pb2.RelayRequest(requests=requests, finished=finished)
    assert await lane.exchange(message.SerializeToString()) == b""


def test_a_copy_of_what_was_answered_before_there_was_a_backup_is_not_computed_by_it(
    pool: AddressPool,
) -> None:
    async def scenario() -> None:
        ips = [pool.take(), pool.take()]
        names = ["g.counter", "g.counter.backup"]
        first, second = (pair(name, ip) for name, ip in zip(names, ips, strict=True))
        node = RuntimeNode(NodeSpec("counter", "1", "image", True, 8), first, second)
        config = RuntimeConfig("g", "1", "frontend", "frontend", pool.take(), (node,))
        sink = Sink()
        async with contextlib.AsyncExitStack() as stack:
            await sink.listen(config.frontend_ip)
            stack.callback(sink.close)
            at = f"{config.frontend_ip}:{pool.ports.proxy}"
            await stack.enter_async_context(
                serving(
                    at,
                    (prediction_pb2_grpc.add_ProxyServerServicer_to_server, sink),
                    (hogar_pb2_grpc.add_LaneServicer_to_server, sink),
                )
            )
            for name, ip in zip(names, ips, strict=True):
                await stack.enter_async_context(running_model(pool, ip, "little:Counter"))
                await stack.enter_async_context(running_proxy(pool, name, ip))
                stub = await stack.enter_async_context(stub_of(pool, ip))
                await set_model(pool, stub, ip)
                await stub.SetDAG(prediction_pb2.dag(dag_=write_runtime(config)))
            primary, backup = [await stack.enter_async_context(control_of(pool, ip)) for ip in ips]
            lane = await stack.enter_async_context(open_lane(ips[0], pool.ports.proxy))
            await send(lane, [1, 2])
            await sink.wait_for(2)
            await send(lane, [], finished=[1, 2])
            address = f"{ips[1]}:{pool.ports.proxy}"
            await primary.SetBackup(hogar_pb2.BackupRequest(address=address, epoch=1))
            await send(lane, [3])
            await sink.wait_for(3)
            await backup.Promote(hogar_pb2.PromoteRequest(held=1, epoch=2))
            other = await stack.enter_async_context(open_lane(ips[1], pool.ports.proxy))
            await send(other, [1, 2])
            await send(other, [4])
            outputs = await sink.wait_for(4)
            assert outputs[4] == 4

    asyncio.run(scenario())
