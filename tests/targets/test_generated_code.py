"""What a graph says stays data in the programs that targets write."""

from __future__ import annotations

import ast

import pytest

import udgl
from udgl.targets import target

GRAPH = """\
meta
name G
version 1
operator A
entrypoint own:A, env TEXT="@EXITS_HERE@ {0} ''' \\\\n"
operator B
entrypoint own:B
operator C
entrypoint own:C
logical flow
distribute
A -> B
B -> C
"""

CHOOSING = GRAPH.replace(
    "distribute\nA -> B\nB -> C", 'switch\nA -> B when label == "@EXITS_HERE@", C otherwise'
)


@pytest.mark.parametrize(
    ("name", "text"), [("ray", CHOOSING), ("triton", GRAPH), ("clipper", GRAPH), ("seldon", GRAPH)]
)
def test_no_text_of_a_graph_becomes_code(name: str, text: str) -> None:
    graph = udgl.parse(text, "a\nraise SystemExit.udgl")
    programs = [f for f in target(name).compile_graph(graph).files if f.name.endswith(".py")]
    assert programs
    for file in programs:
        tree = ast.parse(file.text)
        assert not [node for node in ast.walk(tree) if ast.unparse(node) == "raise SystemExit.udgl"]
    if name == "ray":
        constants = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
        assert "@EXITS_HERE@" in constants
