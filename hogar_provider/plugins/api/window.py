"""What a node did lately: the difference of two looks at figures that only grow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from earg.statistics import Histogram, NodeReport, NodeStatistics
    from earg.usage import ProcessUsage


@dataclass(frozen=True, slots=True)
class Recent:
    """Histograms of what was added since the earlier look."""

    queue: Histogram
    compute: Histogram
    total: Histogram
    batches: Histogram


def recent(now: NodeStatistics, earlier: NodeStatistics | None) -> Recent:
    """What was added since ``earlier``; all of it without one, or where the proxy is another."""
    if earlier is None or earlier.proxy != now.proxy or earlier.uptime > now.uptime:
        return Recent(now.queue, now.compute, now.total, now.batches)
    return Recent(
        now.queue.since(earlier.queue),
        now.compute.since(earlier.compute),
        now.total.since(earlier.total),
        now.batches.since(earlier.batches),
    )


def cores(
    now: Iterable[ProcessUsage], earlier: Iterable[ProcessUsage], seconds: float
) -> float | None:
    """How many cores the processes used in the ``seconds`` between two looks; of one that was not
    there before, since it started. None where there are none."""
    before = {one.pid: one for one in earlier}
    total, found = 0.0, False
    for one in now:
        found = True
        then = before.get(one.pid)
        if then is not None and seconds > 0 and then.cpu_seconds <= one.cpu_seconds:
            total += (one.cpu_seconds - then.cpu_seconds) / seconds
        elif one.age > 0:
            total += one.cpu_seconds / one.age
    return total if found else None


def milliseconds(histogram: Histogram, share: float) -> float | None:
    """A percentile of a latency histogram in milliseconds; None where it is empty."""
    return round(histogram.percentile(share) * 1000, 3) if histogram.count else None


def report_of(reports: Iterable[NodeReport], index: int) -> NodeReport | None:
    """The report of node ``index``."""
    return next((one for one in reports if one.index == index), None)
