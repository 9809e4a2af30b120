"""Requests in a graph, and recorded ones, from their messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from earg.protos import hogar_pb2
from earg.traces import Hop, Trace


@dataclass(frozen=True, slots=True)
class Position:
    """Where a request is: node ``index`` holds it for ``seconds``. ``stage`` is gathering (a join
    waits for its other parts), queued, running or leaving (see :class:`earg.trails.Stage`)."""

    index: int
    stage: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RequestInGraph:
    """A request that its client has no reply to for ``seconds``; ``attempt`` counts how often it
    was sent again because a proxy was replaced. Without positions it is between two nodes."""

    id: int
    seconds: float
    attempt: int
    positions: tuple[Position, ...]


@dataclass(frozen=True, slots=True)
class GraphLoad:
    """How many requests of a graph have no reply yet, and how many a second were answered with an
    error lately, refusals included; None where its frontend does not tell."""

    in_graph: int
    failing: float | None


def read_load_of_graph(message: hogar_pb2.RequestsReply) -> GraphLoad:
    """The load that a graph's frontend tells."""
    failing = message.failing if message.HasField("failing") else None
    return GraphLoad(int(message.total), failing)


def read_requests(message: hogar_pb2.RequestsReply) -> tuple[int, tuple[RequestInGraph, ...]]:
    """How many there are in all, and those told, the oldest first."""
    return int(message.total), tuple(
        RequestInGraph(
            one.id,
            one.seconds,
            one.attempt,
            tuple(Position(at.index, at.stage, at.seconds) for at in one.positions),
        )
        for one in message.requests
    )


def read_trace(message: hogar_pb2.RequestTrace, graph: str, names: Mapping[int, str]) -> Trace:
    """A trace of ``graph``, whose nodes have ``names`` by their index."""
    return Trace(
        graph=graph,
        request=message.request,
        trace_id=message.trace_id,
        span_id=message.span_id,
        parent_id=message.parent_id,
        start=message.start,
        duration=message.duration,
        error=message.error,
        hops=tuple(
            Hop(
                node=names.get(hop.index, f"node {hop.index}"),
                index=hop.index,
                start=hop.start,
                queue=hop.queue,
                compute=hop.compute,
                leave=hop.leave,
                batch=hop.batch,
                replica=hop.replica,
            )
            for hop in message.hops
        ),
    )
