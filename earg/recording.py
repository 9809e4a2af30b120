"""Which requests a frontend records, and their traces once they are answered.

A request is recorded when its client asks for it (a sampled ``traceparent``, W3C Trace Context),
and a few each second besides, so that there is always something to look at. The first are bounded
too: a client that samples everything must not slow the graph down.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from earg.protos import hogar_pb2
from earg.request_wire import read_trace
from earg.traces import Trace, format_traceparent, parse_traceparent

log = logging.getLogger(__name__)

KEPT = 200
"""The newest so many traces are kept."""

MOST_A_SECOND = 100
"""Requests recorded a second at most, whoever asks."""


class Recording:
    """The traces of one frontend.

    ``rate`` requests a second are recorded unasked; 0 for none. ``names`` are those of the nodes by
    their index, from 1. ``export`` is called with each trace; it must not block or raise.
    """

    def __init__(
        self,
        graph: str,
        rate: float,
        names: Sequence[str] = (),
        export: Callable[[Trace], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._graph = graph
        self._names = dict(enumerate(names, 1))
        self._export = export
        self._clock = clock
        # As the process started: a clock that jumps later cannot bend a trace.
        self._epoch = time.time() - clock()
        self._interval = 1 / rate if rate > 0 else float("inf")
        self._next = 0.0 if rate > 0 else float("inf")
        self._second = 0
        self._in_second = 0
        self._kept: deque[hogar_pb2.RequestTrace] = deque(maxlen=KEPT)

    def start(self, traceparent: str = "") -> hogar_pb2.RequestTrace | None:
        """The trace of a request that is to be recorded, None for one that is not."""
        now = self._clock()
        if not traceparent and now < self._next:
            return None
        parent = parse_traceparent(traceparent) if traceparent else None
        if (parent is None or not parent[2]) and now < self._next:
            return None
        if int(now) != self._second:
            self._second, self._in_second = int(now), 0
        if self._in_second >= MOST_A_SECOND:
            return None
        self._in_second += 1
        self._next = max(self._next, now + self._interval)
        return hogar_pb2.RequestTrace(
            trace_id=parent[0] if parent is not None else secrets.token_hex(16),
            span_id=secrets.token_hex(8),
            parent_id=parent[1] if parent is not None else "",
            start=now,
        )

    def finish(self, trace: hogar_pb2.RequestTrace, error: str = "") -> None:
        """The request is answered, or failed with a sentence; ``trace.hops`` are its way."""
        trace.duration = self._clock() - trace.start
        trace.start += self._epoch
        trace.error = error
        trace.hops.sort(key=lambda hop: (hop.start, hop.index))
        self._kept.append(trace)
        if self._export is not None:
            self._export(read_trace(trace, self._graph, self._names))

    def newest(self, most: int) -> Iterator[hogar_pb2.RequestTrace]:
        """The traces kept, newest first."""
        for place, trace in enumerate(reversed(self._kept)):
            if place >= most:
                return
            yield trace


def traceparent_of(trace: hogar_pb2.RequestTrace) -> str:
    """The header that names this trace to whoever comes next."""
    return format_traceparent(trace.trace_id, trace.span_id, True)
