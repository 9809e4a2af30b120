"""Live updates as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

A stream ends after :data:`LONGEST` seconds and the browser's EventSource connects again: Airflow
asks for the user's permissions only when a stream begins. A stream that is open keeps the API
server from stopping, so each ends too when that is asked to.
"""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator, Iterator

from hogar_provider.plugins.api.errors import ApiError
from hogar_provider.plugins.api.graph_view import event_view
from hogar_provider.plugins.api.runtime import FIRST_LOOK, Frame, Runtime

LONGEST = 45.0
"""Seconds that a stream lasts."""

RECONNECT_MS = 500
"""When the browser connects again after a stream's end."""

RECENT = 60.0
"""Seconds of which a new stream tells the events: between a page's first question for events and
its stream, something may happen."""

HEARTBEAT = 2.0
"""Seconds without news after which a comment is sent, so that nothing between closes it, and it is
seen whether the server stops."""

MOST_OF_A_USER, MOST_OF_A_WORKER = 20, 1000
"""Streams that may be open at once in one worker of the API server."""


class Streams:
    """Counts the open streams."""

    def __init__(self) -> None:
        self._of_user: dict[str, int] = {}

    @property
    def open(self) -> int:
        """How many there are."""
        return sum(self._of_user.values())

    def admit(self, user: str) -> None:
        """Raise :class:`ApiError` where ``user`` may open no more."""
        if self._of_user.get(user, 0) >= MOST_OF_A_USER:
            raise ApiError(
                429,
                "too_many_streams",
                f"You have {MOST_OF_A_USER} live views open already; close some of them.",
            )
        if self.open >= MOST_OF_A_WORKER:
            raise ApiError(
                503, "too_many_streams", "Too many live views are open here; try again later."
            )

    @contextlib.contextmanager
    def opened(self, user: str) -> Iterator[None]:
        """Count one more stream of ``user`` for a while; raises as :meth:`admit`."""
        self.admit(user)
        self._of_user[user] = self._of_user.get(user, 0) + 1
        try:
            yield
        finally:
            left = self._of_user[user] - 1
            if left:
                self._of_user[user] = left
            else:
                del self._of_user[user]


streams = Streams()
"""Those of this process."""


async def graph_events(
    runtime: Runtime, dag_id: str, user: str, after: int | None, longest: float = LONGEST
) -> AsyncIterator[bytes]:
    """The stream of one viewer: a ``graph`` with each look, and before it ``events`` where there
    are new ones, above number ``after`` (None: those of the last :data:`RECENT` seconds).

    Every message has the number of the newest event that was told, so that whoever connects again
    misses none, even where there was none to tell before.
    """
    ends = time.monotonic() + longest
    with streams.opened(user), runtime.viewer(dag_id) as viewer:
        yield f"retry: {RECONNECT_MS}\n\n".encode()
        number = 0
        while (left := ends - time.monotonic()) > 0 and not server_stops():
            try:
                frame = await viewer.next(
                    number, min(left, FIRST_LOOK if not number else HEARTBEAT)
                )
            except ApiError as error:
                body = {"error": {"code": error.code, "message": error.message}}
                yield _message("failed", json.dumps(body).encode())
                return
            if frame is None:
                yield b": nothing new\n\n"
                continue
            number = frame.number
            if after is None:
                since = frame.view.at - RECENT
                after = max((one.number for one in frame.events if one.time < since), default=0)
            newest = frame.events[-1].number if frame.events else 0
            if newest > after:
                yield _message("events", _new_events(frame, after), newest)
                after = newest
            yield _message("graph", frame.data, after or None)


def server_stops() -> bool:
    """Whether this process's web server was asked to end and waits for its connections to.

    Uvicorn tells nobody, but it is its server's method that takes the signal.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return getattr(server, "should_exit", False) is True


def _new_events(frame: Frame, after: int) -> bytes:
    new = [event_view(one).model_dump() for one in frame.events if one.number > after]
    return json.dumps({"events": new}).encode()


def _message(event: str, data: bytes, number: int | None = None) -> bytes:
    """One message; ``data`` is JSON, which holds no line break."""
    name = b"" if number is None else f"id: {number}\n".encode()
    return b"event: " + event.encode() + b"\n" + name + b"data: " + data + b"\n\n"
