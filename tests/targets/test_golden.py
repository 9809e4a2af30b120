"""What each target writes, to the letter; ``python -m tests.targets.support`` writes it anew."""

from __future__ import annotations

import re

import pytest

import udgl
from tests.targets.support import GOLDEN, codes_in_golden_files, golden, golden_graphs
from udgl.targets import target, target_names
from udgl.writing import dumps


@pytest.mark.parametrize("name", target_names())
def test_a_target_writes_its_golden_files(name: str) -> None:
    assert {path.stem for path in (GOLDEN / name).iterdir()} == set(golden_graphs())
    for graph in golden_graphs():
        expected = (GOLDEN / name / f"{graph}.txt").read_text(encoding="utf-8")
        assert golden(name, graph) == expected, f"{graph}; run: python -m tests.targets.support"


@pytest.mark.slow
@pytest.mark.parametrize("name", target_names())
def test_how_a_graph_is_laid_out_changes_no_file_but_in_its_comments(name: str) -> None:
    for text in golden_graphs().values():
        graph = udgl.parse(text, "g.udgl")
        again = udgl.parse(dumps(graph), "g.udgl")
        try:
            files = target(name).compile_graph(graph).files
        except udgl.UdglError:
            continue
        for one, other in zip(files, target(name).compile_graph(again).files, strict=True):
            assert one.name == other.name
            assert _bare(one.text) == _bare(other.text)


BUILT = {"EARG100"}
"""Said of graphs alone that no text can declare; their tests build them."""


@pytest.mark.parametrize("name", target_names())
def test_every_code_is_said_of_a_golden_graph(name: str) -> None:
    assert set(target(name).CODES) - codes_in_golden_files(name) <= BUILT


def _bare(text: str) -> list[str]:
    comments = ("#", "%%", "//")
    lines = [re.sub(r"  # line \d+$", "", line) for line in text.split("\n")]
    return [line for line in lines if not line.lstrip().startswith(comments)]
