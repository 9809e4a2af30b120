"""Questions to several agents at the same time, none of which waits for another's answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Generic, TypeVar

GRACE = 0.5
"""Seconds that are waited for one that was late the last time."""

KEPT = 10.0
"""Seconds for which an answer that came late is of use to whoever asks next."""

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass(slots=True)
class _Asked(Generic[T]):
    answer: Future[T] = field(default_factory=Future)
    ended: float = 0.0


class Asking(Generic[K, T]):
    """Asks each question in a thread of its own and waits ``patience`` seconds for all of them.

    One that has no answer by then goes on by itself, is not asked a second time meanwhile, and what
    it comes to is the answer of the next call. Who was late holds that call up by :data:`GRACE`
    seconds only. Not safe between threads.
    """

    def __init__(self, name: str, patience: float) -> None:
        self._name = name
        self._patience = patience
        self._asked: dict[K, _Asked[T]] = {}
        self._late: set[K] = set()

    def ask(self, questions: Mapping[K, Callable[[], T]]) -> dict[K, Future[T]]:
        """What each question came to, as a future that is done; those that are late are missing.
        Blocks."""
        now = time.monotonic()
        self._late &= questions.keys()
        for key, question in questions.items():
            asked = self._asked.get(key)
            if asked is None or (asked.answer.done() and now - asked.ended > KEPT):
                self._asked[key] = self._begin(key, question)
        for late, patience in ((False, self._patience), (True, GRACE)):
            wait(
                [self._asked[key].answer for key in questions if (key in self._late) is late],
                max(0.0, now + patience - time.monotonic()),
            )
        found = {}
        for key in questions:
            if self._asked[key].answer.done():
                found[key] = self._asked.pop(key).answer
                self._late.discard(key)
            else:
                self._late.add(key)
        return found

    def _begin(self, key: K, question: Callable[[], T]) -> _Asked[T]:
        asked: _Asked[T] = _Asked()

        def work() -> None:
            try:
                answer = question()
            except BaseException as error:
                asked.ended = time.monotonic()
                asked.answer.set_exception(error)
            else:
                asked.ended = time.monotonic()
                asked.answer.set_result(answer)

        # One that hangs must not keep the API server from stopping.
        threading.Thread(target=work, name=f"hogar {self._name} {key}", daemon=True).start()
        return asked
