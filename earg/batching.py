"""The batch limit of a node, and the queue that batches are taken from."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

LARGEST_LIMIT = 999_999_999
"""The most that an EARG config can say."""


class QueueFullError(RuntimeError):
    """The queue holds as many requests as it may."""


@dataclass(frozen=True, slots=True)
class BatchLimit:
    """The most requests a proxy hands its model at once.

    ``one_a_call`` is EARG's batch 0: no batching, ``Predict`` instead of a batch of one.
    ``dynamic`` is EARG's negative batch: the limit may shrink below ``most`` and grow back.
    """

    most: int
    dynamic: bool = False
    one_a_call: bool = False

    @classmethod
    def from_config(cls, batch: int) -> BatchLimit:
        """The limit that a config's ``batch`` field means."""
        return cls(most=max(1, abs(batch)), dynamic=batch < 0, one_a_call=batch == 0)

    def scaled(self, ratio: float) -> BatchLimit:
        """The limit times ``ratio``, at least 1: what AdjustBatchSize asks for."""
        if not math.isfinite(ratio) or ratio <= 0:
            raise ValueError(f"the ratio of a batch limit must be above 0, not {ratio}")
        return self.changed_to(min(LARGEST_LIMIT, max(1, round(self.most * ratio))))

    def changed_to(self, most: int) -> BatchLimit:
        """Another limit of the same kind."""
        if not 1 <= most <= LARGEST_LIMIT:
            raise ValueError(f"a batch limit must be from 1 to {LARGEST_LIMIT}, not {most}")
        return BatchLimit(most, self.dynamic, one_a_call=self.one_a_call and most == 1)


class BatchQueue(Generic[T]):
    """A bounded first-in first-out queue that is read in batches by one reader."""

    def __init__(self, capacity: int) -> None:
        self._items: deque[T] = deque()
        self._capacity = capacity
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
        self._filled.set()

    async def filled(self) -> None:
        """Wait until at least one request is there."""
        while not self._items:
            self._filled.clear()
            await self._filled.wait()

    async def take(self, most: int) -> list[T]:
        """Wait for at least one request, then take what is there, at most ``most``.

        While a model computes, requests gather here by themselves: a batch grows with the load
        and nobody waits for it to fill.
        """
        await self.filled()
        return [self._items.popleft() for _ in range(min(most, len(self._items)))]
