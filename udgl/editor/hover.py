"""What the word at a place means, as Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from udgl.editor.completion import describe
from udgl.editor.document import Document, Section
from udgl.editor.scanner import Kind, Scanned
from udgl.vocabulary import BLOCKS, CASES, ENTRIES, FACTORS, SECTIONS, Word

_MOST_NAMES = 12


@dataclass(frozen=True, slots=True)
class Hover:
    """``text`` is Markdown about what stands from ``start`` to before ``end``."""

    text: str
    start: int
    end: int


def hover(document: Document, offset: int) -> Hover | None:
    """What is known of the word at ``offset``: of an operator its factors and where it flows, of a
    word of the language its meaning and an example."""
    word = document.word_at(offset)
    if word is None:
        return None
    if word.kind in (Kind.DECLARATION, Kind.REFERENCE):
        text = _of_operator(document, document.text_of(word))
    elif (meant := _meant(document, word)) is not None:
        text = f"**{document.text_of(word)}** — {describe(meant)}"
    else:
        return None
    return Hover(text, word.start, word.end)


def _meant(document: Document, word: Scanned) -> Word | None:
    text = document.text_of(word)
    if word.kind is Kind.SECTION:
        return SECTIONS.get(text.split()[-1])
    if word.kind is Kind.BLOCK:
        return BLOCKS.get(text)
    if word.kind is Kind.MODIFIER:
        return CASES.get(text) or FACTORS.get(word.key)
    if not word.key or word.kind is Kind.ERROR:
        return None
    section = next((s for s in reversed(document.sections) if s.start < word.start), None)
    words = ENTRIES if section is not None and section.word == "meta" else FACTORS
    return words.get(word.key) or ENTRIES.get(word.key)


def _of_operator(document: Document, name: str) -> str:
    operator = document.operators.get(name)
    if operator is None:
        return f"**{name}** is not declared. Declare it with `operator {name}`."
    parts = ["```udgl\n" + "\n".join(_declaration(operator)) + "\n```"]
    before: dict[str, None] = {}
    after: dict[str, None] = {}
    for section in document.sections:
        for edge in section.edges:
            if name in edge.sources:
                after |= dict.fromkeys(f"`{target}` ({edge.block})" for target in edge.targets)
            if name in edge.targets:
                before |= dict.fromkeys(f"`{source}` ({edge.block})" for source in edge.sources)
    parts.append(f"Flows in from {_listed(before)}." if before else "Nothing flows in.")
    parts.append(f"Flows to {_listed(after)}." if after else "Flows to no other operator.")
    return "\n\n".join(parts)


def _declaration(operator: Section) -> list[str]:
    # A value is within one line and without a back-tick run that would end the block.
    factors = [f"{f.word} {f.value}".replace("```", "'''")[:200] for f in operator.factors[:60]]
    return [f"operator {operator.name}", *factors]


def _listed(names: dict[str, None]) -> str:
    shown = list(names)[:_MOST_NAMES]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
