"""Starts of nodes that outlast the client that asked for them, for the next one that asks.

Who waits for a start may change while it lasts: an Airflow task that has waited for a while leaves
the rest to its trigger. A client whose deadline passes hands the start over; one that goes away
before, since it was killed, ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

HANDOVER = 60.0
"""Seconds that a start, or what came of it, waits for the next client."""

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Start(Generic[T]):
    task: asyncio.Task[T]
    waiting: int = 0
    timer: asyncio.TimerHandle | None = None


class Starts(Generic[T]):
    """Starts under way, by the names that clients gave them."""

    def __init__(self, handover: float = HANDOVER) -> None:
        self._handover = handover
        self._starts: dict[str, _Start[T]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def join(
        self,
        key: str,
        begin: Callable[[], Coroutine[Any, Any, T]] | None,
        deadline_has_passed: Callable[[], bool],
    ) -> T:
        """What comes of the start called ``key``, which ``begin`` begins unless it is under way;
        KeyError where it is not and nothing begins it.

        Where this call is cancelled as the last that waits, ``deadline_has_passed`` decides: the
        start goes on for the next client, for :data:`HANDOVER` seconds at most, or it is cancelled,
        and has ended when the call does.
        """
        start = self._starts.get(key)
        if start is None:
            if begin is None:
                raise KeyError(key)
            start = self._starts[key] = _Start(asyncio.create_task(begin()))
        if start.timer is not None:
            start.timer.cancel()
            start.timer = None
        start.waiting += 1
        try:
            return await asyncio.shield(start.task)
        finally:
            start.waiting -= 1
            if not start.waiting:
                await self._left_alone(key, start, deadline_has_passed)

    async def _left_alone(
        self, key: str, start: _Start[T], deadline_has_passed: Callable[[], bool]
    ) -> None:
        if start.task.done():
            self._forget(key, start)
        elif deadline_has_passed():
            loop = asyncio.get_running_loop()
            start.timer = loop.call_later(self._handover, self._give_up, key, start)
        else:
            await asyncio.shield(self._end_soon(key, start))

    def _give_up(self, key: str, start: _Start[T]) -> None:
        self._end_soon(key, start)

    def _end_soon(self, key: str, start: _Start[T]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._end(key, start))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    async def _end(self, key: str, start: _Start[T]) -> None:
        self._forget(key, start)
        start.task.cancel()
        await asyncio.gather(start.task, return_exceptions=True)

    def _forget(self, key: str, start: _Start[T]) -> None:
        if self._starts.get(key) is start:
            del self._starts[key]

    async def close(self) -> None:
        """End every start."""
        for key, start in list(self._starts.items()):
            if start.timer is not None:
                start.timer.cancel()
            self._end_soon(key, start)
        await asyncio.gather(*self._ending)
