"""One poll of the agent for each graph that somebody looks at, shared by all who do.

A poll is a thread, since gRPC's calls block. It begins with the first viewer of a graph and ends
:data:`LINGER` seconds after the last, so that a stream that reconnects, or a page that asks again,
finds it running. Every worker of the API server has its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from hogar_provider.plugins.api.agents import engine_of
from hogar_provider.plugins.api.declared import find_declared
from hogar_provider.plugins.api.errors import ApiError
from hogar_provider.plugins.api.graph_view import graph_view
from hogar_provider.plugins.api.looking import Looker

if TYPE_CHECKING:
    from earg.status import Event
    from hogar_provider.plugins.api.datamodels.graphs import GraphView

log = logging.getLogger(__name__)

INTERVAL = 1.0
"""Seconds between looks."""

LINGER = 5.0
"""Seconds that a poll goes on without a viewer."""

FIRST_LOOK = 25.0
"""Seconds that a viewer waits for a poll's first look: some calls of 10 s may be slow at once."""

MOST_POLLS = 100
"""Graphs that one worker watches at once."""

WORKERS, MOST_WAITING = 16, 64
"""Threads for calls that block, and calls that may wait for one."""

CALL_DEADLINE = 30.0
"""Seconds for a call that says nothing else."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Frame:
    """One look as viewers get it. ``data`` is ``view`` as JSON, ``events`` are all that are known,
    ``number`` grows by one with each."""

    number: int
    view: GraphView
    data: bytes
    events: tuple[Event, ...]


class Viewer:
    """One who looks at a graph. It is of the event loop that it was made in."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._frame: Frame | None = None
        self._error: ApiError | None = None

    async def next(self, after: int, timeout: float) -> Frame | None:
        """The newest frame above number ``after``; None where none comes in ``timeout`` seconds.

        Raises the :class:`ApiError` that ended the poll.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._error is None and (self._frame is None or self._frame.number <= after):
                    self._news.clear()
                    await self._news.wait()
        if self._error is not None:
            raise self._error
        frame = self._frame
        return frame if frame is not None and frame.number > after else None

    def tell(self, frame: Frame | None, error: ApiError | None = None) -> None:
        """Called by the poll's thread."""
        # Its loop may have been closed meanwhile, and then nobody listens.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._take, frame, error)

    def _take(self, frame: Frame | None, error: ApiError | None) -> None:
        self._frame = frame or self._frame
        self._error = error
        self._news.set()


