"""Findings as SARIF, the Static Analysis Results Interchange Format, version 2.1.0 (OASIS).

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from udgl.diagnostics import CODES, Diagnostic, Severity, source_lines
from udgl.findings import FileFindings
from udgl.graph import Span

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}

_MEANT = re.compile(r"did you mean '([^'\s]+)'\?")
"""A hint that names the word to write in place of the one that the span is of."""

_ROOT = "ROOT"


def as_sarif(files: Sequence[FileFindings], version: str | None, folder: Path) -> dict[str, Any]:
    """The findings as one SARIF run of the tool ``udgl``; names of files are relative to
    ``folder``, which is absolute."""
    rules = list(CODES)
    driver: dict[str, Any] = {
        "name": "udgl",
        "rules": [{"id": code, "shortDescription": {"text": rule}} for code, rule in CODES.items()],
    }
    if version is not None:
        driver["version"] = version
    problems = [
        {
            "level": "error",
            "message": {"text": f"{file.source}: {file.problem}"},
            "locations": [{"physicalLocation": {"artifactLocation": _address(file.source)}}],
        }
        for file in files
        if file.problem is not None
    ]
    invocation: dict[str, Any] = {"executionSuccessful": not problems}
    if problems:
        invocation["toolExecutionNotifications"] = problems
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "invocations": [invocation],
                "originalUriBaseIds": {_ROOT: {"uri": folder.as_uri().rstrip("/") + "/"}},
                "columnKind": "unicodeCodePoints",
                "results": [result for file in files for result in _results(file, rules)],
            }
        ],
    }


def _results(file: FileFindings, rules: list[str]) -> list[dict[str, Any]]:
    address = _address(file.source)
    lines = source_lines(file.text) if file.diagnostics else ()
    return [_result(one, address, lines, rules) for one in file.diagnostics]


def _result(
    diagnostic: Diagnostic, address: dict[str, Any], lines: Sequence[str], rules: list[str]
) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": address}
    span = diagnostic.span
    if span is not None:
        place["region"] = _region(span)
        if span.line <= len(lines):
            place["region"]["snippet"] = {
                "text": lines[span.line - 1][span.column - 1 : span.end_column - 1]
            }
    text = diagnostic.message
    if diagnostic.hint:
        text += f"\nhint: {diagnostic.hint}"
    result: dict[str, Any] = {
        "ruleId": diagnostic.code,
        "level": _LEVELS[diagnostic.severity],
        "message": {"text": text},
        "locations": [{"physicalLocation": place}],
    }
    if diagnostic.code in CODES:
        result["ruleIndex"] = rules.index(diagnostic.code)
    meant = _MEANT.fullmatch(diagnostic.hint or "")
    if meant and span is not None:
        replacement = {"deletedRegion": _region(span), "insertedContent": {"text": meant[1]}}
        result["fixes"] = [
            {
                "description": {"text": f"Write '{meant[1]}'."},
                "artifactChanges": [{"artifactLocation": address, "replacements": [replacement]}],
            }
        ]
    return result


def _region(span: Span) -> dict[str, Any]:
    return {
        "startLine": span.line,
        "startColumn": span.column,
        "endLine": span.line,
        "endColumn": max(span.end_column, span.column),
    }


def _address(source: str) -> dict[str, Any]:
    """Where a file is: relative to the working folder, or absolute as it was named."""
    path = Path(source)
    if path.is_absolute():
        return {"uri": path.as_uri()}
    return {"uri": quote(path.as_posix()), "uriBaseId": _ROOT}
