"""Proxies that choose among their targets, wait for batches to fill, and have several models."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import grpc.aio
import pytest

from earg.addresses import AddressPool
from earg.config import Edge
from earg.payload import pack
from earg.protos import hogar_pb2, hogar_pb2_grpc, prediction_pb2
from tests.earg.running import control_of, eventually, open_lane
from tests.earg.test_proxy import graph, request

DIAMOND = {"ask": "little:Echo", "yes": "little:Echo", "no": "little:Echo", "end": "little:Echo"}
DIAMOND_EDGES = (Edge((1,), (2, 3)), Edge((2,), (4,)), Edge((3,), (4,)))
SWITCH = """
switch:
  ask:
    - {to: yes, when: 'reply == "a"'}
    - {to: no, when: 'reply == "b"'}
"""


def counted(proxies: dict[str, Any], name: str) -> int:
    return int(proxies[name]._accepted)


def test_a_switch_sends_each_request_one_way_and_the_ways_merge(pool: AddressPool) -> None:
    async def scenario() -> None:
        async with graph(pool, DIAMOND, DIAMOND_EDGES, extras=SWITCH) as (_, sink, stubs, proxies):
            texts = [("a", "b", "b")[number % 3] for number in range(60)]
            for number, text in enumerate(texts):
                await stubs["ask"].downstream(request(number, text))
            assert await sink.wait_for(60) == dict(enumerate(texts))
            assert [counted(proxies, name) for name in ("yes", "no", "end")] == [20, 40, 60]

    asyncio.run(scenario())


def test_a_reply_without_a_case_fails_that_request_alone(pool: AddressPool) -> None:
    async def scenario() -> None:
        async with graph(pool, DIAMOND, DIAMOND_EDGES, extras=SWITCH) as (_, sink, stubs, _):
            for number, text in enumerate(("a", "neither", "b")):
                await stubs["ask"].downstream(request(number, text))
            outputs = await sink.wait_for(3)
            assert (outputs[0], outputs[2]) == ("a", "b")
            assert b"no case of the switch" in outputs[1]
            assert b"'neither'" in outputs[1]

    asyncio.run(scenario())


def test_a_split_divides_by_weight_into_several_sinks(pool: AddressPool) -> None:
    names = {"router": "little:Echo", "v1": "little:Echo", "v2": "little:Echo"}
    extras = "split:\n  router: {v1: 75, v2: 25}\n"

    async def scenario() -> None:
        edges = (Edge((1,), (2, 3)),)
        async with graph(pool, names, edges, extras=extras) as (_, sink, stubs, proxies):
            for number in range(400):
                await stubs["router"].downstream(request(number, f"r{number}"))
            assert await sink.wait_for(400) == {n: f"r{n}" for n in range(400)}
            first, second = counted(proxies, "v1"), counted(proxies, "v2")
            assert first + second == 400
            assert 60 <= second <= 140
            # A request that is sent again takes the way that it took.
            async with open_lane(ip_of(proxies["router"]), pool.ports.proxy) as lane:
                await lane.exchange(
                    hogar_pb2.RelayRequest(
                        requests=[
                            hogar_pb2.Request(id=n, payload=pack(f"r{n}"), attempt=1)
                            for n in range(400)
                        ]
                    ).SerializeToString()
                )
            await asyncio.sleep(0.2)
            assert (counted(proxies, "v1"), counted(proxies, "v2")) == (first, second)

    asyncio.run(scenario())


def test_a_batch_waits_to_fill_but_no_longer_than_it_may(pool: AddressPool) -> None:
    sizes = {"only": "little:BatchSizes"}

    async def scenario() -> None:
        extras = "nodes:\n  only: {wait: 30s}\n"
        async with graph(pool, sizes, batch=4, extras=extras) as (_, sink, stubs, _):
            for number in range(4):
                await stubs["only"].downstream(request(number, "x"))
                await asyncio.sleep(0.02)
            assert await sink.wait_for(4) == dict.fromkeys(range(4), 4)
        sink.outputs.clear()
        extras = "nodes:\n  only: {wait: 50ms}\n"
        async with graph(pool, sizes, batch=4, extras=extras) as (_, sink, stubs, _):
            for number in range(2):
                await stubs["only"].downstream(request(number, "x"))
            assert await sink.wait_for(2) == dict.fromkeys(range(2), 2)

    asyncio.run(scenario())


def test_limit_and_wait_are_set_while_it_runs(pool: AddressPool) -> None:
    async def scenario() -> None:
        async with graph(pool, {"only": "little:BatchSizes"}, batch=2) as (config, sink, stubs, _):
            address = f"{config.nodes[0].primary.proxy_ip}:{pool.ports.proxy}"
            async with grpc.aio.insecure_channel(address) as channel:
                statistics = hogar_pb2_grpc.StatisticsStub(channel)
                before = await statistics.SetBatchLimit(
                    hogar_pb2.BatchLimit(limit=5, wait=30.0, who="a test")
                )
                assert (before.limit, before.wait, before.who) == (2, 0, "config")
                for number in range(5):
                    await stubs["only"].downstream(request(number, "x"))
                    await asyncio.sleep(0.01)
                assert await sink.wait_for(5) == dict.fromkeys(range(5), 5)
                await statistics.SetBatchLimit(hogar_pb2.BatchLimit(wait=0.0, who="another"))
                told = await statistics.Stats(hogar_pb2.StatsRequest())
                assert (told.batch_limit, told.batch_most, told.batch_wait) == (5, 5, 0)
                assert told.limit_set_by == "another"
                with pytest.raises(grpc.aio.AioRpcError, match="a batch may wait from 0 to 60 s"):
                    await statistics.SetBatchLimit(hogar_pb2.BatchLimit(wait=1e9))

    asyncio.run(scenario())


@pytest.mark.slow
def test_a_dynamic_limit_follows_the_models_speed(pool: AddressPool) -> None:
    """The model takes 50 ms a batch whatever its size: within 10 s all grow, within 10 ms none."""

    async def scenario() -> None:
        async with graph(pool, {"only": "little:BatchSizes"}, batch=-32) as (
            config,
            sink,
            stubs,
            _,
        ):
            address = f"{config.nodes[0].primary.proxy_ip}:{pool.ports.proxy}"
            async with grpc.aio.insecure_channel(address) as channel:
                statistics = hogar_pb2_grpc.StatisticsStub(channel)
                await statistics.SetBatchLimit(hogar_pb2.BatchLimit(objective=10.0))
                for number in range(150):
                    await stubs["only"].downstream(request(number, "x"))
                await sink.wait_for(150)
                told = await statistics.Stats(hogar_pb2.StatsRequest())
                assert (told.batch_dynamic, told.batch_limit, told.batch_most) == (True, 32, 32)
                assert max(sink.outputs.values()) == 32
                await statistics.SetBatchLimit(hogar_pb2.BatchLimit(objective=0.01))
                for number in range(150, 300):
                    await stubs["only"].downstream(request(number, "x"))
                await sink.wait_for(300)
                assert (await statistics.Stats(hogar_pb2.StatsRequest())).batch_limit <= 4

    asyncio.run(scenario())


def test_models_behind_one_proxy_compute_side_by_side(pool: AddressPool) -> None:
    def message(first: int, last: int) -> bytes:
        requests = [hogar_pb2.Request(id=n, payload=pack("x")) for n in range(first, last)]
        return hogar_pb2.RelayRequest(requests=requests).SerializeToString()

    async def scenario() -> None:
        names = {"only": "little:BatchSizes"}
        async with (
            graph(pool, names, replicas=4, batch=8) as (_, sink, _, proxies),
            open_lane(ip_of(proxies["only"]), pool.ports.proxy) as lane,
        ):
            # What waits is shared among the idle: nobody gets all of it.
            await lane.exchange(message(0, 8))
            assert await sink.wait_for(8) == dict.fromkeys(range(8), 2)
            started = time.monotonic()
            await lane.exchange(message(8, 264))
            await sink.wait_for(264)
            # 32 batches of 50 ms: 1.6 s for one model, 0.4 s for four.
            assert time.monotonic() - started < 1.3

    asyncio.run(scenario())


def ip_of(proxy: Any) -> str:
    return str(proxy._ip)


def test_a_stateful_node_has_no_replicas_and_extras_come_before_the_graph(
    pool: AddressPool,
) -> None:
    async def scenario() -> None:
        async with graph(pool, {"only": "little:Echo"}) as (config, _, stubs, _):
            async with control_of(pool, config.nodes[0].primary.proxy_ip) as control:
                with pytest.raises(grpc.aio.AioRpcError, match="has its graph already"):
                    await control.SetExtras(hogar_pb2.Extras(text="{}"))
            many = [prediction_pb2.modelinfo(modelIp="127.0.0.1", replicaId=n) for n in range(300)]
            with pytest.raises(grpc.aio.AioRpcError, match="at most 256 models"):
                await stubs["only"].SetModelReplica(prediction_pb2.modelinfolist(list=many))

    asyncio.run(scenario())


def test_a_recorded_request_carries_its_whole_way(pool: AddressPool) -> None:
    names = dict.fromkeys(("c1", "c2", "c3", "c4"), "little:Echo")
    edges = (Edge((1,), (2, 3)),)

    async def scenario() -> None:
        async with graph(pool, names, edges, (Edge((2, 3), (4,)),)) as (config, sink, _, _):
            recorded = hogar_pb2.Request(id=1, payload=pack("x"))
            recorded.trace.SetInParent()
            started = time.time()
            async with open_lane(config.nodes[0].primary.proxy_ip, pool.ports.proxy) as lane:
                message = hogar_pb2.RelayRequest(
                    requests=[recorded, hogar_pb2.Request(id=2, payload=pack("y"))]
                )
                await lane.exchange(message.SerializeToString())
            await sink.wait_for(2)
            took = time.time() - started
            assert list(sink.traces) == [1]
            hops = sink.traces[1].hops
            assert sorted(hop.index for hop in hops) == [1, 2, 3, 4]
            assert [hops[0].index, hops[-1].index] == [1, 4]
            assert hops[0].batch == 2
            for hop in hops:
                assert hop.queue >= 0
                assert hop.compute > 0
                assert hop.leave >= 0
                assert started - 0.5 <= hop.start <= started + took + 0.5
            ends = [hop.start + hop.queue + hop.compute + hop.leave for hop in hops]
            assert hops[-1].start >= max(ends[:-1]) - 0.001

    asyncio.run(scenario())


def test_a_proxy_tells_which_requests_it_holds(pool: AddressPool) -> None:
    async def scenario() -> None:
        async with graph(pool, {"only": "little:BatchSizes"}, batch=2) as (config, sink, _, _):
            ip = config.nodes[0].primary.proxy_ip
            async with (
                open_lane(ip, pool.ports.proxy) as lane,
                grpc.aio.insecure_channel(f"{ip}:{pool.ports.proxy}") as channel,
            ):
                register = hogar_pb2_grpc.RegisterStub(channel)
                requests = [hogar_pb2.Request(id=n, payload=pack("x")) for n in range(20)]
                await lane.exchange(hogar_pb2.RelayRequest(requests=requests).SerializeToString())
                seen: set[str] = set()

                async def both() -> bool:
                    told = await register.Where(hogar_pb2.WhereQuery(ids=range(30)))
                    assert all(one.id < 20 and one.seconds >= 0 for one in told.positions)
                    seen.update(one.stage for one in told.positions)
                    return seen >= {"queued", "running"}

                await eventually(both, "some wait while others run")
                await sink.wait_for(20)
                told = await register.Where(hogar_pb2.WhereQuery(ids=range(30)))
                assert list(told.positions) == []

    asyncio.run(scenario())
