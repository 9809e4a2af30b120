"""What a node did lately: the difference of figures that only grow, and of what they were half a
minute ago. The agent tells both, so each worker of the API server shows the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from earg.statistics import EarlierCounts, Histogram, NodeReport, NodeStatistics


@dataclass(frozen=True, slots=True)
class Recent:
    """Histograms of what was added lately."""

    queue: Histogram
    compute: Histogram
    total: Histogram
    batches: Histogram


def recent(now: NodeStatistics, earlier: EarlierCounts | None) -> Recent:
    """What was added since ``earlier``; all of it without one, or where the proxy is another."""
    if earlier is None or earlier.proxy != now.proxy or earlier.uptime > now.uptime:
        return Recent(now.queue, now.compute, now.total, now.batches)
    return Recent(
        now.queue.since(earlier.queue),
        now.compute.since(earlier.compute),
        now.total.since(earlier.total),
        now.batches.since(earlier.batches),
    )


def milliseconds(histogram: Histogram, share: float) -> float | None:
    """A percentile of a latency histogram in milliseconds; None where it is empty."""
    return round(histogram.percentile(share) * 1000, 3) if histogram.count else None


def report_of(reports: Iterable[NodeReport], index: int) -> NodeReport | None:
    """The report of node ``index``."""
    return next((one for one in reports if one.index == index), None)
