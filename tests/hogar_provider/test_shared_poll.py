"""One poll for all who look at a graph: when it begins, what it tells, when it ends."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from hogar_provider.plugins.api import runtime as runtime_module
from hogar_provider.plugins.api import streams as streams_module
from hogar_provider.plugins.api.declared import Declared
from hogar_provider.plugins.api.errors import ApiError
from hogar_provider.plugins.api.graph_view import Look
from hogar_provider.plugins.api.runtime import Runtime
from hogar_provider.plugins.api.streams import MOST_OF_A_USER, Streams, graph_events

PATIENCE = 20.0


class Looks:
    """Stands in for the agent's calls: counts looks, and the threads that look."""

    def __init__(self) -> None:
        self.count = 0
        self.threads: set[int] = set()
        self.error: ApiError | None = None


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    """The looks of this test, 20 a second; polls end half a second after the last viewer."""
    found = Looks()

    class Looker:
        def __init__(self, home: object, name: str, engine: str) -> None:
            self.home, self.name = home, name
            self.events: list[object] = []

        def look(self) -> Look:
            found.count += 1
            found.threads.add(threading.get_ident())
            return Look(time.time(), reachable=True)

    class Engine:
        home, name = "home", "local"

    def find_declared(dag_id: str) -> Declared:
        if found.error is not None:
            raise found.error
        return Declared(dag_id, dag_id, "1", "", "", "", None)

    monkeypatch.setattr(runtime_module, "Looker", Looker)
    monkeypatch.setattr(runtime_module, "engine_of", lambda conn_id: Engine)
    monkeypatch.setattr(runtime_module, "find_declared", find_declared)
    monkeypatch.setattr(runtime_module, "INTERVAL", 0.05)
    monkeypatch.setattr(runtime_module, "LINGER", 0.5)
    return found


@pytest.fixture
def shared(looks: Looks) -> Iterator[Runtime]:
    """A process's polls."""
    made = Runtime()
    yield made
    made.close()


async def until_ended(runtime: Runtime) -> None:
    deadline = time.monotonic() + PATIENCE
    while runtime.polls:
        assert time.monotonic() < deadline, "the poll goes on"
        await asyncio.sleep(0.05)


def test_many_viewers_share_one_poll_that_ends_after_the_last(
    shared: Runtime, looks: Looks
) -> None:
    async def view() -> list[int]:
        numbers = []
        with shared.viewer("Graph") as viewer:
            number = 0
            for _ in range(5):
                frame = await viewer.next(number, PATIENCE)
                assert frame is not None
                number = frame.number
                numbers.append(number)
        return numbers

    async def all_view() -> None:
        seen = await asyncio.gather(*(view() for _ in range(50)))
        assert all(numbers == sorted(set(numbers)) for numbers in seen)
        await until_ended(shared)

    asyncio.run(all_view())
    assert len(looks.threads) == 1
    ended = looks.count
    time.sleep(0.3)
    assert looks.count == ended, "it looks on although nobody does"


def test_each_graph_has_a_poll_of_its_own(shared: Runtime, looks: Looks) -> None:
    async def both() -> None:
        first, second = await asyncio.gather(shared.frame("First"), shared.frame("Second"))
        assert (first.view.dag_id, second.view.dag_id) == ("First", "Second")
        assert set(shared.polls) == {"First", "Second"}

    asyncio.run(both())
    assert len(looks.threads) == 2


def test_a_question_soon_after_another_finds_the_poll_running(
    shared: Runtime, looks: Looks
) -> None:
    async def twice() -> tuple[int, int]:
        first = await shared.frame("Graph")
        await asyncio.sleep(0.2)
        second = await shared.frame("Graph")
        return first.number, second.number

    first, second = asyncio.run(twice())
    assert second > first
    assert len(looks.threads) == 1


def test_a_failure_reaches_every_viewer_and_the_next_one_tries_anew(
    shared: Runtime, looks: Looks
) -> None:
    looks.error = ApiError(404, "no_such_dag", "There is none.")

    async def all_fail() -> None:
        results = await asyncio.gather(
            *(shared.frame("Graph") for _ in range(5)), return_exceptions=True
        )
        assert [getattr(one, "code", one) for one in results] == ["no_such_dag"] * 5
        looks.error = None
        assert (await shared.frame("Graph")).view.dag_id == "Graph"

    asyncio.run(all_fail())


