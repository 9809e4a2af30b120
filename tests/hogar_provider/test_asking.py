"""Questions that are asked at the same time: what a late one costs the others, and its answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from hogar_provider.plugins.api import asking
from hogar_provider.plugins.api.asking import Asking

PATIENCE = 0.4


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """Questions that wait for it end with the test."""
    event = threading.Event()
    yield event
    event.set()


def answers(asked: Asking[str, str], **questions: Callable[[], str]) -> dict[str, str]:
    return {key: answer.result() for key, answer in asked.ask(questions).items()}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_all_are_asked_at_the_same_time() -> None:
    together = threading.Barrier(8)

    def question() -> str:
        together.wait(20)
        return "here"

    asked: Asking[str, str] = Asking("test", 20)
    found = asked.ask(dict.fromkeys("abcdefgh", question))
    assert {key: answer.result() for key, answer in found.items()} == dict.fromkeys(
        "abcdefgh", "here"
    )


def test_one_that_hangs_holds_the_others_up_once_and_is_not_asked_again_meanwhile(
    held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "GRACE", 0.0)
    asked: Asking[str, str] = Asking("test", PATIENCE)
    times = []

    def hangs() -> str:
        times.append(time.monotonic())
        held.wait(60)
        return "at last"

    begun = time.monotonic()
    assert answers(asked, good=lambda: "yes", bad=hangs) == {"good": "yes"}
    assert time.monotonic() - begun >= PATIENCE
    for _ in range(3):
        begun = time.monotonic()
        assert answers(asked, good=lambda: "yes", bad=hangs) == {"good": "yes"}
    assert len(times) == 1
    held.set()
    until(lambda: asked._asked["bad"].answer.done())
    assert answers(asked, good=lambda: "yes", bad=hangs) == {"good": "yes", "bad": "at last"}
    assert len(times) == 1, "the answer that came late is the answer"
    assert answers(asked, bad=hangs) == {"bad": "at last"}
    assert len(times) == 2


def test_what_was_answered_long_ago_is_asked_anew(
    held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Asking[str, str] = Asking("test", 0.05)

    def hangs() -> str:
        held.wait(60)
        return "old"

    assert answers(asked, one=hangs) == {}
    held.set()
    until(lambda: asked._asked["one"].answer.done())
    monkeypatch.setattr(asking, "KEPT", -1.0)
    monkeypatch.setattr(asking, "GRACE", 20.0)
    assert answers(asked, one=lambda: "new") == {"one": "new"}


def test_an_error_is_an_answer() -> None:
    def fails() -> str:
        raise ValueError("no")

    asked: Asking[str, str] = Asking("test", 20)
    found = asked.ask({"one": fails})
    assert isinstance(found["one"].exception(), ValueError)
