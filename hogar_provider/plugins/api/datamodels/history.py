"""A node's last minutes."""

from __future__ import annotations

from pydantic import BaseModel


class SampleView(BaseModel):
    """One second; percentiles are of the total latency, 0 where nothing passed."""

    requests: int
    errors: int
    batches: int
    queued: int
    running: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


class LatencyHistogram(BaseModel):
    """``counts[i]`` values were at most ``bounds_ms[i]``; the last count is of those above all."""

    bounds_ms: list[float]
    counts: list[int]


class SizeHistogram(BaseModel):
    """As :class:`LatencyHistogram`, of batch sizes."""

    bounds: list[float]
    counts: list[int]


class HistoryView(BaseModel):
    """Samples ``step`` seconds apart, the last one ending at ``end``. The histograms count since
    the node's proxy started."""

    step: int = 1
    end: float
    samples: list[SampleView]
    queue: LatencyHistogram
    compute: LatencyHistogram
    total: LatencyHistogram
    batches: SizeHistogram