def test_a_stream_ends_by_itself_and_leaves_nothing_behind(shared: Runtime, looks: Looks) -> None:
    async def read() -> list[bytes]:
        return [part async for part in graph_events(shared, "Graph", "ann", None, longest=0.5)]

    async def whole() -> list[bytes]:
        parts = await read()
        assert streams_module.streams.open == 0
        await until_ended(shared)
        return parts

    parts = asyncio.run(whole())
    assert parts[0] == b"retry: 500\n\n"
    event, data, *_ = parts[1].decode().splitlines()
    assert event == "event: graph"
    assert json.loads(data.removeprefix("data: "))["dag_id"] == "Graph"
    assert len(parts) >= 4


def test_a_stream_ends_when_the_server_is_asked_to(shared: Runtime, looks: Looks) -> None:
    class Server:  # as Uvicorn's
        should_exit = False

        def handle_exit(self, *_: object) -> None:
            self.should_exit = True

    server = Server()
    before = signal.signal(signal.SIGTERM, server.handle_exit)

    async def read() -> int:
        parts = 0
        async for _ in graph_events(shared, "Graph", "ann", None, longest=10 * PATIENCE):
            parts += 1
            if parts == 3:
                signal.raise_signal(signal.SIGTERM)
        return parts

    try:
        assert asyncio.run(read()) >= 3
    finally:
        signal.signal(signal.SIGTERM, before)
    assert server.should_exit


def test_a_stream_whose_graph_goes_away_says_so(shared: Runtime, looks: Looks) -> None:
    async def read() -> list[bytes]:
        parts = []
        async for part in graph_events(shared, "Graph", "ann", None, longest=PATIENCE):
            parts.append(part)
            looks.error = ApiError(404, "no_such_dag", "It is gone.")
        return parts

    last = asyncio.run(read())[-1].decode()
    assert last.startswith("event: failed\n")
    assert "It is gone." in last


def test_streams_of_one_user_are_bounded_and_others_are_not_in_the_way() -> None:
    counted = Streams()
    opened = [counted.opened("ann") for _ in range(MOST_OF_A_USER)]
    for one in opened:
        one.__enter__()
    with pytest.raises(ApiError, match="close some of them"):
        counted.admit("ann")
    counted.admit("bob")
    opened[0].__exit__(None, None, None)
    counted.admit("ann")


def test_a_call_that_takes_too_long_is_given_up_with_a_sentence(shared: Runtime) -> None:
    free = threading.Event()

    async def wait() -> None:
        with pytest.raises(ApiError, match="no answer within") as caught:
            await shared.call(free.wait, PATIENCE, timeout=0.1)
        assert caught.value.status == 504

    asyncio.run(wait())
    free.set()


def test_more_calls_than_threads_can_take_are_refused(
    shared: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_module, "MOST_WAITING", 0)
    free = threading.Event()

    async def crowd() -> list[object]:
        calls = [
            asyncio.create_task(shared.call(free.wait, PATIENCE))
            for _ in range(runtime_module.WORKERS + 4)
        ]
        await asyncio.sleep(0.1)
        free.set()
        return list(await asyncio.gather(*calls, return_exceptions=True))

    results = asyncio.run(crowd())
    assert [getattr(one, "code", one) for one in results] == [
        *[True] * runtime_module.WORKERS,
        *["busy"] * 4,
    ]


def test_calls_for_the_same_at_one_time_are_one(shared: Runtime) -> None:
    free = threading.Event()
    calls = []

    def work() -> int:
        calls.append(1)
        free.wait(PATIENCE)
        return len(calls)

    async def crowd() -> list[int]:
        impatient = asyncio.create_task(shared.call(work, key="same", timeout=0.1))
        others = [asyncio.create_task(shared.call(work, key="same")) for _ in range(50)]
        with pytest.raises(ApiError, match="no answer within"):
            await impatient
        free.set()
        return await asyncio.gather(*others)

    assert asyncio.run(crowd()) == [1] * 50
    assert asyncio.run(shared.call(work, key="same")) == 2
