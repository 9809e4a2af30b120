"""One version of one text, and what is found out of it when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from udgl.diagnostics import Diagnostic
from udgl.editor.positions import Lines
from udgl.editor.scanner import FLOWS, Kind, Scanned, scan


@dataclass(frozen=True, slots=True)
class Factor:
    """An entry or a factor: its word, and the offsets from its word to the end of its value."""

    word: str
    value: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Edge:
    """A flow line: the operators that it names, the block that it is in, and its offsets."""

    block: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    start: int
    end: int


@dataclass(slots=True)
class Section:
    """A section or a block: from its word to the end of what stands last in it."""

    word: str
    start: int
    word_end: int
    end: int
    name: str = ""
    """Of an operator what it is called, of meta what the graph is; empty where that is missing."""

    name_start: int = 0
    name_end: int = 0
    factors: list[Factor] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)


class Document:
    """``text`` as it was at ``version``. Nothing of it changes; the next version is another one."""

    def __init__(self, text: str, version: int | None = None, encoding: str = "utf-16") -> None:
        self.text = text
        self.version = version
        self.encoding = encoding

    @cached_property
    def lines(self) -> Lines:
        """The text's lines."""
        return Lines(self.text, self.encoding)

    @cached_property
    def words(self) -> list[Scanned]:
        """The words of the text, without white space."""
        return [word for word in scan(self.text) if word.kind is not Kind.SPACE]

    @cached_property
    def names(self) -> dict[str, list[Scanned]]:
        """For each name of an operator all places that it stands at, declarations among them."""
        found: dict[str, list[Scanned]] = {}
        for word in self.words:
            if word.kind in (Kind.DECLARATION, Kind.REFERENCE):
                found.setdefault(self.text_of(word), []).append(word)
        return found

    @cached_property
    def sections(self) -> list[Section]:
        """The sections and blocks, in order."""
        return list(_sections(self.text, self.words))

    @cached_property
    def operators(self) -> dict[str, Section]:
        """The declared operators; of two with one name the first."""
        found: dict[str, Section] = {}
        for section in self.sections:
            if section.word == "operator" and section.name:
                found.setdefault(section.name, section)
        return found

    @cached_property
    def findings(self) -> tuple[Diagnostic, ...]:
        """All that the parser and the checks have to say."""
        from udgl.parser import examine

        return examine(self.text)[1]

    @property
    def checked(self) -> bool:
        """Whether :attr:`findings` are there without a check."""
        return "findings" in self.__dict__

    def text_of(self, word: Scanned) -> str:
        """The characters of a word."""
        return self.text[word.start : word.end]

    def word_at(self, offset: int) -> Scanned | None:
        """The word at ``offset``, or that ends there."""
        from bisect import bisect_right

        after = bisect_right(self.words, offset, key=lambda word: word.start)
        for word in reversed(self.words[max(0, after - 2) : after]):
            if word.start <= offset < word.end:
                return word
        before = self.words[after - 1] if after else None
        return before if before is not None and before.end == offset else None


def _sections(text: str, words: list[Scanned]) -> Iterator[Section]:
    current: Section | None = None
    edge: list[Scanned] = []
    for word in words:
        if word.kind in (Kind.SECTION, Kind.BLOCK):
            if current is not None:
                _end_edge(text, current, edge)
                yield current
            name = text[word.start : word.end].split()[-1]
            current = Section(name, word.start, word.end, word.end)
            continue
        if current is None or word.kind is Kind.COMMENT:
            continue
        if current.word in FLOWS:
            if edge and ("\n" in (gap := text[edge[-1].end : word.start]) or "\r" in gap):
                _end_edge(text, current, edge)
            edge.append(word)
        elif word.kind is Kind.DECLARATION:
            current.name = text[word.start : word.end]
            current.name_start, current.name_end = word.start, word.end
        elif word.kind is Kind.KEY:
            current.factors.append(Factor(text[word.start : word.end], "", word.start, word.end))
        elif word.key:
            _add_value(text, current, word)
        if word.kind is not Kind.COMMA:
            current.end = word.end
    if current is not None:
        _end_edge(text, current, edge)
        yield current


def _add_value(text: str, section: Section, word: Scanned) -> None:
    """``word`` is a value, or a part of one; of a step of a batch schedule it belongs to batch."""
    if not section.factors or section.factors[-1].word != word.key:
        section.factors.append(Factor(word.key, "", word.start, word.end))
    last = section.factors[-1]
    between = text[last.end : word.start]
    # Steps of a schedule have commas before them, values on a line of their own have line ends.
    gap = ", " if "," in between and "#" not in between else " " if between else ""
    value = last.value + (gap if last.value else "") + text[word.start : word.end]
    section.factors[-1] = Factor(last.word, value, last.start, word.end)
    if section.word == "meta" and last.word == "name":
        section.name, section.name_start, section.name_end = value, word.start, word.end


def _end_edge(text: str, section: Section, words: list[Scanned]) -> None:
    """Make an edge of a flow line's words, and forget them."""
    sources: list[str] = []
    targets: list[str] = []
    names = sources
    for word in words:
        if word.kind is Kind.ARROW:
            names = targets
        elif word.kind is Kind.REFERENCE:
            names.append(text[word.start : word.end])
    if words:
        edge = Edge(section.word, tuple(sources), tuple(targets), words[0].start, words[-1].end)
        section.edges.append(edge)
        words.clear()
