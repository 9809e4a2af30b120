"""What is deployed, as several commands need it."""

from __future__ import annotations

import argparse

from earg.cli.errors import CommandError
from earg.status import GraphStatus, NodeStatus


def deployed(options: argparse.Namespace) -> tuple[GraphStatus, ...]:
    """All graphs; none where no agent runs, and none is started to look."""
    from earg.client import NoAgentError, connect

    try:
        with connect(options.home, start=False) as client:
            return client.graphs()
    except NoAgentError:
        return ()


def node_of(graph: GraphStatus, wanted: str) -> NodeStatus:
    """The node of that name, or else of that number; raises :class:`CommandError`."""
    for node in graph.nodes:
        if node.name == wanted:
            return node
    for node in graph.nodes:
        if str(node.index) == wanted:
            return node
    known = ", ".join(node.name for node in graph.nodes) or "none"
    raise CommandError(f"graph {graph.name} has no node {wanted!r} (nodes: {known})")
