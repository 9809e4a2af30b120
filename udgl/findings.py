"""What was found in files, for programs: ``udgl check --format json``, and the sums of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from udgl.diagnostics import Diagnostic, Severity
from udgl.graph import ServingGraph


@dataclass(frozen=True, slots=True)
class FileFindings:
    """One file: its graph where it has no error, and all that there is to say of it.

    ``problem`` says why it could not be read; then there is nothing else. ``text`` is what the
    diagnostics' spans are of.
    """

    source: str
    graph: ServingGraph | None = None
    diagnostics: tuple[Diagnostic, ...] = ()
    text: str = ""
    problem: str | None = None

    def only(self, severities: Collection[Severity]) -> FileFindings:
        """The same without the diagnostics of other severities."""
        kept = tuple(d for d in self.diagnostics if d.severity in severities)
        return replace(self, diagnostics=kept)

    def without_text(self) -> FileFindings:
        """The same in little memory."""
        return replace(self, text="")


def as_json(files: Sequence[FileFindings]) -> dict[str, Any]:
    """All of it as JSON's values.

    ``files`` has each file in order: ``file``, ``problem`` (why it could not be read, or null),
    ``graph`` (``name``, ``version`` and the number of ``operators``, or null where it has errors)
    and ``diagnostics``: ``code``, ``severity`` (error, warning, note), ``message``, ``hint`` (or
    null), and ``line``, ``column``, ``end_column`` (from 1, in characters; null where it is of the
    whole file). ``summary`` counts.
    """
    return {
        "files": [_file_json(file) for file in files],
        "summary": {
            "files": len(files),
            "unreadable": sum(file.problem is not None for file in files),
            **{f"{severity.value}s": n for severity, n in _counts(files).items()},
        },
    }


def summary(files: Sequence[FileFindings]) -> str:
    """One line: how many files are fine, and what was found in the others."""
    parts = [f"{sum(file.graph is not None for file in files)} ok"]
    wrong = sum(file.graph is None and file.problem is None for file in files)
    if wrong:
        parts.append(f"{wrong} with errors")
    unreadable = sum(file.problem is not None for file in files)
    if unreadable:
        parts.append(f"{unreadable} unreadable")
    found = ", ".join(count_of(n, severity.value) for severity, n in _counts(files).items() if n)
    return f"{count_of(len(files), 'file')}: {', '.join(parts)}" + (f" ({found})" if found else "")


def count_of(number: int, thing: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _counts(files: Sequence[FileFindings]) -> dict[Severity, int]:
    counter = Counter(d.severity for file in files for d in file.diagnostics)
    return {severity: counter[severity] for severity in Severity}


def _file_json(file: FileFindings) -> dict[str, Any]:
    graph = file.graph
    return {
        "file": file.source,
        "problem": file.problem,
        "graph": None
        if graph is None
        else {"name": graph.name, "version": graph.version, "operators": len(graph.operators)},
        "diagnostics": [diagnostic_json(diagnostic) for diagnostic in file.diagnostics],
    }


def diagnostic_json(diagnostic: Diagnostic) -> dict[str, Any]:
    """The diagnostic as JSON's values; see :func:`as_json`."""
    span = diagnostic.span
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity.value,
        "message": diagnostic.message,
        "hint": diagnostic.hint,
        "line": span.line if span else None,
        "column": span.column if span else None,
        "end_column": span.end_column if span else None,
    }
