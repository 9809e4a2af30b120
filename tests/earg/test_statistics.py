"""What a proxy counts: the arithmetic with a clock of its own, and real proxies over gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from bisect import bisect_left
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import grpc
import grpc.aio
import pytest

from earg.addresses import AddressPool
from earg.config import Edge
from earg.payload import CHANNEL_OPTIONS, pack
from earg.protos import hogar_pb2, hogar_pb2_grpc, prediction_pb2
from earg.statistics import (
    HISTORY_SECONDS,
    LATENCY_BOUNDS,
    SIZE_BOUNDS,
    GraphStatistics,
    Histogram,
    NodeReport,
    NodeStatistics,
    Recorder,
)
from earg.statistics_table import as_json, duration, table
from earg.statistics_wire import read_statistics, statistics_message
from earg.status import NodeState
from earg.usage import ProcessUsage, read_usage
from tests.earg.running import eventually, open_lane, running_proxy
from tests.earg.test_proxy import graph


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def serve(recorder: Recorder, clock: Clock, count: int, queue: float, compute: float) -> None:
    """One batch of ``count`` requests on its whole way."""
    recorder.arrive(count)
    clock.now += queue
    batch = recorder.begin(count, count)
    clock.now += compute
    recorder.end(batch, 7, 0)
    recorder.leave(7)


def snapshot(recorder: Recorder, history_seconds: int = 0) -> NodeStatistics:
    return recorder.snapshot("p", 8, "config", history_seconds)


# --- arithmetic -------------------------------------------------------------------------------


def test_latency_buckets_reach_from_50_microseconds_to_10_minutes() -> None:
    assert len(LATENCY_BOUNDS) == 48
    assert LATENCY_BOUNDS[0] == pytest.approx(50e-6)
    assert LATENCY_BOUNDS[-1] == pytest.approx(600)
    ratios = {round(b / a, 6) for a, b in pairwise(LATENCY_BOUNDS)}
    assert len(ratios) == 1


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_a_percentile_lies_in_the_bucket_of_the_true_one(share: float) -> None:
    clock = Clock()
    recorder = Recorder(clock)
    chance = random.Random(3)
    latencies = sorted(10 ** chance.uniform(-5, 2) for _ in range(2000))
    for latency in chance.sample(latencies, len(latencies)):
        serve(recorder, clock, 1, 0, latency)
    true = latencies[int(share * len(latencies)) - 1]
    compute = snapshot(recorder).compute
    found = compute.percentile(share)
    assert bisect_left(LATENCY_BOUNDS, found) == bisect_left(LATENCY_BOUNDS, true)
    assert compute.count == 2000
    assert compute.mean == pytest.approx(sum(latencies) / 2000, rel=1e-6)


def test_what_is_above_every_bound_is_counted_and_told_as_the_last_bound() -> None:
    clock = Clock()
    recorder = Recorder(clock)
    serve(recorder, clock, 3, 0, 5000)
    compute = snapshot(recorder).compute
    assert compute.counts[-1] == 3
    assert compute.percentile(0.5) == LATENCY_BOUNDS[-1]
    assert Histogram((1.0,), (0, 0), 0.0).percentile(0.5) == 0.0


def test_requests_that_wait_longer_are_told_apart_from_those_that_came_later() -> None:
    clock = Clock()
    recorder = Recorder(clock)
    recorder.arrive(3)
    clock.now += 2.0
    recorder.arrive(5)
    clock.now += 0.001
    first = recorder.begin(4, 4)  # the three that wait since long, and one of the five
    assert (snapshot(recorder).queued, snapshot(recorder).running) == (4, 4)
    clock.now += 0.1
    recorder.end(first, 1, 0)
    assert (snapshot(recorder).running, snapshot(recorder).leaving) == (0, 4)
    recorder.leave(1)
    second = recorder.begin(4, 4)
    recorder.end(second, 5, 4)
    recorder.leave(5)
    told = snapshot(recorder)
    assert (told.queued, told.running, told.leaving) == (0, 0, 0)
    assert (told.requests, told.errors) == (8, 4)
    assert told.queue.total == pytest.approx(3 * 2.001 + 0.001 + 4 * 0.101)
    assert told.total.total == pytest.approx(3 * 2.101 + 0.101 + 4 * 0.101)
    assert told.queue.counts[bisect_left(LATENCY_BOUNDS, 2.001)] == 3
    assert told.batches.counts[SIZE_BOUNDS.index(4)] == 2


def test_batches_that_leave_in_another_order_keep_their_latencies() -> None:
    clock = Clock()
    recorder = Recorder(clock)
    recorder.arrive(1)
    early = recorder.begin(1, 1)
    recorder.end(early, 1, 0)
    clock.now += 10
    recorder.arrive(2)
    late = recorder.begin(2, 2)
    recorder.end(late, 2, 0)
    recorder.leave(2)
    assert snapshot(recorder).total.total == 0
    recorder.leave(1)
    assert snapshot(recorder).total.total == pytest.approx(10)


def test_rates_are_means_over_the_last_complete_seconds() -> None:
    clock = Clock()
    recorder = Recorder(clock)
    for _ in range(10):
        recorder.arrive(30)
        batch = recorder.begin(30, 30)
        recorder.end(batch, 1, 3)
        recorder.leave(1)
        clock.now += 1
    told = snapshot(recorder)
    assert (told.requests_per_second, told.errors_per_second) == (30, 3)
    clock.now += 3
    # Two of the last five seconds had requests.
    assert snapshot(recorder).requests_per_second == pytest.approx(12)
    clock.now += 2
    assert snapshot(recorder).requests_per_second == 0
    assert snapshot(recorder).requests == 300


def test_the_history_has_a_sample_a_second_and_wraps_after_15_minutes() -> None:
    clock = Clock()
    recorder = Recorder(clock)
    for second in range(HISTORY_SECONDS + 50):
        serve(recorder, clock, second % 7 + 1, 0, 0)
        clock.now += 1
    history = snapshot(recorder, HISTORY_SECONDS).history
    assert len(history) == HISTORY_SECONDS
    assert [sample.requests for sample in history] == [
        second % 7 + 1 for second in range(50, HISTORY_SECONDS + 50)
    ]
    assert snapshot(recorder, 3).history == history[-3:]
    assert snapshot(recorder).history == ()
    assert len(snapshot(recorder, 10**6).history) == HISTORY_SECONDS


def test_seconds_without_an_event_have_samples_with_what_waits() -> None:
    clock = Clock()
    recorder = Recorder(clock)
    recorder.arrive(10)
    recorder.begin(4, 4)
    clock.now += 4.5
    history = snapshot(recorder, 10).history
    assert [(sample.queued, sample.running) for sample in history] == [(6, 4)] * 4
    clock.now += 10 * HISTORY_SECONDS
    assert len(snapshot(recorder, HISTORY_SECONDS).history) == HISTORY_SECONDS


def test_a_samples_percentiles_are_of_its_own_second() -> None:
    clock = Clock()
    recorder = Recorder(clock)
    for latency in (0.4, 0.002):
        serve(recorder, clock, 10, 0, latency)
        clock.now += 1 - latency
    slow, fast = snapshot(recorder, 2).history
    assert bisect_left(LATENCY_BOUNDS, slow.p99) == bisect_left(LATENCY_BOUNDS, 0.4)
    assert bisect_left(LATENCY_BOUNDS, fast.p99) == bisect_left(LATENCY_BOUNDS, 0.002)


def test_a_sample_tells_queue_and_compute_apart_and_the_sizes_of_its_batches() -> None:
    clock = Clock()
    recorder = Recorder(clock)
    for size in (1, 3, 4):
        serve(recorder, clock, size, 0.2, 0.01)
    clock.now += 1
    serve(recorder, clock, 1, 0, 0.1)
    clock.now += 1
    waited, computed = snapshot(recorder, 2).history
    assert bisect_left(LATENCY_BOUNDS, waited.queue_p95) == bisect_left(LATENCY_BOUNDS, 0.2)
    assert bisect_left(LATENCY_BOUNDS, waited.compute_p95) == bisect_left(LATENCY_BOUNDS, 0.01)
    assert bisect_left(LATENCY_BOUNDS, computed.compute_p95) == bisect_left(LATENCY_BOUNDS, 0.1)
    # Of at most 1, 2 and 4 requests, and no zeros after the last.
    assert (waited.sizes, computed.sizes) == ((1, 0, 2), (1,))
    clock.now += 1
    assert snapshot(recorder, 1).history[0].sizes == ()


def test_what_came_since_an_earlier_look_is_a_histogram_too() -> None:
    before = Histogram((1.0, 2.0), (3, 1, 0), 4.0)
    now = Histogram((1.0, 2.0), (3, 6, 2), 20.0)
    assert now.since(before) == Histogram((1.0, 2.0), (0, 5, 2), 16.0)
    # A proxy that was replaced counts from 0: nothing can be taken away.
    assert before.since(now) == before


def test_statistics_pass_through_their_message() -> None:
    clock = Clock()
    recorder = Recorder(clock)
    serve(recorder, clock, 5, 0.5, 0.7)
    recorder.arrive(2)
    clock.now += 2
    told = recorder.snapshot("g.n.proxy", 16, "AdjustBatchSize", 10)
    assert told.history
    assert read_statistics(statistics_message(told)) == told


# --- what people see --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "-"),
        (0.000123, "123 us"),
        (0.0034567, "3.46 ms"),
        (0.99949, "999 ms"),
        (0.9999, "1 s"),
        (593.2, "593 s"),
    ],
)
def test_a_duration_reads_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_table_tells_of_the_time_since_the_look_before() -> None:
    clock = Clock()
    recorder = Recorder(clock)

    def report(cpu_seconds: float, age: float) -> GraphStatistics:
        usage = ProcessUsage(1, "model", "primary", cpu_seconds, age, 3 * 2**20)
        node = NodeReport(1, "n", NodeState.READY, 2, snapshot(recorder), "", (usage,))
        return GraphStatistics("g", "1", (node,))

    serve(recorder, clock, 4, 0, 10.0)
    before = report(10, 100)
    serve(recorder, clock, 2, 0, 0.01)
    after = report(10.5, 101)

    def cells(before: GraphStatistics | None) -> dict[str, str]:
        header, row = table(after, before)
        return dict(zip(header, row, strict=True))

    alone, since = cells(None), cells(before)
    assert alone["P95"].endswith(" s")
    assert since["P95"].endswith(" ms")
    assert (alone["BATCH"], since["BATCH"]) == ("3.0", "2.0")
    assert (alone["CPU"], since["CPU"]) == ("10%", "50%")
    assert (since["REQUESTS"], since["EXITS"], since["MEMORY"]) == ("6", "2", "3 MiB")
    assert since["LIMIT"] == "8 (config)"


def test_a_node_whose_proxy_does_not_answer_has_a_row_and_a_reason() -> None:
    node = NodeReport(1, "n", NodeState.RECOVERING, 1, None, "its proxy does not run", ())
    seen = GraphStatistics("g", "1", (node,))
    header, row = table(seen)
    assert len(header) == len(row)
    assert (row[0], row[1], row[-1]) == ("n", "recovering", "its proxy does not run")
    assert row[-3:-1] == ("-", "-")
    assert as_json(seen)["nodes"][0]["statistics"] is None


def test_a_processs_usage_is_its_own() -> None:
    usage = read_usage(os.getpid(), "model", "primary")
    assert usage is not None
    times = os.times()
    assert 0 < usage.cpu_seconds <= times.user + times.system + 0.02
    assert 2**20 < usage.memory < 2**36
    assert usage.age > 0
    assert read_usage(2**22 + 1, "model", "primary") is None


# --- real proxies -----------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def statistics_of(pool: AddressPool, ip: str) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(
        f"{ip}:{pool.ports.proxy}", options=CHANNEL_OPTIONS
    ) as channel:
        yield hogar_pb2_grpc.StatisticsStub(channel)


async def relay(pool: AddressPool, ip: str, first: int, count: int, value: Any = "x") -> None:
    """Send ``count`` requests as one message."""
    requests = [hogar_pb2.Request(id=first + n, payload=pack(value)) for n in range(count)]
    async with open_lane(ip, pool.ports.proxy) as lane:
        message = hogar_pb2.RelayRequest(requests=requests)
        assert await lane.exchange(message.SerializeToString()) == b""


async def told_by(stub: Any, history_seconds: int = 0) -> NodeStatistics:
    request = hogar_pb2.StatsRequest(history_seconds=history_seconds)
    return read_statistics(await stub.Stats(request, timeout=10))


def test_counts_are_those_of_what_was_sent(pool: AddressPool) -> None:
    async def scenario() -> None:
        async with graph(pool, {"sizes": "little:BatchSizes"}, batch=4) as (config, sink, _, _):
            ip = config.nodes[0].primary.proxy_ip
            async with statistics_of(pool, ip) as stub:
                idle = await told_by(stub)
                assert (idle.requests, idle.queued, idle.total.count) == (0, 0, 0)
                assert (idle.batch_limit, idle.limit_set_by) == (4, "config")
                await relay(pool, ip, 1, 20)

                async def is_waiting() -> bool:
                    now = await told_by(stub)
                    return now.queued > 0 and now.running == 4

                await eventually(is_waiting, "some wait while four are computed")
                await sink.wait_for(20)

                async def has_left() -> bool:
                    return (await told_by(stub)).requests == 20

                await eventually(has_left, "all have left")
                told = await told_by(stub)
                assert (told.queued, told.running, told.leaving) == (0, 0, 0)
                assert told.errors == 0
                assert told.queue.count == told.compute.count == told.total.count == 20
                assert told.batches.total == 20
                assert told.batches.count == 5
                assert told.proxy == "g.sizes.proxy"
                # The model takes 50 ms a batch, so the last waits for four others.
                assert 0.035 < told.compute.percentile(0.5) < 0.5
                assert told.queue.percentile(0.99) > 0.14
                assert told.total.percentile(0.99) > told.compute.percentile(0.99)

                async def is_in_the_history() -> bool:
                    history = (await told_by(stub, 900)).history
                    return sum(sample.requests for sample in history) == 20

                await eventually(is_in_the_history, "the history has them")

    asyncio.run(scenario())


def test_errors_count_at_the_node_that_made_them(pool: AddressPool) -> None:
    async def scenario() -> None:
        nodes = {"first": "little:Counter", "second": "little:Echo"}
        edges = (Edge((1,), (2,)),)
        async with graph(pool, nodes, edges) as (config, sink, _, _):
            first, second = (node.primary.proxy_ip for node in config.nodes)
            await relay(pool, first, 1, 1, "bad")
            await sink.wait_for(1)
            await relay(pool, first, 2, 1, "good")
            await sink.wait_for(2)
            async with statistics_of(pool, first) as one, statistics_of(pool, second) as two:

                async def have_left() -> bool:
                    return [(await told_by(stub)).requests for stub in (one, two)] == [2, 2]

                await eventually(have_left, "both have left both nodes")
                assert (await told_by(one)).errors == 1
                told = await told_by(two)
                assert told.errors == 0
                # The error passed its model by.
                assert told.compute.count == told.batches.total == 1

    asyncio.run(scenario())


def test_a_request_sent_twice_counts_once(pool: AddressPool) -> None:
    async def scenario() -> None:
        async with graph(pool, {"echo": "little:Echo"}) as (config, sink, _, _):
            ip = config.nodes[0].primary.proxy_ip
            await relay(pool, ip, 1, 3)
            await sink.wait_for(3)
            await relay(pool, ip, 1, 4)
            await sink.wait_for(4)
            async with statistics_of(pool, ip) as stub:

                async def has_left() -> bool:
                    return (await told_by(stub)).requests == 4

                await eventually(has_left, "four have left")
                assert (await told_by(stub)).total.count == 4

    asyncio.run(scenario())


def test_a_limit_set_live_holds_from_the_next_batch(pool: AddressPool) -> None:
    async def scenario() -> None:
        async with graph(pool, {"sizes": "little:BatchSizes"}, batch=8) as (config, sink, plain, _):
            ip = config.nodes[0].primary.proxy_ip
            async with statistics_of(pool, ip) as stub:
                # The proxy is idle: the very next batch is under the new limit.
                before = await stub.SetBatchLimit(hogar_pb2.BatchLimit(limit=3, who="a \x1b[31mb"))
                assert (before.limit, before.who) == (8, "config")
                await relay(pool, ip, 1, 9)
                outputs = await sink.wait_for(9)
                assert outputs == dict.fromkeys(range(1, 10), 3)
                told = await told_by(stub)
                assert (told.batch_limit, told.limit_set_by) == (3, "a [31mb")
                await plain["sizes"].AdjustBatchSize(prediction_pb2.batch_adj_request(ratio=2))
                told = await told_by(stub)
                assert (told.batch_limit, told.limit_set_by) == (6, "AdjustBatchSize")
                for wrong in (0, 10**9):
                    with pytest.raises(grpc.aio.AioRpcError, match="from 1 to") as refused:
                        await stub.SetBatchLimit(hogar_pb2.BatchLimit(limit=wrong))
                    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
                assert (await told_by(stub)).batch_limit == 6

    asyncio.run(scenario())


@pytest.mark.slow
def test_a_watcher_gets_every_second_of_the_history_once(pool: AddressPool) -> None:
    async def scenario() -> None:
        async with graph(pool, {"echo": "little:Echo"}) as (config, sink, _, _):
            ip = config.nodes[0].primary.proxy_ip
            async with statistics_of(pool, ip) as stub:
                seen: list[NodeStatistics] = []
                async for message in stub.WatchStats(
                    hogar_pb2.WatchRequest(interval=0.3, history_seconds=900)
                ):
                    seen.append(read_statistics(message))
                    await relay(pool, ip, 10 * len(seen), 5)
                    if len(seen) == 10:
                        break
                samples = [sample for one in seen for sample in one.history]
                assert len(await sink.wait_for(50)) == 50
                assert len(samples) == int(seen[-1].uptime)
                assert tuple(samples) == (await told_by(stub, 900)).history[: len(samples)]
                assert sum(sample.requests for sample in samples) > 0

    asyncio.run(scenario())


@pytest.mark.parametrize("interval", [0, 0.01, 61, float("nan"), float("inf")])
def test_an_interval_out_of_bounds_is_refused(pool: AddressPool, interval: float) -> None:
    async def scenario() -> None:
        ip = pool.take()
        async with running_proxy(pool, "g.echo", ip), statistics_of(pool, ip) as stub:
            watching = stub.WatchStats(hogar_pb2.WatchRequest(interval=interval))
            with pytest.raises(grpc.aio.AioRpcError, match=r"0\.1 to 60") as refused:
                await watching.read()
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    asyncio.run(scenario())
