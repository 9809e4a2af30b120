"""What a frontend counts of its clients' requests, always: codes, latencies, and refusals."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
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


class FrontendCounts:
    """Counts for one frontend, for its event loop alone.

    A request counts once, when its answer begins: with the status of HTTP as its code ("200"), or
    with that of gRPC ("OK").
    """

    def __init__(self) -> None:
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

    def latency(self) -> Histogram:
        """Latencies of all answers, in seconds."""
        return Histogram(LATENCY_BOUNDS, tuple(self._counts), self._total)


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
