"""Graphs as drawings in DOT, the language of Graphviz."""

from __future__ import annotations

from udgl.drawing.dot import draw_dot
from udgl.graph import ServingGraph
from udgl.targets import Compilation, OutputFile

DESCRIPTION = "a drawing in DOT, which Graphviz renders"

WRITES = "{name}-{version}.dot"

CODES: dict[str, str] = {}


def compile_graph(graph: ServingGraph) -> Compilation:
    """The one file ``{name}-{version}.dot``. Every graph can be drawn."""
    return Compilation((OutputFile(f"{graph.name}-{graph.version}.dot", draw_dot(graph)),))
