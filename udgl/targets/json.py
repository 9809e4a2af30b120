"""Graphs as JSON, for programs that read no UDGL."""

from __future__ import annotations

import json

from udgl.graph import ServingGraph
from udgl.graph_json import graph_json
from udgl.targets import Compilation, OutputFile

DESCRIPTION = "the graph as JSON, by the JSON schema udgl/schema/graph.schema.json"

WRITES = "{name}-{version}.json"

CODES: dict[str, str] = {}


def compile_graph(graph: ServingGraph) -> Compilation:
    """The one file ``{name}-{version}.json``. JSON expresses every graph."""
    text = json.dumps(graph_json(graph), ensure_ascii=False, indent=2) + "\n"
    return Compilation((OutputFile(f"{graph.name}-{graph.version}.json", text),))
