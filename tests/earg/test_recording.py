"""Recorded requests: which ones, what their traces hold, and how they are asked for."""

from __future__ import annotations

import asyncio
import re

import grpc.aio
import httpx

from earg.addresses import AddressPool
from earg.frontend import Frontend, Limits, http_app
from earg.inference_protocol import Model
from earg.payload import failure, pack
from earg.protos import hogar_pb2, hogar_pb2_grpc
from earg.recording import KEPT, MOST_A_SECOND, Recording, traceparent_of
from earg.sender import Sender
from earg.traces import Trace
from tests.earg.running import eventually, serving

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SAMPLED = f"00-{TRACE_ID}-{PARENT}-01"
UNSAMPLED = f"00-{TRACE_ID}-{PARENT}-00"


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_some_are_recorded_unasked_at_the_given_rate() -> None:
    clock = Clock()
    recording = Recording("g", 2, clock=clock)
    recorded = 0
    for _ in range(1000):
        recorded += recording.start() is not None
        clock.now += 0.01
    assert 19 <= recorded <= 21


def test_none_are_recorded_unasked_at_rate_zero_but_those_asked_for_are() -> None:
    recording = Recording("g", 0)
    assert recording.start() is None
    assert recording.start(UNSAMPLED) is None
    assert recording.start("nonsense") is None
    trace = recording.start(SAMPLED)
    assert trace is not None
    assert (trace.trace_id, trace.parent_id) == (TRACE_ID, PARENT)
    assert re.fullmatch(f"00-{TRACE_ID}-[0-9a-f]{{16}}-01", traceparent_of(trace))
    assert trace.span_id != PARENT


def test_a_client_that_samples_everything_is_bounded() -> None:
    clock = Clock()
    recording = Recording("g", 1, clock=clock)
    recorded = sum(recording.start(SAMPLED) is not None for _ in range(10 * MOST_A_SECOND))
    assert recorded == MOST_A_SECOND
    clock.now += 1
    assert recording.start(SAMPLED) is not None


def test_the_newest_traces_are_kept_and_all_are_exported() -> None:
    clock = Clock()
    exported: list[Trace] = []
    recording = Recording("g", 1000, ["first", "second"], exported.append, clock)
    for number in range(KEPT + 10):
        clock.now += 1
        trace = recording.start()
        assert trace is not None
        trace.request = number
        trace.hops.append(hogar_pb2.Hop(index=2, start=2.0, compute=0.5, batch=3))
        trace.hops.append(hogar_pb2.Hop(index=1, start=1.0))
        clock.now += 0.25
        recording.finish(trace, "it failed" if number == 5 else "")
    newest = list(recording.newest(3))
    assert [one.request for one in newest] == [KEPT + 9, KEPT + 8, KEPT + 7]
    assert len(list(recording.newest(10_000))) == KEPT
    assert newest[0].duration == 0.25
    assert len(exported) == KEPT + 10
    assert [hop.node for hop in exported[0].hops] == ["first", "second"]
    assert (exported[5].error, exported[6].error) == ("it failed", "")


def test_the_frontend_tells_who_is_in_the_graph_and_what_it_recorded(pool: AddressPool) -> None:
    async def scenario() -> None:
        nobody = f"{pool.take()}:{pool.ports.proxy}"
        entry = Sender(0, "frontend", nobody, capacity=16)
        frontend = Frontend(entry, Limits(concurrency=8, deadline=30), Recording("g", 0))
        transport = httpx.ASGITransport(http_app(frontend, Model("g", "1")))
        register = hogar_pb2_grpc.add_RegisterServicer_to_server
        ip = pool.take()
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://frontend") as client,
            serving(f"{ip}:{pool.ports.proxy}", (register, frontend)),
            grpc.aio.insecure_channel(f"{ip}:{pool.ports.proxy}") as channel,
        ):
            stub = hogar_pb2_grpc.RegisterStub(channel)
            posts = [
                asyncio.create_task(
                    client.post("/predict", content=text, headers={"traceparent": SAMPLED})
                )
                for text in ("one", "two")
            ]

            async def both_are_in() -> bool:
                return (await stub.InGraph(hogar_pb2.InGraphQuery())).total == 2

            await eventually(both_are_in, "two requests are in the graph")
            told = await stub.InGraph(hogar_pb2.InGraphQuery(most=1))
            assert (len(told.requests), told.total) == (1, 2)
            assert told.requests[0].seconds >= 0
            ids = [one.id for one in (await stub.InGraph(hogar_pb2.InGraphQuery())).requests]
            hops = hogar_pb2.Trace(hops=[hogar_pb2.Hop(index=1, start=1.0)])
            frontend._relayed(
                hogar_pb2.RelayRequest(
                    requests=[
                        hogar_pb2.Request(id=ids[0], payload=pack("fine"), trace=hops),
                        hogar_pb2.Request(id=ids[1], payload=failure("it broke"), trace=hops),
                    ]
                ).SerializeToString()
            )
            replies = await asyncio.gather(*posts)
            assert sorted(reply.status_code for reply in replies) == [200, 500]
            for reply in replies:
                assert reply.headers["traceparent"].startswith(f"00-{TRACE_ID}-")
            traces = (await stub.Traces(hogar_pb2.TracesQuery())).traces
            assert {trace.error for trace in traces} == {"", "it broke"}
            assert {trace.request for trace in traces} == set(ids)
            assert all(len(trace.hops) == 1 for trace in traces)
            assert (await stub.InGraph(hogar_pb2.InGraphQuery())).total == 0
        await entry.close()

    asyncio.run(scenario())
