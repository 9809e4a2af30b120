"""What a frontend counts of its clients' requests, always: codes, latencies, and refusals."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from functools import wraps
from typing import Any, Protocol, TypeVar

import grpc.aio

from earg.statistics import LATENCY_BOUNDS, Histogram

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Call = TypeVar("Call", bound=Callable[..., Awaitable[Any]])
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


FAILING_SECONDS = 5
"""Seconds for which requests that failed are counted as of late."""

CLIENTS_OWN = frozenset(
    {
        *("OK", "CANCELLED", "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE", "UNIMPLEMENTED"),
        *("UNAUTHENTICATED", "PERMISSION_DENIED"),
    }
)
"""Codes of gRPC that tell of no failure of the graph."""


class FrontendCounts:
    """Counts for one frontend, for its event loop alone.

    A request counts once, when its answer begins: with the status of HTTP as its code ("200"), or
    with that of gRPC ("OK").
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Whole seconds, and how many requests failed in each.
        self._failed: deque[tuple[int, int]] = deque(maxlen=FAILING_SECONDS + 1)
        self.codes: dict[str, int] = {}
        self.rejected = 0
        """Requests that were refused because the graph was full; an inference of many elements is
        as many."""
        self._counts = [0] * (len(LATENCY_BOUNDS) + 1)
        self._total = 0.0

    def answered(self, code: str, seconds: float) -> None:
        """A request was answered with ``code``, ``seconds`` after it came."""
        self.codes[code] = self.codes.get(code, 0) + 1
        self._counts[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        self._total += seconds
        if _is_failure(code):
            second = int(self._clock())
            if self._failed and self._failed[-1][0] == second:
                self._failed[-1] = (second, self._failed[-1][1] + 1)
            else:
                self._failed.append((second, 1))

    def failing(self) -> float:
        """How many requests a second were answered with an error in the last
        :data:`FAILING_SECONDS` whole seconds and this one."""
        now = self._clock()
        first = int(now) - FAILING_SECONDS
        count = sum(count for second, count in self._failed if second >= first)
        return count / (now - first)

    def latency(self) -> Histogram:
        """Latencies of all answers, in seconds."""
        return Histogram(LATENCY_BOUNDS, tuple(self._counts), self._total)


def _is_failure(code: str) -> bool:
    return code >= "500" if code.isdigit() else code not in CLIENTS_OWN


def is_inference(scope: Scope) -> bool:
    """Whether this is a request for the graph, and not one for the frontend itself."""
    path: str = scope.get("path", "")
    return path == "/predict" or path.endswith("/infer")


def counting(application: Application, counts: FrontendCounts) -> Application:
    """``application``, with every request for the graph counted."""

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_inference(scope):
            await application(scope, receive, send)
            return
        started = time.monotonic()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                counts.answered(str(message["status"]), time.monotonic() - started)
            await send(message)

        await application(scope, receive, sending)

    return counted


class Counting(Protocol):
    """Whoever has counts."""

    counts: FrontendCounts


def counting_call(call: Call) -> Call:
    """A gRPC method of a :class:`Counting` servicer, with every call counted by its status."""

    @wraps(call)
    async def counted(self: Counting, request: Any, context: Any) -> Any:
        started = time.monotonic()
        code = "UNKNOWN"
        try:
            answer = await call(self, request, context)
            code = "OK"
            return answer
        except asyncio.CancelledError:
            code = "CANCELLED"
            raise
        except grpc.aio.AbortError:
            code = context.code().name
            raise
        finally:
            self.counts.answered(code, time.monotonic() - started)

    return counted  # type: ignore[return-value]