class Poll:
    """Looks at the graph of one DAG in a thread of its own."""

    def __init__(self, dag_id: str, ended: Callable[[Poll], bool]) -> None:
        self.dag_id = dag_id
        self.viewers: set[Viewer] = set()
        """Guarded by the runtime's lock."""
        self.latest: Frame | None = None
        self.last_viewed = time.monotonic()
        self.looks = 0
        self._ended = ended
        self._looker: Looker | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"hogar {dag_id}", daemon=True)

    def start(self) -> None:
        """Start looking."""
        self._thread.start()

    @property
    def stopped(self) -> bool:
        """Whether it looks no more."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Stop after the look that is under way."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            begun = time.monotonic()
            error: ApiError | None = None
            try:
                self.latest = self._frame()
            except ApiError as found:
                error = found
            except Exception:
                log.exception("looking at the graph of DAG %s failed", self.dag_id)
                error = ApiError(
                    500, "internal", "Looking at the graph failed; the API server's log says why."
                )
            if error is not None:
                self.stop()
            if self._ended(self):
                return
            for viewer in tuple(self.viewers):
                viewer.tell(self.latest, error)
            self._stop.wait(max(0.05, INTERVAL - (time.monotonic() - begun)))

    def _frame(self) -> Frame:
        declared = find_declared(self.dag_id)
        engine = engine_of(declared.conn_id)
        looker = self._looker
        if looker is None or (looker.home, looker.name) != (engine.home, declared.name):
            looker = self._looker = Looker(engine.home, declared.name, engine.name)
        view = graph_view(declared, looker.look(), looker.events)
        self.looks += 1
        return Frame(self.looks, view, view.model_dump_json().encode(), tuple(looker.events))


class Runtime:
    """The polls of one process, and its threads for calls that block."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._polls: dict[str, Poll] = {}
        self._threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="hogar-api")
        self._waiting = 0
        self._shared: dict[str, Future[Any]] = {}

    @property
    def polls(self) -> dict[str, Poll]:
        """Those that run, by DAG."""
        with self._lock:
            return dict(self._polls)

    @contextlib.contextmanager
    def viewer(self, dag_id: str) -> Iterator[Viewer]:
        """Look at the graph of a DAG for a while, with all who do."""
        viewer = Viewer()
        with self._lock:
            poll = self._polls.get(dag_id)
            if poll is None:
                if len(self._polls) >= MOST_POLLS:
                    raise ApiError(
                        503,
                        "too_many_graphs",
                        f"This API server watches {MOST_POLLS} graphs already; close some views "
                        "or try again later.",
                    )
                poll = self._polls[dag_id] = Poll(dag_id, self._has_ended)
                poll.start()
            poll.viewers.add(viewer)
            if poll.latest is not None:
                viewer.tell(poll.latest)
        try:
            yield viewer
        finally:
            with self._lock:
                poll.viewers.discard(viewer)
                poll.last_viewed = time.monotonic()

    async def frame(self, dag_id: str) -> Frame:
        """The newest frame of a graph, or the first one. Raises :class:`ApiError`."""
        with self.viewer(dag_id) as viewer:
            frame = await viewer.next(0, FIRST_LOOK)
        if frame is None:
            raise ApiError(
                504,
                "no_answer",
                f"The agent did not answer within {FIRST_LOOK:.0f} s. It may be overloaded; try "
                "again.",
            )
        return frame

    async def call(
        self,
        function: Callable[..., T],
        *arguments: object,
        timeout: float = CALL_DEADLINE,
        key: str = "",
    ) -> T:
        """What a function that blocks returns, from a thread. Raises :class:`ApiError` where none
        is free, or it takes more than ``timeout`` seconds; then it is left to end by itself.

        Calls with one ``key`` at one time are one call.
        """
        future = self._submit(key, partial(function, *arguments))
        try:
            async with asyncio.timeout(timeout):
                # Whoever stops waiting must not take the answer from the others.
                return await asyncio.shield(asyncio.wrap_future(future))
        except TimeoutError:
            raise ApiError(
                504, "no_answer", f"There was no answer within {timeout:.0f} s; try again."
            ) from None

    def _submit(self, key: str, function: Callable[[], T]) -> Future[T]:
        with self._lock:
            if key in self._shared:
                return self._shared[key]
            if self._waiting >= WORKERS + MOST_WAITING:
                raise ApiError(
                    503, "busy", "This API server waits for too many answers; try again shortly."
                )
            self._waiting += 1
            future = self._threads.submit(function)
            if key:
                self._shared[key] = future
        future.add_done_callback(partial(self._done, key))
        return future

    def close(self) -> None:
        """Stop all polls."""
        with self._lock:
            polls = list(self._polls.values())
            self._polls.clear()
        for poll in polls:
            poll.stop()

    def _done(self, key: str, _: object) -> None:
        with self._lock:
            self._waiting -= 1
            self._shared.pop(key, None)

    def _has_ended(self, poll: Poll) -> bool:
        """Whether the poll is over, as nobody has looked for a while. One that failed is forgotten,
        and tells its viewers."""
        with self._lock:
            idle = not poll.viewers and time.monotonic() - poll.last_viewed > LINGER
            if (idle or poll.stopped) and self._polls.get(poll.dag_id) is poll:
                del self._polls[poll.dag_id]
            return idle


runtime = Runtime()
"""This process's."""
