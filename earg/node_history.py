"""What a node did second by second, whichever process was its primary's proxy then.

A proxy keeps its own seconds, and they die with it. So the agent keeps a copy of what it was told
last: the minutes before a failure are what people look at after it.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from earg.protos import hogar_pb2
from earg.statistics import HISTORY_SECONDS

SLACK = 1.5
"""Seconds by which an answer may come late, and still be known for that of the same process."""

_EMPTY = hogar_pb2.Sample().SerializeToString()


@dataclass(slots=True)
class _Source:
    """The proxy that tells: when it started by this process's clock, how many seconds it has told,
    and how many of those that are kept are its own."""

    proxy: str
    started: float
    told: int = 0
    own: int = 0


class NodeHistory:
    """The last :data:`HISTORY_SECONDS` of one node, from its primaries' statistics."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
    ) -> None:
        # What is set while it runs would make one process look like another.
        self._clock = clock
        self._unix = unix
        # As messages: a tenth of the memory that values take.
        self._kept: deque[bytes] = deque(maxlen=HISTORY_SECONDS)
        self._end = 0.0
        self._source: _Source | None = None

    @property
    def wanted(self) -> int:
        """Of so many seconds the next :meth:`take` should have samples."""
        if self._source is None:
            return HISTORY_SECONDS
        return max(2, min(HISTORY_SECONDS, math.ceil(self._clock() - self._end) + 2))

    def take(self, said: hogar_pb2.NodeStatistics) -> None:
        """Keep what is new in ``said``, which the node's primary has just told."""
        now = self._clock()
        seconds = math.floor(said.uptime)
        end = now - (said.uptime - seconds)
        source = self._source
        if (
            source is None
            or source.proxy != said.proxy
            or abs(now - said.uptime - source.started) > SLACK
        ):
            source = self._source = _Source(said.proxy, now - said.uptime)
            # What it did before it was the primary, another one did.
            new = seconds if not self._kept else max(0, min(seconds, round(end - self._end)))
            if self._kept:
                self._fill(round(end - new - self._end))
        else:
            # Of two that were asked at the same time, the later answer may be the older one.
            new = max(0, seconds - source.told)
        if new:
            told = said.history[-new:]
            self._fill(min(new, HISTORY_SECONDS) - len(told))
            self._kept.extend(one.SerializeToString() for one in told)
            self._end = end
        source.told = max(source.told, seconds)
        source.own = min(source.own + new, len(self._kept))

    def _fill(self, seconds: int) -> None:
        """Nobody told of them: nothing passed, as far as is known."""
        self._kept.extend([_EMPTY] * min(max(0, seconds), HISTORY_SECONDS))

    def earlier(
        self, said: hogar_pb2.NodeStatistics | None, seconds: int
    ) -> tuple[list[hogar_pb2.Sample], float]:
        """The samples that belong before those of ``said.history``, of ``seconds`` in all, and when
        the last one of all ended, in Unix seconds. ``said`` has been taken; its history is cut to
        what is its own.

        Without ``said`` nobody is the primary now: the samples reach up to now.
        """
        if said is None or self._source is None:
            gap = int(self._clock() - self._end) if self._kept else 0
            kept = [*self._kept, *[_EMPTY] * min(max(0, gap), HISTORY_SECONDS)]
            return _read(kept[-seconds:]), self._in_unix(self._end + max(0, gap))
        newer = max(0, self._source.told - math.floor(said.uptime))
        own = min(max(0, self._source.own - newer), seconds)
        if own < len(said.history):
            del said.history[: len(said.history) - own]
        before = len(self._kept) - self._source.own
        room = max(0, seconds - own)
        kept = list(self._kept)[:before][-room:] if room else []
        return _read(kept), self._in_unix(self._end - newer)

    def _in_unix(self, at: float) -> float:
        return self._unix() - (self._clock() - at)


def _read(samples: list[bytes]) -> list[hogar_pb2.Sample]:
    return [hogar_pb2.Sample.FromString(one) for one in samples]
