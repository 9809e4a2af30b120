"""The note of a run: what it has changed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hogar_provider.run_note import LONGEST_NOTE, note
from tests.hogar_provider.folders import ROOT


def test_a_note_says_what_has_changed_as_it_is_written() -> None:
    assert note("~ operator A: version 1 -> 2") == "```\n~ operator A: version 1 -> 2\n```"
    assert note("") == "Nothing has changed: the graph is the one that was deployed before."
    assert note(None) == "The graph was not deployed before."


def test_a_long_note_ends_at_a_whole_line() -> None:
    lines = [f"~ operator Operator{number}: version 1 -> 2" for number in range(100)]
    text = note("\n".join(lines))
    assert len(text) <= LONGEST_NOTE
    *shown, dots = text.removeprefix("```\n").removesuffix("\n```").split("\n")
    assert dots == "..."
    assert shown == lines[: len(shown)]


@pytest.mark.slow
def test_the_listener_costs_a_process_nothing_heavy() -> None:
    code = (
        "import sys; from hogar_provider.plugins.plugin import HogarPlugin; "
        "assert HogarPlugin.listeners; "
        "print(sorted({'earg', 'udgl', 'grpc', 'lark'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"
