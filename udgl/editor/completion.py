"""What may be typed at a place of a text, whatever the rest of the text is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from udgl.editor.document import Document
from udgl.editor.scanner import FLOWS, NAME, Expects, Scanner
from udgl.engines import ENGINES
from udgl.vocabulary import BLOCKS, CASES, ENTRIES, FACTORS, NOT_IN_DEFAULTS, SECTIONS, Word


class Sort(Enum):
    """What a proposal is."""

    KEYWORD = "keyword"
    """A section, a block, or a word of a case."""

    FACTOR = "factor"
    """A factor or an entry."""

    OPERATOR = "operator"
    """An operator's name."""

    VALUE = "value"
    """A value."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """``text`` replaces what stands from ``start`` to ``end``, in characters; ``label`` is shown
    in the list, ``detail`` beside it, ``meaning`` (Markdown) where a person asks for more."""

    label: str
    text: str
    start: int
    end: int
    sort: Sort
    detail: str = ""
    meaning: str = ""


_PAYLOADS = ("text", "json", "bytes", "audio/wav", "image/png", "image/jpeg", "fp32[1]")
_VALUES: dict[str, tuple[tuple[str, str], ...]] = {
    "stateful": (("Yes", "keeps state between requests"), ("No", "keeps none")),
    "batch": (("dynamic", "the limit adapts to the load"), ("32", ""), ("1", "no batching")),
    "backup": (("1", ""), ("0", "")),
    "engine": tuple(ENGINES.items()),
    "schedule": tuple((f"@{word}", "") for word in ("hourly", "daily", "weekly", "monthly")),
    "input": tuple((payload, "") for payload in _PAYLOADS),
    "output": tuple((payload, "") for payload in _PAYLOADS),
}
_CONDITION = (
    ("==", "the same value"),
    ("!=", "another value"),
    ("<", "a smaller number"),
    ("<=", "no greater number"),
    (">", "a greater number"),
    (">=", "no smaller number"),
    ("contains", "text that holds the text, or a list the member"),
    ("and", "both comparisons hold"),
    ("true", ""),
    ("false", ""),
    ("null", ""),
)
_SECTION_LINE = re.compile(
    r"[^\S\r\n]*+(?:meta|defaults|operator|(?:logical[^\S\r\n]++)?flow"
    r"|distribute|reduce|switch|split)(?![^\s,#])(?![^\S\r\n]*+(?:,|→|->))"
)
_OPERATOR_LINE = re.compile(r"(?:^|[\r\n])[^\S\r\n]*operator[^\S\r\n]+([A-Za-z][^\s,#]*)")
_STOPS = frozenset(" \t\r\n\f\v,#→")
_FARTHEST = 2000
"""Lines of a section after a place that are searched for what it has already."""

_MOST = 2000
"""Proposals that are made at most: no person reads more."""


def complete(document: Document, offset: int) -> list[Proposal]:
    """What may stand at ``offset``, in the order in which it is likely meant. A word that the
    place is in, or at the end of, is replaced up to the place.

    Reads back no further than to the section's start, so that large texts cost little more.
    """
    start = _word_start(document, offset)
    scanner = _scanner(document, start)
    for _ in scanner.scan():
        pass
    if scanner.comment:
        return []
    maker = _Maker(document, start, offset)
    return list(_first(maker.proposals(scanner)))


def _scanner(document: Document, offset: int) -> Scanner:
    """A scanner that ends at ``offset``, in the state that the whole text would lead to."""
    text = document.text
    start = _section_start(document, offset)
    found = _SECTION_LINE.match(text, start)
    word = found.group().split()[-1] if found else ""
    line = document.lines.start(document.lines.line_at(offset))
    if word not in FLOWS or line == start:
        return Scanner(text[start:offset])
    # Flow lines do not depend on each other.
    scanner = Scanner(text[line:offset])
    scanner.section, scanner.expects = word, Expects.SOURCE
    return scanner


def _first(found: Iterable[Proposal]) -> Iterator[Proposal]:
    seen: set[str] = set()
    for proposal in found:
        if proposal.label not in seen:
            seen.add(proposal.label)
            yield proposal
        if len(seen) >= _MOST:
            return


def _word_start(document: Document, offset: int) -> int:
    text = document.text
    first = document.lines.start(document.lines.line_at(offset))
    start = offset
    while start > first and text[start - 1] not in _STOPS and text[start - 2 : start] != "->":
        start -= 1
    return start


def _section_start(document: Document, offset: int) -> int:
    """The start of the line on which the section starts that ``offset`` is in."""
    lines = document.lines
    here = lines.line_at(offset)
    for line in range(here, -1, -1):
        start = lines.start(line)
        found = _SECTION_LINE.match(document.text, start)
        if found and found.end() <= offset:
            return start
    return 0


class _Maker:
    """Makes the proposals that replace one stretch of the text."""

    def __init__(self, document: Document, start: int, end: int) -> None:
        self._document = document
        self._start = start
        self._end = end

    def proposals(self, scanner: Scanner) -> Iterator[Proposal]:
        expects, section = scanner.expects, scanner.section
        if expects is Expects.ITEM:
            if section:
                yield from self._keys(section)
            if scanner.first:
                yield from self._sections(section)
        elif expects is Expects.VALUE:
            yield from self._values(scanner.key)
            if scanner.first and scanner.section != "meta":
                yield from self._keys(section)
        elif expects is Expects.NAME:
            yield from self._undeclared()
        elif expects in (Expects.SOURCE, Expects.TARGET):
            yield from self._operators()
            if scanner.first:
                yield from self._blocks()
                yield from self._sections(section)
        elif expects is Expects.CASE and scanner.arrow:
            if section == "switch":
                for word in CASES.values():
                    yield self._word(word, Sort.KEYWORD)
            elif section == "split":
                yield self._value("50%", "of the requests")
        elif expects is Expects.CONDITION:
            for label, detail in _CONDITION:
                yield self._value(label, detail)
        elif section == "flow" and scanner.first:
            yield from self._blocks()

    def _keys(self, section: str) -> Iterator[Proposal]:
        """The entries or factors that may still be given."""
        words = ENTRIES if section == "meta" else FACTORS
        given = self._given()
        for word in words.values():
            if section == "defaults" and word.word in NOT_IN_DEFAULTS:
                continue
            if word.word not in given or word.repeated:
                yield self._word(word, Sort.FACTOR, " ")

    def _given(self) -> set[str]:
        """The entries or factors that the section around the place has, but the one there."""
        document, start = self._document, self._start
        first = _section_start(document, start)
        last = document.lines.line_at(start)
        while last + 1 < len(document.lines) and last - document.lines.line_at(start) < _FARTHEST:
            if _SECTION_LINE.match(document.text, document.lines.start(last + 1)):
                break
            last += 1
        part = document.text[first : document.lines.end(last)]
        return {
            word.key
            for word in Scanner(part).scan()
            if word.key and not word.start <= start - first < word.end
        }

    def _sections(self, section: str) -> Iterator[Proposal]:
        if not section and "meta" not in self._document.text[: self._start]:
            yield self._word(SECTIONS["meta"], Sort.KEYWORD)
        yield self._word(SECTIONS["operator"], Sort.KEYWORD, " ")
        flow = SECTIONS["flow"]
        yield self._keyword("logical flow", flow)
        yield self._keyword("flow", flow)
        if section in FLOWS:
            yield from self._blocks()
        yield self._word(SECTIONS["defaults"], Sort.KEYWORD)
        yield self._word(SECTIONS["meta"], Sort.KEYWORD)

    def _blocks(self) -> Iterator[Proposal]:
        for word in BLOCKS.values():
            yield self._word(word, Sort.KEYWORD)

    def _values(self, key: str) -> Iterator[Proposal]:
        for label, detail in _VALUES.get(key, ()):
            yield self._value(label, detail)
        if key == "platform":
            from udgl.targets import target_names

            for name in target_names():
                yield self._value(name, "a target platform")
        word = FACTORS.get(key) or ENTRIES.get(key)
        if word is not None and key not in _VALUES and key not in ("platform", "name"):
            example = word.example.removeprefix(f"{key} ")
            yield self._value(example, "for example")

    def _operators(self) -> Iterator[Proposal]:
        operators = self._declared()
        for name in operators:
            if NAME.fullmatch(name):
                yield Proposal(name, name, self._start, self._end, Sort.OPERATOR, "operator")

    def _declared(self) -> dict[str, None]:
        return dict.fromkeys(
            found.group(1)
            for found in _OPERATOR_LINE.finditer(self._document.text)
            if not found.start(1) <= self._start <= found.end(1)
        )

    def _undeclared(self) -> Iterator[Proposal]:
        """The names that flow lines use and no operator has."""
        declared = self._declared()
        for name, places in self._document.names.items():
            if name not in declared and any(p.start != self._start for p in places):
                yield Proposal(name, name, self._start, self._end, Sort.OPERATOR, "not declared")

    def _word(self, word: Word, sort: Sort, after: str = "") -> Proposal:
        meaning = describe(word)
        detail = word.example if word.value else ""
        text = word.word + after
        return Proposal(word.word, text, self._start, self._end, sort, detail, meaning)

    def _keyword(self, label: str, word: Word) -> Proposal:
        return Proposal(label, label, self._start, self._end, Sort.KEYWORD, "", describe(word))

    def _value(self, label: str, detail: str) -> Proposal:
        return Proposal(label, label, self._start, self._end, Sort.VALUE, detail)


def describe(word: Word) -> str:
    """A word of the language as Markdown: its meaning, and an example."""
    return f"{word.meaning}\n\n```udgl\n{word.example}\n```"
