"""Requests on their way, and recorded ones."""

from __future__ import annotations

from pydantic import BaseModel


class PositionView(BaseModel):
    """Node ``index`` has had the request for ``ms``; ``stage`` is gathering, queued, running or
    leaving."""

    index: int
    node: str
    stage: str
    ms: float


class RequestView(BaseModel):
    """A request without its reply for ``ms``; without positions it is between two nodes."""

    id: int
    ms: float
    attempt: int
    positions: list[PositionView]


class RequestList(BaseModel):
    """The oldest ones; ``total`` counts all."""

    total: int
    requests: list[RequestView]


class HopView(BaseModel):
    """A recorded request at one node; ``start_ms`` is after the trace's start."""

    index: int
    node: str
    start_ms: float
    queue_ms: float
    compute_ms: float
    leave_ms: float
    batch: int
    replica: int


class TraceView(BaseModel):
    """One recorded request; ``error`` is what the client got instead of a reply, or empty."""

    request: int
    trace_id: str
    at: float
    duration_ms: float
    error: str
    hops: list[HopView]


class TraceList(BaseModel):
    """The newest first."""

    traces: list[TraceView]
