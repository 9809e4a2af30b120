"""UDGL text to a checked :class:`ServingGraph`.

lark and the grammar are loaded when the first text is parsed, not when this module is imported.
"""

from __future__ import annotations

from functools import cache
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udgl.diagnostics import MOST_DIAGNOSTICS, Diagnostic, UdglError, normalise
from udgl.graph import ServingGraph, Span

if TYPE_CHECKING:
    from lark import Lark

LARGEST_TEXT = 64 * 1024 * 1024
"""Bytes of a file, and characters of a text, that are read at most."""

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

    Raises :class:`UdglError` with all that is wrong, in the order of the text.
    """
    from lark.exceptions import UnexpectedInput

    from udgl.assembly import assemble
    from udgl.checks import check
    from udgl.recovery import Recovery

    if len(text) > LARGEST_TEXT:
        raise UdglError(source, [_too_large()])
    plain = normalise(text) + "\n"
    recovery = Recovery(plain)
    parser = _parser()
    try:
        sections: Any = parser.parse(plain, on_error=recovery.on_error)
    except UnexpectedInput:
        # Recovery gave up; what it reported so far is all there is to say.
        raise _failure(source, recovery.diagnostics, text, more=True) from None
    graph, found = assemble(sections, source, recovery.gaps)
    found += recovery.diagnostics
    found += check(graph, recovery.gaps)
    if found:
        raise _failure(source, found, text)
    return graph


def _failure(source: str, found: list[Diagnostic], text: str, *, more: bool = False) -> UdglError:
    ordered = sorted(found, key=_place)
    if more or len(ordered) > MOST_DIAGNOSTICS:
        ordered = ordered[:MOST_DIAGNOSTICS]
        ordered.append(Diagnostic("U003", "there are more errors; these are the first"))
    return UdglError(source, ordered, text)


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
