"""Where an operator's name stands, and how it is changed everywhere at once."""

from __future__ import annotations

from dataclasses import dataclass

from udgl.diagnostics import quote
from udgl.editor.document import Document
from udgl.editor.scanner import NAME, Kind, Scanned


class RenameError(ValueError):
    """The name cannot be had; the message is a sentence for the person who asked."""


@dataclass(frozen=True, slots=True)
class Edit:
    """``text`` replaces what stands from ``start`` to before ``end``, in characters."""

    start: int
    end: int
    text: str


def name_at(document: Document, offset: int) -> Scanned | None:
    """The operator's name at ``offset``, None where there is none."""
    word = document.word_at(offset)
    if word is not None and word.kind not in (Kind.DECLARATION, Kind.REFERENCE) and offset:
        # The place may be between a name and the arrow after it.
        before = document.word_at(offset - 1)
        word = before if before is not None and before.end == offset else word
    if word is None or word.kind not in (Kind.DECLARATION, Kind.REFERENCE):
        return None
    return word


def definitions(document: Document, offset: int) -> list[Scanned]:
    """Where the operator at ``offset`` is declared."""
    return [word for word in _all(document, offset) if word.kind is Kind.DECLARATION]


def references(document: Document, offset: int, *, declaration: bool = True) -> list[Scanned]:
    """All places of the name at ``offset``, with or without its declarations."""
    return [word for word in _all(document, offset) if declaration or word.kind is Kind.REFERENCE]


def rename(document: Document, offset: int, name: str) -> list[Edit]:
    """The edits that call the operator at ``offset`` ``name``, everywhere; raises
    :class:`RenameError`."""
    word = name_at(document, offset)
    if word is None:
        raise RenameError("Only an operator can be renamed: put the cursor on its name.")
    if not NAME.fullmatch(name):
        raise RenameError(
            f"{quote(name)} is no name: a name has letters, digits, '_', '-' and '.', and starts "
            "with a letter."
        )
    old = document.text_of(word)
    lower = name.lower()
    for taken in document.names:
        if taken != old and taken.lower() == lower:
            raise RenameError(
                f"{quote(name)} is taken: the graph has an operator {quote(taken)} already."
            )
    return [Edit(w.start, w.end, name) for w in document.names[old] if old != name]


def _all(document: Document, offset: int) -> list[Scanned]:
    word = name_at(document, offset)
    return document.names.get(document.text_of(word), []) if word is not None else []
