"""What went wrong lately, however short it was."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator

import pytest

from earg.status import Event
from hogar_provider.plugins.api import runtime as runtime_module
from hogar_provider.plugins.api.declared import Declared
from hogar_provider.plugins.api.graph_view import Look
from hogar_provider.plugins.api.runtime import Runtime
from hogar_provider.plugins.api.streams import graph_events
from hogar_provider.plugins.api.troubles import MOST_STEPS, SHOWN, troubles

KILLED = "its model (pid 12) was killed by SIGKILL"


def events(*told: tuple[float, str, str, str], node: str = "A") -> list[Event]:
    return [
        Event(at, "Graph", node, what, before, after, number)
        for number, (at, what, before, after) in enumerate(told, start=1)
    ]


FAILOVER = events(
    (90.0, "it answers", "", "starting"),
    (91.0, "it answers", "starting", "ready"),
    (100.0, KILLED, "", ""),
    (100.001, KILLED, "ready", "recovering"),
    (100.034, "its backup took over in 34 ms", "", ""),
    (100.5, "its backup is being replaced", "recovering", "degraded"),
    (101.5, "has a new backup", "", ""),
    (101.6, "it answers", "degraded", "ready"),
)


def test_a_failover_between_two_looks_is_told_with_why_and_how_long() -> None:
    (found,) = troubles(FAILOVER, 102.0).values()
    assert (found.worst, found.began, found.ended, found.why) == (
        "recovering",
        100.0,
        101.6,
        KILLED,
    )
    assert [one.what for one in found.steps] == [
        "its backup took over in 34 ms",
        "has a new backup",
    ]
    assert troubles(FAILOVER, 101.6 + SHOWN - 0.1)
    assert not troubles(FAILOVER, 101.6 + SHOWN + 0.1)


def test_a_trouble_that_goes_on_has_no_end_and_is_not_forgotten() -> None:
    found = troubles(FAILOVER[:6], 5000.0)["A"]
    assert (found.worst, found.ended) == ("recovering", None)


def test_a_start_is_no_trouble_and_each_node_has_its_own() -> None:
    assert not troubles(FAILOVER[:2], 92.0)
    both = [*FAILOVER, *events((101.0, "gone", "ready", "dead"), node="B")]
    found = troubles(both, 102.0)
    assert {name: (one.worst, one.ended) for name, one in found.items()} == {
        "A": ("recovering", 101.6),
        "B": ("dead", None),
    }


def test_what_gets_worse_says_why_and_a_new_trouble_begins_anew() -> None:
    given_up = "5 starts failed"
    told = events(
        (100.0, KILLED, "ready", "degraded"),
        *((100.1 + n, f"did not come back: {n}", "", "") for n in range(9)),
        (110.0, given_up, "degraded", "dead"),
        (120.0, "it answers", "dead", "ready"),
        (130.0, "killed again", "ready", "recovering"),
    )
    found = troubles(told[:-2], 111.0)["A"]
    assert (found.worst, found.why, found.began) == ("dead", given_up, 100.0)
    assert [one.what[-1] for one in found.steps] == [*"0", *"45678"]
    assert len(found.steps) == MOST_STEPS
    again = troubles(told, 131.0)["A"]
    assert (again.worst, again.why, again.began, again.steps) == (
        "recovering",
        "killed again",
        130.0,
        [],
    )


# --- the stream ---------------------------------------------------------------------------------


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """The events that a graph's looks know of; there are 20 looks a second."""
    found: list[Event] = []

    class Looker:
        def __init__(self, home: object, name: str, engine: str) -> None:
            self.home, self.name, self.events = home, name, found

        def look(self) -> Look:
            return Look(time.time(), reachable=True)

    class Engine:
        home, name = "home", "local"

    monkeypatch.setattr(runtime_module, "Looker", Looker)
    monkeypatch.setattr(runtime_module, "engine_of", lambda conn_id: Engine)
    monkeypatch.setattr(
        runtime_module,
        "find_declared",
        lambda dag_id: Declared(dag_id, dag_id, "1", "", "", "", None),
    )
    monkeypatch.setattr(runtime_module, "INTERVAL", 0.05)
    return found


@pytest.fixture
def shared() -> Iterator[Runtime]:
    made = Runtime()
    yield made
    made.close()


def read(shared: Runtime, after: int | None, change: list[Event] | None = None) -> list[str]:
    """The first three messages of a stream; ``change`` happens after the first of them."""

    async def whole() -> list[str]:
        parts: list[str] = []
        async for part in graph_events(shared, "Graph", "ann", after, longest=20):
            if part.startswith(b"event: "):
                parts.append(part.decode())
                told_list = change or []
                if len(parts) == 1 and told_list:
                    shared.polls["Graph"]._looker.events.extend(told_list)  # type: ignore[union-attr]
            if len(parts) == 3:
                break
        return parts

    return asyncio.run(whole())


def numbers(part: str) -> list[int]:
    data = part.partition("data: ")[2]
    return [one["number"] for one in json.loads(data)["events"]]


def number_of(part: str) -> str:
    return part.partition("\nid: ")[2].partition("\n")[0]


def test_a_stream_begins_with_the_events_of_the_last_minute(
    shared: Runtime, told: list[Event]
) -> None:
    now = time.time()
    told += [
        Event(now - 200, "Graph", "A", "old", number=3),
        Event(now, "Graph", "A", "new", number=7),
    ]
    first, second, _ = read(shared, None)
    assert first.startswith("event: events\n")
    assert numbers(first) == [7]
    assert second.startswith("event: graph\n")
    assert number_of(second) == "7"


def test_a_stream_that_goes_on_tells_what_happened_while_it_was_away(
    shared: Runtime, told: list[Event]
) -> None:
    """Every message carries the number, so also a quiet stream's successor knows where to go on."""
    told.append(Event(time.time() - 200, "Graph", "A", "old", number=3))
    (first, *_) = read(shared, None)
    assert first.startswith("event: graph\n")
    assert number_of(first) == "3"
    told.append(Event(time.time() - 100, "Graph", "A", "missed", number=4))
    parts = read(shared, int(number_of(first)))
    assert [numbers(part) for part in parts if part.startswith("event: events")] == [[4]]


def test_what_happened_since_the_last_look_comes_before_the_next_one(
    shared: Runtime, told: list[Event]
) -> None:
    parts = read(shared, None, [Event(time.time(), "Graph", "A", "now", number=9)])
    kinds = [part.partition("\n")[0] for part in parts]
    at = kinds.index("event: events")
    assert kinds[at + 1 : at + 2] in (["event: graph"], [])
    assert numbers(parts[at]) == [9]
