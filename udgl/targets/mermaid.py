"""Graphs as drawings in Mermaid, which Markdown can hold."""

from __future__ import annotations

from udgl.drawing.mermaid import draw_mermaid
from udgl.graph import ServingGraph
from udgl.targets import Compilation, OutputFile

DESCRIPTION = "a drawing in Mermaid, which Markdown pages show"

WRITES = "{name}-{version}.mmd"

CODES: dict[str, str] = {}


def compile_graph(graph: ServingGraph) -> Compilation:
    """The one file ``{name}-{version}.mmd``. Every graph can be drawn."""
    return Compilation((OutputFile(f"{graph.name}-{graph.version}.mmd", draw_mermaid(graph)),))
