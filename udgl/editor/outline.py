"""What a text is made of, as a tree, and which of its lines can be folded."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from udgl.editor.document import Document, Section
from udgl.editor.scanner import FLOWS, Kind
from udgl.vocabulary import BLOCKS

_MOST_WITH_FACTORS = 2000
"""Operators up to which the tree has each factor."""


class Branch(Enum):
    """What a part of the tree is."""

    META = "meta"
    """The graph's name, version and other entries."""

    DEFAULTS = "defaults"
    """The factors of all operators."""

    OPERATOR = "operator"
    """An operator."""

    FACTOR = "factor"
    """A factor or an entry."""

    FLOW = "flow"
    """Flows."""

    BLOCK = "block"
    """A block of flow lines."""

    EDGE = "edge"
    """A flow line."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the text from ``start`` to before ``end``; ``at`` and ``at_end`` are where its
    name stands, ``detail`` is shown beside it."""

    name: str
    detail: str
    branch: Branch
    start: int
    end: int
    at: int
    at_end: int
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Fold:
    """Lines, counted from 0, of which all but the first can be hidden."""

    first: int
    last: int
    comment: bool = False


def outline(document: Document) -> list[Part]:
    """The sections in order; the blocks are parts of the flow that they stand below."""
    found: list[Part] = []
    whole = len(document.operators) <= _MOST_WITH_FACTORS
    flow: list[Part] = []
    head: Section | None = None
    for section in document.sections:
        if section.word in BLOCKS and head is not None:
            flow.append(_block(section, document, whole))
            continue
        if head is not None:
            found.append(_flow(head, flow))
            flow, head = [], None
        if section.word == "flow":
            head = section
        elif section.word in FLOWS:
            found.append(_block(section, document, whole))
        else:
            found.append(_declared(section, whole))
    if head is not None:
        found.append(_flow(head, flow))
    return found


def _declared(section: Section, whole: bool) -> Part:
    branch = {"meta": Branch.META, "defaults": Branch.DEFAULTS}.get(section.word, Branch.OPERATOR)
    factors = tuple(
        Part(f.word, f.value[:200], Branch.FACTOR, f.start, f.end, f.start, f.end)
        for f in section.factors
        if whole
    )
    name, at, at_end = section.word, section.start, section.word_end
    detail = section.name if branch is Branch.META else ""
    if branch is Branch.OPERATOR:
        detail = next((f.value[:200] for f in section.factors if f.word == "image"), "")
        if section.name:
            name, at, at_end = section.name, section.name_start, section.name_end
    return Part(name, detail, branch, section.start, section.end, at, at_end, factors)


def _flow(section: Section, blocks: list[Part]) -> Part:
    end = blocks[-1].end if blocks else section.end
    place = (section.start, end, section.start, section.word_end)
    return Part("flow", "", Branch.FLOW, *place, tuple(blocks))


def _block(section: Section, document: Document, whole: bool) -> Part:
    edges = tuple(
        Part(
            " ".join(document.text[e.start : e.end][:200].split()),
            *("", Branch.EDGE, e.start, e.end, e.start, e.end),
        )
        for e in section.edges
        if whole
    )
    place = (section.start, section.end, section.start, section.word_end)
    return Part(section.word, "", Branch.BLOCK, *place, edges)


def folds(document: Document) -> list[Fold]:
    """Sections, flows and runs of comments that take more than one line."""
    lines = document.lines
    found = []
    for part in outline(document):
        for one in (part, *(p for p in part.parts if p.branch is Branch.BLOCK)):
            first, last = lines.line_at(one.start), lines.line_at(max(one.start, one.end - 1))
            if last > first:
                found.append(Fold(first, last))
    run: tuple[int, int] | None = None
    used = -1
    for word in document.words:
        line = lines.line_at(word.start)
        if word.kind is not Kind.COMMENT:
            used = lines.line_at(word.end)
        elif line != used:
            if run is not None and line == run[1] + 1:
                run = (run[0], line)
                continue
            if run is not None and run[1] > run[0]:
                found.append(Fold(*run, comment=True))
            run = (line, line)
    if run is not None and run[1] > run[0]:
        found.append(Fold(*run, comment=True))
    return sorted(found, key=lambda fold: (fold.first, -fold.last))
