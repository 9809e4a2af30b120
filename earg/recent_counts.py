"""What a node's primary had counted half a minute ago.

A proxy's counts grow from its start, so figures of late are a difference. The agent keeps the
earlier ones, so that all who look see the same, whether they have looked before or not.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from earg.protos import hogar_pb2

WINDOW = 30.0
"""Seconds."""


class RecentCounts:
    """Of one node: what its primaries told lately, whichever process they were."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # As messages: a tenth of the memory that values take.
        self._kept: deque[tuple[float, bytes]] = deque()

    def take(self, said: hogar_pb2.NodeStatistics) -> None:
        """Keep ``said``, which the node's primary has just told."""
        now = self._clock()
        counts = hogar_pb2.EarlierCounts(
            proxy=said.proxy,
            uptime=said.uptime,
            **{name: _without_bounds(getattr(said, name)) for name in HISTOGRAMS},
        )
        self._kept.append((now, counts.SerializeToString()))
        self._forget(now)

    def before(self, said: hogar_pb2.NodeStatistics) -> hogar_pb2.EarlierCounts | None:
        """What is to be subtracted from ``said``, which was told just now, for what happened in the
        last :data:`WINDOW` seconds; None where that is all of it, or nothing is known."""
        self._forget(self._clock())
        if said.uptime <= WINDOW or not self._kept:
            return None
        found = hogar_pb2.EarlierCounts.FromString(self._kept[0][1])
        return found if found.proxy == said.proxy and found.uptime <= said.uptime else None

    def _forget(self, now: float) -> None:
        while len(self._kept) > 1 and self._kept[1][0] <= now - WINDOW:
            self._kept.popleft()


HISTOGRAMS = ("queue", "compute", "total", "batches")


def _without_bounds(histogram: hogar_pb2.Histogram) -> hogar_pb2.Histogram:
    return hogar_pb2.Histogram(counts=histogram.counts, total=histogram.total)
