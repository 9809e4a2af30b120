"""UDGL text to a checked :class:`ServingGraph`.

lark and the grammar are loaded when the first text is parsed, not when this module is imported.
"""

from __future__ import annotations

import gc
import re
from functools import cache
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udgl.diagnostics import MOST_DIAGNOSTICS, Diagnostic, Severity, UdglError, normalise
from udgl.graph import ServingGraph, Span

if TYPE_CHECKING:
    from lark import Lark

    from udgl.reading import Reader

LARGEST_TEXT = 64 * 1024 * 1024
"""Bytes of a file, and characters of a text, that are read at most."""

_LARGE = 100_000
"""Characters of a text that is worth holding Python's garbage collector for."""

_GRAMMAR = Path(__file__).with_name("grammar.lark")


def load(path: str | PathLike[str]) -> ServingGraph:
    """The graph in the UTF-8 file at ``path``.

    Raises :class:`UdglError` for what is in the file, and OSError where it cannot be read.
    """
    return parse(read(path), str(path))


def read(path: str | PathLike[str]) -> str:
    """The text of the file at ``path``; raises as :func:`load` does."""
    with Path(path).open("rb") as file:
        data = file.read(LARGEST_TEXT + 1)
    return decode(data, str(path))


def decode(data: bytes, source: str = "<string>") -> str:
    """The text of a file's content; raises :class:`UdglError` if too large or not UTF-8."""
    if len(data) > LARGEST_TEXT:
        raise UdglError(source, [_too_large()])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = normalise(data[: error.start].decode("utf-8"))
        line_start = before.rfind("\n") + 1
        column = len(before) - line_start + 1
        span = Span(before.count("\n") + 1, column, column + 1)
        message = f"byte 0x{data[error.start]:02x} is not UTF-8"
        hint = "save the file as UTF-8"
        raise UdglError(
            source,
            [Diagnostic("U001", message, span, hint)],
            data.decode("utf-8", errors="replace"),
        ) from None


def parse(text: str, source: str = "<string>") -> ServingGraph:
    """The graph that ``text`` says, parsed and checked; ``source`` is its name in messages.

    Raises :class:`UdglError` with all that is wrong, in the order of the text. Warnings alone are
    no reason to; :func:`examine` returns them.
    """
    graph, found = examine(text, source)
    if graph is None:
        raise UdglError(source, found, text)
    return graph


def examine(
    text: str, source: str = "<string>"
) -> tuple[ServingGraph | None, tuple[Diagnostic, ...]]:
    """The graph that ``text`` says, None where it has an error, and all that there is to say of
    it, in the order of the text. Never raises, for any text."""
    if len(text) > LARGEST_TEXT:
        return None, (_too_large(),)
    if len(text) < _LARGE:
        return _examine(text, source)
    # Nothing that reading makes is garbage before it ends, and Python would look through all of it
    # again and again: a third of the time of a large file.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _examine(text, source)
    finally:
        if collecting:
            gc.enable()


def syntax_errors(text: str, source: str = "<string>") -> tuple[Diagnostic, ...]:
    """What :func:`examine` says of a text that could not be read in whole."""
    return tuple(d for d in examine(text, source)[1] if d.severity is Severity.ERROR)


def tokens(text: str) -> list[tuple[str, str]] | None:
    """Terminal and text of each token of the grammar, separators with their comments included;
    None where the text has a syntax error or is too large."""
    return None if len(text) > LARGEST_TEXT else _reader().tokens(normalise(text) + "\n")


def _examine(text: str, source: str) -> tuple[ServingGraph | None, tuple[Diagnostic, ...]]:
    from udgl.assembly import assemble
    from udgl.checks import check
    from udgl.gaps import Gaps

    plain = normalise(text) + "\n"
    gaps = Gaps()
    unread: list[Diagnostic] = []
    sections = _reader().sections(plain)
    if sections is None:
        from lark.exceptions import UnexpectedInput

        from udgl.recovery import Recovery

        recovery = Recovery(plain)
        gaps, unread = recovery.gaps, recovery.diagnostics
        try:
            sections = _parser().parse(plain, on_error=recovery.on_error)
        except UnexpectedInput:
            # Recovery gave up; what it reported so far is all there is to say.
            return None, _ordered(unread, more=True)
    graph, found = assemble(sections, source, gaps)
    found += unread
    found += check(graph, gaps)
    wrong = any(diagnostic.severity is Severity.ERROR for diagnostic in found)
    return None if wrong else graph, _ordered(found)


def _ordered(found: list[Diagnostic], *, more: bool = False) -> tuple[Diagnostic, ...]:
    ordered = sorted(found, key=_place)
    if more or len(ordered) > MOST_DIAGNOSTICS:
        # What makes the text no graph is never among those left out.
        errors = [d for d in ordered if d.severity is Severity.ERROR] or ordered
        ordered = errors[:MOST_DIAGNOSTICS]
        severity = ordered[0].severity if ordered else Severity.ERROR
        message = "there are more findings like these; these are the first"
        if severity is Severity.ERROR:
            message = "there are more errors; these are the first"
        ordered.append(Diagnostic("U003", message, severity=severity))
    return tuple(ordered)


def _place(diagnostic: Diagnostic) -> tuple[int, int]:
    span = diagnostic.span
    return (span.line, span.column) if span else (0, 0)


def _too_large() -> Diagnostic:
    return Diagnostic("U002", f"larger than {LARGEST_TEXT // (1024 * 1024)} MB")


@cache
def _parser() -> Lark:
    from lark import Lark

    from udgl.assembly import Shape
    from udgl.lexer import ContextLexer

    return Lark(
        _GRAMMAR.read_text(encoding="utf-8"),
        parser="lalr",
        lexer=ContextLexer,
        transformer=Shape(),
        propagate_positions=False,
        maybe_placeholders=False,
    )


@cache
def _reader() -> Reader:
    """What reads a text without syntax errors."""
    from udgl.assembly import Shape
    from udgl.reading import Reader

    lark = _parser()
    lexer: Any = lark.parser
    return Reader(lark, Shape(), lexer.lexer.compile)


@cache
def terminal(name: str) -> re.Pattern[str]:
    """What the grammar's terminal matches, up to a line end."""
    pattern = next(t.pattern for t in _parser().terminals if t.name == name)
    return re.compile(f"(?:{pattern.to_regexp()})(?=\\n)")
