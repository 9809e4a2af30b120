"""What is wrong with a graph, and how it is told: codes, positions, hints.

Every diagnostic has a stable code. Codes of the language are in :data:`CODES`: ``U0`` the text,
``U1`` its meaning. Each target platform keeps its own codes beside its rules, in a ``CODES`` of
its module.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from udgl.graph import Span

CODES: dict[str, str] = {
    # The text
    "U001": "The file is not UTF-8.",
    "U002": "The file is larger than 64 MB.",
    "U003": "More errors than are shown.",
    "U010": "Text that stands in no section.",
    "U011": "A word that names no factor or entry.",
    "U012": "A name or value is missing.",
    "U013": "A value is not of the form that its factor or entry needs.",
    "U014": "A name is not of the form of names.",
    "U015": "Text that cannot stand after a name, a value or a word of the language.",
    "U016": "A flow line is not 'source → target' with commas between names.",
    "U017": "A block, or a flow line, stands outside of what it belongs in.",
    "U018": "A condition of a switch is not of the form of conditions.",
    "U019": "A step of a batch schedule does not follow a batch limit.",
    # Its meaning
    "U101": "The graph has no name.",
    "U102": "The graph has no version.",
    "U103": "There is more than one meta section.",
    "U104": "An entry or a factor is given twice.",
    "U105": "The graph has no operator.",
    "U106": "An operator is declared twice.",
    "U107": "Two operators' names differ only in case.",
    "U108": "An operator has no image.",
    "U109": "A batch limit is out of range.",
    "U110": "A flow names an operator that is not declared.",
    "U111": "An operator is not used in any flow.",
    "U112": "A distribute, switch or split line has more than one source.",
    "U113": "A reduce line has more than one target.",
    "U114": "A reduce target has only one source.",
    "U115": "An edge is given twice.",
    "U116": "The flows have a cycle.",
    "U117": "There is no entry: something flows into every operator.",
    "U118": "There is more than one entry.",
    "U119": "The entry does not reach every operator.",
    "U120": "There is no exit: every operator flows into something.",
    "U121": "A switch or split has only one case.",
    "U122": "A case of a switch can never be taken.",
    "U123": "The weights of a split do not sum to 100.",
    "U124": "An operator both chooses and distributes, or chooses twice.",
    "U125": "A value is out of range.",
    "U126": "A stateful operator has replicas.",
    "U127": "An operator without state has a backup.",
    "U128": "A stateful operator has retries.",
    "U129": "A training factor stands in an operator that is not trained.",
    "U130": "A batch schedule is out of order, or goes beyond the last epoch.",
    "U131": "A factor says nothing of this operator (a warning).",
    "U132": "The type of a reply is not the type of the request that it becomes.",
    "U133": "An env or param names a variable twice.",
    "U134": "There is more than one defaults section.",
    "U135": "A factor stands in defaults that no two operators share.",
    "U136": "There is no such platform.",
    "U137": "A switch has no case for all other requests (a note).",
    "U138": "A condition can never hold of the type that its source replies (a warning).",
    "U139": "A join waits for alternatives that never come together (a warning).",
    "U140": "There is no such engine.",
    "U141": "The local engine does not heed a factor (a warning).",
}
"""Code to the rule that it reports, one sentence each. Codes are never given another meaning."""

MOST_DIAGNOSTICS = 1000
"""No more diagnostics than this are kept of one file; U003 says so where there are more."""

_LONGEST_LINE = 160
"""Characters of a source line that are shown; of a longer line, the part around the span."""

_LONGEST_QUOTE = 60


class Severity(Enum):
    """How bad it is."""

    ERROR = "error"
    """The graph cannot be used."""

    WARNING = "warning"
    """The graph is used, but something is probably not as its author thinks."""

    NOTE = "note"
    """Worth knowing; nothing is wrong."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding. ``message`` is a sentence without a full stop; ``hint`` says what to do."""

    code: str
    message: str
    span: Span | None = None
    hint: str | None = None
    severity: Severity = Severity.ERROR

    def format(self, source: str, text: str = "") -> str:
        """``source:line:column: code message``, the source line, a caret run and the hint.

        ``source`` is the file's name; without ``text``, the source line and carets are left out.
        """
        return self._format(source, source_lines(text) if self.span and text else ())

    def _format(self, source: str, lines: Sequence[str]) -> str:
        place = f"{source}:{self.span.line}:{self.span.column}" if self.span else source
        kind = "" if self.severity is Severity.ERROR else f"{self.severity.value}: "
        parts = [f"{place}: {self.code} {kind}{self.message}"]
        if self.span and self.span.line <= len(lines):
            parts += _excerpt(lines[self.span.line - 1], self.span)
        if self.hint:
            parts.append(f"  hint: {self.hint}")
        return "\n".join(parts)


class UdglError(ValueError):
    """A text that is no valid graph, or a graph that a target cannot express.

    ``source`` is the file's name, ``diagnostics`` holds at least one error, in the file's order.
    ``str()`` is the whole text for a person, one finding after the other.
    """

    def __init__(self, source: str, diagnostics: Iterable[Diagnostic], text: str = "") -> None:
        self.source = source
        self.diagnostics = tuple(diagnostics)
        self.text = text
        # What the exception is rebuilt from when it travels between processes.
        super().__init__(source, self.diagnostics, text)

    def __str__(self) -> str:
        return format_all(self.diagnostics, self.source, self.text)


def format_all(diagnostics: Iterable[Diagnostic], source: str, text: str = "") -> str:
    """All findings of one file as text; see :meth:`Diagnostic.format`."""
    lines = source_lines(text) if text else ()
    return "\n".join(d._format(source, lines) for d in diagnostics)


def normalise(text: str) -> str:
    """``text`` without a byte order mark and with LF for every line end."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def source_lines(text: str) -> Sequence[str]:
    """The lines that spans count."""
    return normalise(text).split("\n")


def quote(word: str) -> str:
    """``word`` in single quotes, shortened, and safe to print on a terminal."""
    short = word if len(word) <= _LONGEST_QUOTE else word[: _LONGEST_QUOTE - 1] + "…"
    return f"'{_printable(short)}'"


def listing(names: Iterable[str], most: int = 8) -> str:
    """The names with commas between them, the ones after ``most`` only counted."""
    words = list(names)
    shown = ", ".join(_printable(name) for name in words[:most])
    return shown if len(words) <= most else f"{shown} and {len(words) - most} more"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)


def _excerpt(line: str, span: Span) -> list[str]:
    """The source line and the carets under the span; of a long line the part around it."""
    first, last = span.column - 1, max(span.end_column - 1, span.column)
    start = 0
    if len(line) > _LONGEST_LINE:
        start = max(0, min(first - _LONGEST_LINE // 4, len(line) - _LONGEST_LINE))
    shown = _printable(line[start : start + _LONGEST_LINE]).rstrip()
    before = "…" if start else ""
    after = "…" if len(line) > start + _LONGEST_LINE else ""
    gap = _width(before + shown[: first - start])
    run = _width(shown[first - start : last - start])
    return [f"  {before}{shown}{after}", "  " + " " * gap + "^" * max(run, 1)]


def _width(text: str) -> int:
    """How many terminal columns the text takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)
