"""The name that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_BUDGET = 50_000
"""Comparisons a file may cost: a hint is not worth quadratic time."""

_LONGEST = 64
"""Longer words are not compared: the time grows with the square of their length."""


class Suggestions:
    """Looks names up among ``names``, first without regard to case, then by likeness."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names: Sequence[str] = list(names)
        self._by_lower: dict[str, str] | None = None
        self._left = _BUDGET
        self._found: dict[str, str | None] = {}

    def near(self, word: str) -> str | None:
        """The name most like ``word``, or None where nothing is like it."""
        if word not in self._found:
            self._found[word] = self._look_up(word)
        return self._found[word]

    def _look_up(self, word: str) -> str | None:
        if self._by_lower is None:
            self._by_lower = {name.lower(): name for name in reversed(self._names)}
        exact = self._by_lower.get(word.lower())
        if exact is not None:
            return exact
        if len(word) > _LONGEST or self._left < len(self._names):
            return None
        from difflib import get_close_matches

        self._left -= len(self._names)
        likely = [name for name in self._by_lower if abs(len(name) - len(word)) <= 8]
        close = get_close_matches(word.lower(), likely, n=1, cutoff=0.7)
        return self._by_lower[close[0]] if close else None
