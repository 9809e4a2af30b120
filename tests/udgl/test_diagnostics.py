"""What is said about graphs that are wrong."""

from __future__ import annotations

import pickle

import pytest

import udgl
from tests.udgl.conftest import Run
from tests.udgl.fixture_files import FIXTURES, codes_in, graphs
from udgl.diagnostics import CODES, Diagnostic, Severity, format_all, quote
from udgl.parser import examine, read
from udgl.targets import earg

INVALID = FIXTURES / "invalid"

NEED_LARGE_FILES = {"U002", "U003"}
"""Told by test_limits.py."""

ONLY_BUILT_IN_PYTHON = {"EARG100"}
"""Told by test_target_earg.py: no graph that passes the language's checks has them."""


def expected(name: str) -> str:
    return (INVALID / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", graphs("invalid"))
def test_a_wrong_graph_is_told_as_its_fixture_says(name: str) -> None:
    try:
        text = read(INVALID / f"{name}.udgl")
        graph, found = examine(text, f"{name}.udgl")
        told = format_all(found, f"{name}.udgl", text)
    except udgl.UdglError as error:
        graph, found, text = None, error.diagnostics, error.text
        told = str(error).replace(str(INVALID / f"{name}.udgl"), f"{name}.udgl")
    assert told + "\n" == expected(name)
    # Warnings and notes alone keep no graph from being used.
    assert (graph is None) is any(d.severity is Severity.ERROR for d in found)


def test_every_code_is_triggered_by_a_fixture_and_every_fixture_has_known_codes() -> None:
    told: set[str] = set()
    for folder in ("invalid", "earg"):
        for path in (FIXTURES / folder).glob("*.txt"):
            told |= codes_in(path.read_text(encoding="utf-8"))
    table = set(CODES) | set(earg.CODES)
    assert told == table - NEED_LARGE_FILES - ONLY_BUILT_IN_PYTHON


def test_every_span_lies_in_its_line() -> None:
    for name in graphs("invalid"):
        data = (INVALID / f"{name}.udgl").read_bytes()
        lines = data.decode("utf-8", errors="replace").split("\n")
        for diagnostic in examine(data.decode("utf-8", errors="replace"))[1]:
            span = diagnostic.span
            assert span is not None
            assert 1 <= span.line <= len(lines)
            # One past the end of a line is where something is missing.
            assert 1 <= span.column <= span.end_column <= len(lines[span.line - 1]) + 2


def test_messages_do_not_depend_on_the_hash_seed(udgl_command: Run) -> None:
    names = [f"{name}.udgl" for name in ("unknown_words", "misspelt_words", "unknown_operators")]
    told = {
        udgl_command("check", *names, cwd=INVALID, PYTHONHASHSEED=seed).stderr
        for seed in ("0", "1", "2")
    }
    assert len(told) == 1


def test_an_error_survives_pickling() -> None:
    with pytest.raises(udgl.UdglError) as caught:
        udgl.parse("operator 9\n", "some.udgl")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert copy.source == "some.udgl"
    assert copy.diagnostics == caught.value.diagnostics
    assert str(copy) == str(caught.value)


def test_a_diagnostic_formats_alone() -> None:
    diagnostic = Diagnostic("U014", "'b' is no name", udgl.Span(2, 3, 6), "call it c")
    assert diagnostic.format("f.udgl", "a\n\tabcdef\n") == (
        "f.udgl:2:3: U014 'b' is no name\n   abcdef\n    ^^^\n  hint: call it c"
    )
    assert diagnostic.format("f.udgl") == "f.udgl:2:3: U014 'b' is no name\n  hint: call it c"
    note = Diagnostic("X1", "so it is", severity=Severity.NOTE)
    assert note.format("f.udgl", "a") == "f.udgl: X1 note: so it is"


def test_carets_stand_below_wide_characters() -> None:
    line = Diagnostic("X", "m", udgl.Span(1, 3, 5)).format("f", "中文字é x").split("\n")[2]
    assert line == "  " + " " * 4 + "^^^"


def test_quotes_are_short_and_hold_no_control_characters() -> None:
    assert quote("a\x1b[31mb") == "'a\ufffd[31mb'"
    assert len(quote("x" * 1000)) < 70


def test_names_beyond_ascii_look_alikes_are_no_names() -> None:
    # A Cyrillic letter that looks like the Latin A.
    with pytest.raises(udgl.UdglError) as caught:
        udgl.parse("meta\nname G\nversion 1\noperator \u0410\nimage a\n")
    assert [d.code for d in caught.value.diagnostics] == ["U014"]
