"""The one word for a graph's state."""

from __future__ import annotations

import pytest

from earg.status import GraphStatus, NodeState, NodeStatus
from hogar_provider.cli.status import WORST_FIRST, state_of


def graph(
    *states: NodeState, url: str = "http://127.0.0.1:8500", operators: int = 2
) -> GraphStatus:
    nodes = tuple(
        NodeStatus(index, f"N{index}", "1", "image", state, "", ())
        for index, state in enumerate(states, start=1)
    )
    return GraphStatus("G", "1", url, operators, nodes)


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (graph(NodeState.READY, NodeState.READY), "serving"),
        (graph(NodeState.READY, NodeState.BUSY), "busy"),
        (graph(NodeState.BUSY, NodeState.DEGRADED), "degraded"),
        (graph(NodeState.RECOVERING, NodeState.READY), "recovering"),
        (graph(NodeState.DEAD, NodeState.RECOVERING), "dead"),
        (graph(NodeState.DRAINING, NodeState.DRAINING), "draining"),
        (graph(NodeState.READY), "incomplete"),
        (graph(NodeState.READY, NodeState.READY, url=""), "incomplete"),
        (graph(NodeState.STARTING), "starting"),
        (graph(), "incomplete"),
    ],
)
def test_a_graph_is_as_its_worst_node(status: GraphStatus, word: str) -> None:
    assert state_of(status) == word


def test_every_state_of_a_node_has_its_place() -> None:
    assert set(WORST_FIRST) == set(NodeState)
