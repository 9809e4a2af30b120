"""Positions as editors count them: lines from 0, and code units of an encoding within a line.

The language counts characters; LSP counts UTF-16 code units unless client and server agree on
another unit. Lines end at LF, CRLF or CR alone, for both.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import NamedTuple

from udgl.graph import Span

_LINE_END = re.compile(r"\r\n|\r|\n")

ENCODINGS = ("utf-16", "utf-8", "utf-32")
"""The units that :class:`Lines` can count."""


class Place(NamedTuple):
    """``line`` counts from 0, ``column`` in code units from 0."""

    line: int
    column: int


def units(text: str, encoding: str) -> int:
    """How many code units ``text`` takes."""
    if encoding == "utf-32" or text.isascii():
        return len(text)
    if encoding == "utf-8":
        return len(text.encode("utf-8", "surrogatepass"))
    return len(text) + sum(c > "\uffff" for c in text)


class Lines:
    """The lines of ``text``; looks places and offsets in characters up in both directions."""

    def __init__(self, text: str, encoding: str = "utf-16") -> None:
        self.text = text
        self.encoding = encoding
        self._starts = [0]
        self._ends = []
        for found in _LINE_END.finditer(text):
            self._ends.append(found.start())
            self._starts.append(found.end())
        self._ends.append(len(text))

    def __len__(self) -> int:
        return len(self._starts)

    def start(self, line: int) -> int:
        """The offset at which the line, counted from 0, starts."""
        return self._starts[line]

    def end(self, line: int) -> int:
        """The offset of the line's end, before what ends it."""
        return self._ends[line]

    def line_at(self, offset: int) -> int:
        """The line, counted from 0, that ``offset`` is in."""
        return bisect_right(self._starts, offset) - 1

    def place(self, offset: int) -> Place:
        """Where the character at ``offset`` is; of offsets beyond the text, its end."""
        offset = max(0, min(offset, len(self.text)))
        line = self.line_at(offset)
        start = self._starts[line]
        before = self.text[start : max(start, min(offset, self._ends[line]))]
        return Place(line, units(before, self.encoding))

    def offset(self, line: int, column: int) -> int:
        """The character at a place; of places beyond the text or a line, the end of that. A place
        within a character is that character's."""
        if line < 0:
            return 0
        if line >= len(self._starts):
            return len(self.text)
        start, end = self._starts[line], self._ends[line]
        if column <= 0:
            return start
        content = self.text[start:end]
        if self.encoding == "utf-32" or content.isascii():
            return min(start + column, end)
        for position, character in enumerate(content):
            column -= units(character, self.encoding)
            if column < 0:
                return start + position
        return end

    def of_span(self, span: Span | None) -> tuple[int, int]:
        """The offsets of a span of the language; the text's start without one."""
        if span is None:
            return 0, 0
        line = min(span.line - 1, len(self._starts) - 1)
        start, end = self._starts[line], self._ends[line]
        if line == 0 and self.text.startswith("\ufeff"):
            # The language does not count a byte order mark.
            start = min(start + 1, end)
        first = min(start + span.column - 1, end)
        return first, max(first, min(start + span.end_column - 1, end))
