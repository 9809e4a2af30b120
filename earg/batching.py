"""The batch limit of a node, and the queue that batches are taken from."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

T = TypeVar("T")

LARGEST_LIMIT = 999_999_999
"""The most that an EARG config can say."""

LONGEST_WAIT = 60.0
"""Seconds that a batch may wait to fill, at most."""

LARGEST_OBJECTIVE = 86_400.0
"""Seconds: the longest latency objective."""


class QueueFullError(RuntimeError):
    """The queue holds as many requests as it may."""


@dataclass(frozen=True, slots=True)
class BatchLimit:
    """The most requests a proxy hands its model at once, and how long a batch may wait to fill.

    ``one_a_call`` is EARG's batch 0: no batching, ``Predict`` instead of a batch of one.
    ``dynamic`` is EARG's negative batch: the limit in force moves between 1 and ``most``, steered
    by ``objective``, the seconds that a batch may compute (see :mod:`earg.dynamic_limit`). A batch
    waits at most ``wait`` seconds from the arrival of its oldest request to fill; it is never
    padded.
    """

    most: int
    dynamic: bool = False
    one_a_call: bool = False
    wait: float = 0.0
    objective: float | None = None

    @classmethod
    def from_config(
        cls, batch: int, wait: float = 0.0, objective: float | None = None
    ) -> BatchLimit:
        """The limit that a config's ``batch`` field means."""
        return cls(max(1, abs(batch)), batch < 0, batch == 0, wait, objective)

    def scaled(self, ratio: float) -> BatchLimit:
        """The limit times ``ratio``, at least 1: what AdjustBatchSize asks for."""
        if not math.isfinite(ratio) or ratio <= 0:
            raise ValueError(f"the ratio of a batch limit must be above 0, not {ratio}")
        return self.changed_to(min(LARGEST_LIMIT, max(1, round(self.most * ratio))))

    def changed_to(self, most: int) -> BatchLimit:
        """Another limit of the same kind."""
        if not 1 <= most <= LARGEST_LIMIT:
            raise ValueError(f"a batch limit must be from 1 to {LARGEST_LIMIT}, not {most}")
        return replace(self, most=most, one_a_call=self.one_a_call and most == 1)

    def changed(
        self,
        *,
        most: int | None = None,
        wait: float | None = None,
        objective: float | None = None,
        dynamic: bool | None = None,
    ) -> BatchLimit:
        """What is not None replaced; an ``objective`` of 0 means none. Raises ValueError."""
        limit = self if most is None else self.changed_to(most)
        if wait is not None:
            if not 0 <= wait <= LONGEST_WAIT:
                raise ValueError(f"a batch may wait from 0 to {LONGEST_WAIT:g} s, not {wait:g} s")
            limit = replace(limit, wait=wait)
        if objective is not None:
            if not 0 <= objective <= LARGEST_OBJECTIVE:
                raise ValueError(
                    f"a latency objective is above 0 and at most {LARGEST_OBJECTIVE:g} s, "
                    f"not {objective:g} s"
                )
            limit = replace(limit, objective=objective or None)
        if dynamic is not None:
            limit = replace(limit, dynamic=dynamic, one_a_call=limit.one_a_call and not dynamic)
        return limit


class BatchQueue(Generic[T]):
    """A bounded first-in first-out queue that is read in batches by one reader at a time."""

    def __init__(self, capacity: int) -> None:
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._wanted = 1
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def room(self) -> int:
        """How many more requests fit."""
        return self._capacity - len(self._items)

    def put(self, item: T) -> None:
        """Append one request; raises :class:`QueueFullError`."""
        if len(self._items) >= self._capacity:
            raise QueueFullError(f"{self._capacity} requests wait already")
        self._items.append(item)
        if len(self._items) >= self._wanted:
            self._filled.set()

    async def filled(self, count: int = 1) -> None:
        """Wait until at least ``count`` requests are there."""
        self._wanted = count
        try:
            while len(self._items) < count:
                self._filled.clear()
                await self._filled.wait()
        finally:
            self._wanted = 1

    async def filled_within(self, count: int, seconds: float) -> None:
        """Wait until ``count`` requests are there, but no longer than so many seconds."""
        if seconds > 0 and len(self._items) < min(count, self._capacity):
            try:
                async with asyncio.timeout(seconds):
                    await self.filled(min(count, self._capacity))
            except TimeoutError:
                pass

    async def take(self, most: int) -> list[T]:
        """Wait for at least one request, then take what is there, at most ``most``.

        While a model computes, requests gather here by themselves: a batch grows with the load
        and nobody waits for it to fill.
        """
        await self.filled()
        return [self._items.popleft() for _ in range(min(most, len(self._items)))]

    def __iter__(self) -> Iterator[T]:
        """What waits, oldest first."""
        return iter(self._items)
