"""What each target makes of each construct: found by compiling, told in docs/targets.md.

python -m tests.targets.support [TARGET...]    write golden files and docs/targets.md anew
"""

from __future__ import annotations

import re
import shutil
import sys
from enum import Enum
from functools import cache
from pathlib import Path

import udgl
from udgl.constructs import CONSTRUCTS, Construct
from udgl.diagnostics import Diagnostic, Severity, format_all
from udgl.targets import target, target_names

MANUAL = Path(__file__).parents[2] / "docs" / "targets.md"

GOLDEN = Path(__file__).parent / "golden"

GRAPHS = Path(__file__).parent / "graphs"
"""Graphs for codes that no construct's example triggers."""

_FIXTURES = Path(__file__).parents[1] / "udgl" / "fixtures" / "valid"

DRAWINGS = ("dot", "mermaid")
"""Targets that no platform runs: a drawing shows what has a place in it."""

PLATFORMS = tuple(name for name in target_names() if name not in DRAWINGS)

_CODE = re.compile(r"\b[A-Z]+[0-9]{3}\b")


class Support(Enum):
    """How much of a construct a target expresses."""

    WHOLE = "yes"
    """It is in the files, and nothing is said of it."""

    PART = "partly"
    """A warning says what of it is left out."""

    NONE = "no"
    """An error: the files cannot be written."""

    NO_MATTER = "-"
    """A note: it has no meaning there."""


def compile_both(
    name: str, construct: Construct
) -> tuple[dict[str, str] | None, dict[str, str] | None, tuple[Diagnostic, ...]]:
    """The files with the construct and without it (None where an error is in the way), and what is
    said of the construct alone."""
    with_it, said = _compile(name, construct.example)
    without, said_without = _compile(name, construct.without)
    before = {(d.code, d.message) for d in said_without}
    lines = {span.line for _, span in construct.uses(udgl.parse(construct.example)) if span}
    return (
        with_it,
        without,
        tuple(
            diagnostic
            for diagnostic in said
            if (diagnostic.code, diagnostic.message) not in before
            and (
                diagnostic.severity is Severity.ERROR
                or (diagnostic.span is not None and diagnostic.span.line in lines)
            )
        ),
    )


def support(name: str, construct: Construct) -> Support:
    """What the target makes of the construct."""
    _, _, said = compile_both(name, construct)
    severities = {diagnostic.severity for diagnostic in said}
    for severity, told in (
        (Severity.ERROR, Support.NONE),
        (Severity.WARNING, Support.PART),
        (Severity.NOTE, Support.NO_MATTER),
    ):
        if severity in severities:
            return told
    return Support.WHOLE


def table() -> str:
    """The table of all constructs and targets, as Markdown."""
    rows = [
        f"| construct | {' | '.join(PLATFORMS)} |",
        f"|---|{'---|' * len(PLATFORMS)}",
        *(
            f"| {construct.name} | "
            + " | ".join(support(name, construct).value for name in PLATFORMS)
            + " |"
            for construct in CONSTRUCTS
        ),
    ]
    return "\n".join(rows) + "\n"


def codes() -> str:
    """The table of all targets' codes, as Markdown."""
    rows = [
        f"| {code} | {meaning} |"
        for name in target_names()
        for code, meaning in target(name).CODES.items()
    ]
    return "\n".join(["| code | meaning |", "|---|---|", *rows]) + "\n"


def with_tables(manual: str) -> str:
    """The manual's text with its tables as they are now."""
    for word, text in (("table", table()), ("codes", codes())):
        begin, end = f"<!-- {word}: begin -->\n", f"<!-- {word}: end -->\n"
        before, found, rest = manual.partition(begin)
        _, closed, after = rest.partition(end)
        assert found, f"{MANUAL} has no {begin}"
        assert closed, f"{MANUAL} has no {end}"
        manual = f"{before}{begin}\n{text}\n{end}{after}"
    return manual


def _compile(name: str, text: str) -> tuple[dict[str, str] | None, tuple[Diagnostic, ...]]:
    try:
        compilation = target(name).compile_graph(udgl.parse(text, "probe.udgl"))
    except udgl.UdglError as error:
        return None, error.diagnostics
    return {file.name: file.text for file in compilation.files}, compilation.diagnostics


@cache
def golden_graphs() -> dict[str, str]:
    """The texts of the graphs that have golden files, by their names."""
    graphs = {
        name: (_FIXTURES / f"{name}.udgl").read_text(encoding="utf-8")
        for name in ("sentiment", "simpledag")
    }
    more = {path.stem: path.read_text(encoding="utf-8") for path in sorted(GRAPHS.glob("*.udgl"))}
    return graphs | {c.name.replace(" ", "_"): c.example for c in CONSTRUCTS} | more


def codes_in_golden_files(name: str) -> set[str]:
    """The codes that the golden files of a target have."""
    texts = (path.read_text(encoding="utf-8") for path in (GOLDEN / name).glob("*.txt"))
    return {code for text in texts for code in _CODE.findall(text)}


def golden(name: str, graph: str) -> str:
    """What the target makes of the golden graph, as one text: each file under its name, and what
    is said."""
    text = golden_graphs()[graph]
    source = f"{graph}.udgl"
    try:
        compilation = target(name).compile_graph(udgl.parse(text, source))
    except udgl.UdglError as error:
        return f"=== said\n{format_all(error.diagnostics, source, text)}\n"
    parts = [f"=== {file.name}\n{file.text}" for file in compilation.files]
    if compilation.diagnostics:
        parts.append(f"=== said\n{format_all(compilation.diagnostics, source, text)}\n")
    return "".join(parts)


def _write(names: tuple[str, ...]) -> None:
    for name in names:
        folder = GOLDEN / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for graph in golden_graphs():
            (folder / f"{graph}.txt").write_text(golden(name, graph), encoding="utf-8")
    MANUAL.write_text(with_tables(MANUAL.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    _write(tuple(sys.argv[1:]) or target_names())
