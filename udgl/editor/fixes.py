"""The edits that a diagnostic's hint names, where there is no doubt what to write."""

from __future__ import annotations

import re
from dataclasses import dataclass

from udgl.diagnostics import Diagnostic
from udgl.editor.document import Document
from udgl.editor.naming import Edit

_MEANT = re.compile(r"did you mean '([^'\ufffd…]+)'\?")
_SMALL_LETTERS = re.compile(r"keywords are in small letters: (\S+)")
_COMMA_MISSING = re.compile(r"a comma (?:or a line end )?is missing before '")
_COMMA_BEFORE = re.compile(r"write a comma before '")
_DYNAMIC = re.compile(r"write 'batch (dynamic \d+)'")
_NEAR_ARROW = re.compile(r"=+>|-{2,}>|[\u2013\u2014]>|[\u21d2\u27f6\u2794\u279c>]")
_QUOTED = re.compile(r"'([^'\ufffd…]+)'")


@dataclass(frozen=True, slots=True)
class Fix:
    """``title`` says in the imperative what the edits do."""

    title: str
    edits: tuple[Edit, ...]


def fix(document: Document, diagnostic: Diagnostic) -> Fix | None:
    """What mends ``diagnostic``; None where only a person can tell."""
    start, end = document.lines.of_span(diagnostic.span)
    hint, text = diagnostic.hint or "", document.text
    if found := _MEANT.search(hint) or _SMALL_LETTERS.search(hint):
        return _replace_word(document, diagnostic, start, end, found.group(1))
    if hint == "delete the comma" and text[start:end] == ",":
        return Fix("Delete the comma", (Edit(start, end, ""),))
    if hint.startswith("write → or ->") and (arrow := _NEAR_ARROW.match(text, start, end)):
        return Fix("Write ->", (Edit(start, arrow.end(), "->"),))
    if _COMMA_BEFORE.match(hint) or (not hint and _COMMA_MISSING.match(diagnostic.message)):
        space = start
        while space and text[space - 1] in " \t":
            space -= 1
        return Fix("Write a comma before it", (Edit(space, start, ", "),))
    if hint == "start a new line":
        return Fix("Start a new line", (Edit(start, start, "\n"),))
    if found := _DYNAMIC.match(hint):
        return _make_dynamic(document, start, found.group(1))
    return None


def _replace_word(
    document: Document, diagnostic: Diagnostic, start: int, end: int, meant: str
) -> Fix | None:
    """The span may be of a list that the word is one of."""
    for wrong in _QUOTED.findall(diagnostic.message):
        part = re.compile(rf"(?<![^\s,]){re.escape(wrong)}(?![^\s,])")
        places = list(part.finditer(document.text, start, end))
        if len(places) == 1:
            edit = Edit(places[0].start(), places[0].end(), meant)
            return Fix(f"Write '{meant}'", (edit,))
    return None


def _make_dynamic(document: Document, offset: int, value: str) -> Fix | None:
    for section in document.sections:
        if section.start <= offset <= section.end:
            batches = [f for f in section.factors if f.word == "batch"]
            if len(batches) == 1 and batches[0].value == value.removeprefix("dynamic "):
                end = batches[0].end
                edit = Edit(end - len(batches[0].value), end, value)
                return Fix(f"Write 'batch {value}'", (edit,))
    return None
