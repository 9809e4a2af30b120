"""The manual, docs/udgl.md: its examples are what they are said to be, and it has everything.

A fenced block of UDGL is a graph with nothing to say about; one with codes after ``udgl`` has
exactly these. What a block leaves out, as its reader does, is put before it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import udgl
from udgl.diagnostics import CODES
from udgl.parser import examine
from udgl.targets import target
from udgl.vocabulary import BLOCKS, CASES, ENTRIES, FACTORS, SECTIONS

DOCS = Path(__file__).parents[2] / "docs"
MANUAL = (DOCS / "udgl.md").read_text(encoding="utf-8")
BLOCKS_OF_UDGL = [
    (found[1].split(), found[2], MANUAL.count("\n", 0, found.start()) + 1)
    for found in re.finditer(r"^```udgl([^\n]*)\n(.*?)^```$", MANUAL, re.MULTILINE | re.DOTALL)
]

OF_THE_MANUAL = ("earg",)
"""The targets of which the manual tells; docs/targets.md tells of all."""

IN_NO_BLOCK = {"U001", "U002", "U003", "EARG100"}
"""Told of files that are no text, that are too large, or of graphs built in Python."""


def target_codes() -> dict[str, str]:
    """Each code of the target that the manual tells of, with its name."""
    return {code: name for name in OF_THE_MANUAL for code in target(name).CODES}


def completed(text: str, expected: set[str]) -> str:
    """``text`` with the meta section, the word 'flow' and the operators that it leaves out."""
    if text.split()[0] in BLOCKS and "U017" not in expected:
        text = f"logical flow\n{text}"
    if not re.search(r"^\s*meta\b", text, re.MULTILINE) and not expected & {"U010", "U101"}:
        text = f"meta\nname Example\nversion 1\n{text}"
    found = examine(text)[1]
    missing = [d.message.split("'")[1] for d in found if d.code == "U110"]
    if "U110" in expected:
        return text
    if not missing and "U105" not in expected and any(d.code == "U105" for d in found):
        missing = ["Example"]
    text += "".join(f"\noperator {name}\nimage example:1\n" for name in dict.fromkeys(missing))
    return text


@pytest.mark.parametrize(
    ("codes", "text"),
    [(codes, text) for codes, text, _ in BLOCKS_OF_UDGL],
    ids=[f"line {line} {' '.join(codes)}" for codes, _, line in BLOCKS_OF_UDGL],
)
def test_an_example_is_what_the_manual_says(codes: list[str], text: str) -> None:
    expected = set(codes)
    whole = completed(text, expected)
    graph, found = examine(whole)
    told = {diagnostic.code for diagnostic in found}
    if graph is not None:
        for name in {target_codes()[code] for code in codes if code in target_codes()}:
            try:
                told |= {d.code for d in target(name).compile_graph(graph).diagnostics}
            except udgl.UdglError as error:
                told |= {d.code for d in error.diagnostics}
    assert told == expected, [d.format("example", whole) for d in found]


def test_every_code_is_in_the_manual_with_its_rule_and_an_example() -> None:
    rules = dict(CODES)
    for name in OF_THE_MANUAL:
        rules |= target(name).CODES
    for code, rule in rules.items():
        assert f"**{code}** {rule}" in MANUAL, f"the manual does not say: **{code}** {rule}"
    shown = {code for codes, _, _ in BLOCKS_OF_UDGL for code in codes}
    assert shown == set(rules) - IN_NO_BLOCK


def test_every_word_is_in_a_table_or_heads_an_example() -> None:
    for word in (*ENTRIES, *FACTORS):
        assert re.search(rf"^\| `{word}` \|", MANUAL, re.MULTILINE), f"no row tells of {word}"
    in_examples = {word for _, text, _ in BLOCKS_OF_UDGL for word in re.findall(r"[a-z-]+", text)}
    assert {*SECTIONS, *BLOCKS, *CASES, *ENTRIES, *FACTORS} <= in_examples


def test_the_large_example_is_the_file_beside_the_manual() -> None:
    text = (DOCS / "driver_monitoring.udgl").read_text(encoding="utf-8")
    assert text in [block for _, block, _ in BLOCKS_OF_UDGL]
    graph, found = examine(text)
    assert graph is not None
    assert not found
    assert graph.entry().name == "Camera"
    assert [o.name for o in graph.exits()] == ["Advice"]
    assert graph.operator("Camera").batch == 8
    assert graph.operator("Gaze-next").training is not None


def test_a_word_that_is_missing_is_one_finding() -> None:
    text = (DOCS / "driver_monitoring.udgl").read_text(encoding="utf-8")
    told_twice = {}
    for word in re.finditer(r"[^\s,]+|,", text):
        line = text.count("\n", 0, word.start()) + 1
        found = examine(text[: word.start()] + text[word.end() :])[1]
        if len(found) > 1:
            told_twice[line, word[0]] = [d.message for d in found]
    # Without these, each of several words stands where it cannot.
    assert set(told_twice) == {(7, "tags"), (34, "#")}, told_twice
