"""Statistics as Prometheus metrics: what the expositions of proxies and frontends share.

Names follow Prometheus's conventions (https://prometheus.io/docs/practices/naming/): the prefix
``earg_``, base units, ``_total`` for what only grows. ``docs/metrics.md`` explains each of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from earg.statistics import LATENCY_BOUNDS, Histogram

LATENCY_STEP = 2
"""Every second latency bucket is exported: 24 with bounds that double, from 71 microseconds to
600 s. All 48 would nearly double a node's series, of which Prometheus keeps each in memory;
``earg stats`` knows the finer ones."""


def thinned(bounds: Sequence[float]) -> tuple[float, ...]:
    """The latency bounds that are exported, the last of ``bounds`` among them."""
    return tuple(bounds[LATENCY_STEP - 1 :: LATENCY_STEP])


EXPORTED_LATENCY_BOUNDS = thinned(LATENCY_BOUNDS)
"""Upper bounds of the latency buckets of an exposition, in seconds."""


def cumulative_buckets(histogram: Histogram, step: int = 1) -> list[tuple[str, float]]:
    """Prometheus's buckets: for each exported bound, how many values were at most that large.

    Exact for each bound: of ``step`` buckets the counts are added, none is divided.
    """
    buckets = []
    below = 0
    for place, (bound, count) in enumerate(
        zip(histogram.bounds, histogram.counts[:-1], strict=True), 1
    ):
        below += count
        if place % step == 0:
            buckets.append((_bound_label(bound), float(below)))
    buckets.append(("+Inf", float(histogram.count)))
    return buckets


def _bound_label(bound: float) -> str:
    """The bound as people read it: to four digits, which is far finer than the buckets are."""
    return repr(bound if bound.is_integer() else float(f"{bound:.4g}"))


def latency_family(name: str, documentation: str, labels: Sequence[str]) -> HistogramMetricFamily:
    """An empty family of latencies in seconds."""
    return HistogramMetricFamily(name, documentation, labels=labels)


def add_latencies(
    family: HistogramMetricFamily, labels: Sequence[str], histogram: Histogram
) -> None:
    """Add a histogram over :data:`earg.statistics.LATENCY_BOUNDS` to its family."""
    family.add_metric(labels, cumulative_buckets(histogram, LATENCY_STEP), histogram.total)


def registry_of(collector: Collector) -> CollectorRegistry:
    """A registry of this process: ``collector`` and prometheus_client's process metrics."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)
    return registry
