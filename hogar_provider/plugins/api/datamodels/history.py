"""A node's last minutes."""

from __future__ import annotations

from pydantic import BaseModel


class SampleView(BaseModel):
    """One second; percentiles are 0 where nothing passed. Those of ``queue`` are of what left the
    queue in it, those of ``compute`` of what was computed. ``sizes`` counts its batches by the
    bounds of the history's ``batches``, without the zeros at the end."""

    requests: int
    errors: int
    batches: int
    queued: int
    running: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    queue_p95_ms: float = 0.0
    compute_p95_ms: float = 0.0
    sizes: list[int] = []


class LatencyHistogram(BaseModel):
    """``counts[i]`` values were at most ``bounds_ms[i]``; the last count is of those above all."""

    bounds_ms: list[float]
    counts: list[int]


class SizeHistogram(BaseModel):
    """As :class:`LatencyHistogram`, of batch sizes."""

    bounds: list[float]
    counts: list[int]


class UsageSeriesView(BaseModel):
    """What one kind of the node's processes used: ``kind`` is model (all replicas) or proxy,
    ``role`` primary or backup. ``cpu`` is in cores, ``memory`` in bytes with what is shared counted
    by its part; None where there was none."""

    kind: str
    role: str
    cpu: list[float | None]
    memory: list[int | None]


class UsageView(BaseModel):
    """Each series has a value for each of ``times``."""

    times: list[float]
    series: list[UsageSeriesView]


class HistoryView(BaseModel):
    """Samples ``step`` seconds apart, the last one ending at ``end``; those before the node's
    proxy was replaced are from the one before. The histograms count since the proxy started, and
    are None where it does not answer."""

    step: int = 1
    end: float
    samples: list[SampleView]
    queue: LatencyHistogram | None
    compute: LatencyHistogram | None
    total: LatencyHistogram | None
    batches: SizeHistogram | None
    usage: UsageView
