"""``udgl check``: what is wrong in graphs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from udgl import parser as language
from udgl.commands import OK, UNUSABLE, WRONG, colour
from udgl.commands.streams import expand, read, say, shown_name, why_unreadable
from udgl.diagnostics import Severity, UdglError, format_all
from udgl.findings import FileFindings, count_of, summary

DESCRIPTION = """\
Report all that is wrong in each graph, as FILE:LINE:COLUMN: CODE MESSAGE, with
the line itself, carets under the words that are meant, and a hint where one
helps. Warnings and notes are told too; they do not make a graph wrong.
"""

EPILOG = """\
standard output gets one line for each file that is fine, and a summary where
there are several files; standard error gets what is wrong. With --format json
or sarif all of it is one JSON document on standard output.

exit codes:
  0  no graph has an error (with --strict: nor a warning)
  1  a graph has
  2  wrong usage, or a file that cannot be read

examples:
  udgl check sentiment.udgl
  udgl check dags                  every *.udgl file below the folder
  udgl check --strict --quiet dags
  git show :dags/a.udgl | udgl check -
  udgl check --format sarif dags > udgl.sarif
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="a UDGL file, a folder with UDGL files at any depth, or - for standard input",
    )
    parser.add_argument(
        "--format",
        choices=("text", "json", "sarif"),
        default="text",
        help="for people (default), JSON, or SARIF 2.1.0, which code hosts and editors show",
    )
    parser.add_argument("--strict", action="store_true", help="let warnings fail as errors do")
    parser.add_argument(
        "-q",
        "--quiet",
        action="store_true",
        help="tell only what fails: no line for a file that is fine, no warning (but with "
        "--strict), no note, no summary",
    )
    colour.add_option(parser)


def run(options: argparse.Namespace) -> int:
    """Checks the files; the exit code."""
    if list(options.files).count("-") > 1:
        options.parser.error("standard input (-) can be checked once only")
    failing = (Severity.ERROR, Severity.WARNING) if options.strict else (Severity.ERROR,)
    every: list[FileFindings] = []
    code = OK
    for found in _examined(options.files):
        if found.problem is not None:
            code = UNUSABLE
        elif any(diagnostic.severity in failing for diagnostic in found.diagnostics):
            code = max(code, WRONG)
        if options.quiet:
            found = found.only(failing)
        if options.format == "text":
            _tell(found, options)
            found = found.without_text()
        every.append(found)
    if options.format == "json":
        from udgl.findings import as_json

        _print_json(as_json(every))
    elif options.format == "sarif":
        from udgl.commands.installed import installed_version
        from udgl.sarif import as_sarif

        _print_json(as_sarif(every, installed_version(), Path.cwd()))
    elif len(every) > 1 and not options.quiet:
        print(summary(every))
    return code


def _examined(names: list[str]) -> Iterator[FileFindings]:
    try:
        for name in expand(names):
            yield _examine(name)
    except OSError as error:
        name = str(error.filename)
        yield FileFindings(name, problem=why_unreadable(name, error))


def _examine(name: str) -> FileFindings:
    source = shown_name(name)
    try:
        text = read(name)
    except UdglError as error:
        return FileFindings(source, None, error.diagnostics, error.text)
    except OSError as error:
        return FileFindings(source, problem=why_unreadable(name, error))
    graph, diagnostics = language.examine(text, source)
    return FileFindings(source, graph, diagnostics, text)


def _tell(found: FileFindings, options: argparse.Namespace) -> None:
    if found.problem is not None:
        say(f"udgl: {found.source}: {found.problem}")
    if found.diagnostics:
        text = format_all(found.diagnostics, found.source, found.text)
        say(colour.findings(text, options.color))
    if found.graph is not None and not options.quiet:
        graph = found.graph
        operators = count_of(len(graph.operators), "operator")
        ok = colour.paint("ok", colour.GREEN) if colour.wanted(options.color, sys.stdout) else "ok"
        print(f"{found.source}: {ok}, graph {graph.name} version {graph.version}, {operators}")


def _print_json(value: object) -> None:
    import json

    json.dump(value, sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")
