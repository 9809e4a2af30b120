"""Connect the deployed nodes of a graph with each other."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from hogar_provider.operators.base import EargOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class WireGraphOperator(EargOperator):
    """Start the graph's frontend and tell every proxy the graph: who sends to whom.

    Every node must be deployed. What is wired already is left as it is. Returns the frontend's
    URL, which answers requests once the nodes are ready.

    :param graph: the graph's name as deployed (templated).
    """

    def __init__(self, *, timeout: float = 60.0, **kwargs: Any) -> None:
        super().__init__(timeout=timeout, **kwargs)

    def execute(self, context: Context) -> str:
        """Wire; see the class."""
        begin = time.monotonic()
        with self.agent() as agent:
            status = agent.wire(self.graph, timeout=self.timeout)
        self.log.info(
            "Graph %s %s is wired after %.2f s: %d nodes, frontend %s",
            *(status.name, status.version, time.monotonic() - begin),
            *(len(status.nodes), status.url),
        )
        return status.url
