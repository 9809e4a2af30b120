"""Dynamic batching: the largest batches that still compute within the latency objective.

The limit doubles from 1 until a full batch first takes longer than the objective. From then on it
is steered by additive increase and multiplicative decrease, as Clipper does (NSDI 2017, section
4.3.1): a full batch in time lets it grow by a step, one that is late lets it shrink. A batch that
is not full says nothing about larger ones and changes nothing. How far it shrinks depends on how
late the batch was, so that a model that has become much slower is followed in a few batches.

What is compared is the time a batch *computes*. The time that requests wait grows with the load
whatever the limit is; a limit that shrank because of it would make the waiting longer still.
"""

from __future__ import annotations

from earg.batching import BatchLimit

DEFAULT_OBJECTIVE = 0.1
"""Seconds a batch may compute where nobody has said an objective."""

GENTLEST_DECREASE, STRONGEST_DECREASE = 0.9, 0.5
"""Factors by which one late batch shrinks the limit."""

GROWTH = 1 / 32
"""The step of growth as a share of the limit; at least half a request. Growth by a fixed step would
take for ever to find a limit of hundreds, or leap past one of tens."""


class LimitInForce:
    """The batch limit of one node as it is now; ``limit`` is what people or the config have set."""

    def __init__(self, limit: BatchLimit) -> None:
        self.limit = limit
        self._doubling = True
        self._now = 1.0

    @property
    def now(self) -> int:
        """The most requests of the next batch."""
        return int(self._now) if self.limit.dynamic else self.limit.most

    def change(self, limit: BatchLimit) -> None:
        """Another limit from the next batch on; a dynamic one goes on from where it stands."""
        if limit.dynamic and not self.limit.dynamic:
            self._now, self._doubling = 1.0, True
        if limit.most > self.limit.most or limit.objective != self.limit.objective:
            # What was learnt holds for the bounds of then.
            self._doubling = True
        self.limit = limit
        self._now = min(self._now, float(limit.most))

    def computed(self, size: int, seconds: float) -> None:
        """The model took so long for a batch of so many requests."""
        if not self.limit.dynamic or size < 1:
            return
        objective = self.limit.objective or DEFAULT_OBJECTIVE
        if seconds > objective:
            self._doubling = False
            factor = max(STRONGEST_DECREASE, min(GENTLEST_DECREASE, objective / seconds))
            # From the batch that was late, which may be smaller than the limit.
            self._now = max(1.0, min(self._now, size * factor))
        elif size >= self.now:
            grown = self._now * 2 if self._doubling else self._now + max(0.5, self._now * GROWTH)
            self._now = min(grown, float(self.limit.most))
