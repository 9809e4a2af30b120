"""Words as LSP's semantic tokens."""

from __future__ import annotations

from udgl.editor.document import Document
from udgl.editor.positions import units
from udgl.editor.scanner import Kind

TYPES = (
    *("keyword", "property", "class", "variable", "number", "string", "comment", "operator"),
    *("enumMember", "parameter"),
)
"""The types, in the order of their numbers."""

MODIFIERS = ("declaration",)
"""The modifiers, in the order of their bits."""

_TYPE_OF = {
    Kind.SECTION: "keyword",
    Kind.BLOCK: "keyword",
    Kind.MODIFIER: "keyword",
    Kind.KEY: "property",
    Kind.DECLARATION: "class",
    Kind.REFERENCE: "variable",
    Kind.NUMBER: "number",
    Kind.CONSTANT: "enumMember",
    Kind.STRING: "string",
    Kind.VALUE: "parameter",
    Kind.TEXT: "string",
    Kind.COMMENT: "comment",
    Kind.ARROW: "operator",
    Kind.COMPARISON: "operator",
}

MOST = 50_000
"""Words that are coloured at most at once; the editor's own highlighting has the rest."""


def semantic_tokens(document: Document, first: int = 0, last: int | None = None) -> list[int]:
    """The lines from ``first`` to ``last`` (both counted from 0 and with them) as LSP encodes
    them: five numbers a word, places relative to the word before."""
    lines, text = document.lines, document.text
    end = len(text) if last is None or last >= len(lines) - 1 else lines.end(max(last, 0))
    found: list[int] = []
    line_before = column_before = 0
    for word in document.words:
        if word.start >= end or len(found) >= 5 * MOST:
            break
        kind = _TYPE_OF.get(word.kind)
        line, column = lines.place(word.start)
        if kind is None or line < first:
            continue
        length = units(text[word.start : word.end], document.encoding)
        if line != line_before:
            column_before = 0
        declared = 1 if word.kind is Kind.DECLARATION else 0
        found += (line - line_before, column - column_before, length, TYPES.index(kind), declared)
        line_before, column_before = line, column
    return found
