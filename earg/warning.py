"""What an agent cannot do at present, in sentences."""

from __future__ import annotations

from collections.abc import Callable


class Warnings:
    """Troubles that last. Each is told once when it begins and once when it is over, however often
    it is met meanwhile."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._sentences: dict[str, str] = {}

    @property
    def sentences(self) -> tuple[str, ...]:
        """Those that last, oldest first."""
        return tuple(self._sentences.values())

    def __contains__(self, what: object) -> bool:
        return what in self._sentences

    def begin(self, what: str, sentence: str) -> None:
        """There is this trouble with ``what``."""
        if self._sentences.get(what) != sentence:
            self._sentences[what] = sentence
            self._tell(sentence)

    def go_on(self, what: str, sentence: str) -> None:
        """As :meth:`begin`, of what is tried again and again: another sentence takes the place of
        the one before without being told."""
        if what in self._sentences:
            self._sentences[what] = sentence
        else:
            self.begin(what, sentence)

    def end(self, what: str, sentence: str) -> None:
        """There is none any more; ``sentence`` is told where there was one."""
        if self._sentences.pop(what, None) is not None:
            self._tell(sentence)
