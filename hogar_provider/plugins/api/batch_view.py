"""How a node batches, how full its batches are, and what that suggests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hogar_provider.plugins.api.datamodels.nodes import BatchView

if TYPE_CHECKING:
    from earg.statistics import Histogram, NodeStatistics

LEAST_BATCHES = 20
"""Fewer batches than this suggest nothing."""

LOW_FILL, HIGH_FILL = 0.5, 0.9
"""Below the first the limit does not matter; above the second it holds batches back."""


def batch_view(now: NodeStatistics, batches: Histogram, declared: int | None) -> BatchView:
    """The view; ``batches`` are the sizes of the last half minute."""
    mean = batches.mean if batches.count else None
    fill = None if mean is None or not now.batch_limit else min(1.0, mean / now.batch_limit)
    return BatchView(
        limit=now.batch_limit,
        most=now.batch_most or now.batch_limit,
        dynamic=now.batch_dynamic,
        wait_ms=round(now.batch_wait * 1000, 3),
        objective_ms=round(now.batch_objective * 1000, 3),
        set_by=now.limit_set_by,
        declared=declared,
        mean=None if mean is None else round(mean, 2),
        fill=None if fill is None else round(fill, 3),
        hint=hint(now, batches),
    )


def hint(now: NodeStatistics, batches: Histogram) -> str:
    """One sentence where the figures suggest a change, or that one would not help; else empty."""
    limit, mean = now.batch_limit, batches.mean
    if batches.count < LEAST_BATCHES or limit <= 0:
        return ""
    fill = mean / limit
    if now.batch_dynamic and limit < now.batch_most and now.queued > limit:
        return (
            f"the objective holds the limit at {limit} of {now.batch_most} while {now.queued} "
            "requests wait: a longer objective lets batches grow"
        )
    if fill >= HIGH_FILL and now.queued >= 2 * limit:
        return (
            f"batches are full and {now.queued} requests wait: a higher limit may raise the "
            "throughput, if the model computes larger batches faster"
        )
    if limit > 1 and fill < LOW_FILL:
        waits = " and its wait only adds latency" if now.batch_wait > 0 and mean < 1.5 else ""
        return (
            f"fills {mean:.{0 if mean >= 10 else 1}f} of {limit}: the limit is not what holds "
            f"this node back{waits}"
        )
    return ""
