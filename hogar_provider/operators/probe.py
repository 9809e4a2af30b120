"""Wait until one node of a graph is ready."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from hogar_provider.operators.base import EargOperator, describe_pair

if TYPE_CHECKING:
    from airflow.sdk import Context


class ProbeNodeOperator(EargOperator):
    """Wait until every pair of a node is ready, or busy; the graph must be wired.

    Fails with what the node waits for where it does not get ready in time.

    :param graph: the graph's name as deployed (templated).
    :param index: which node of the graph's EARG config, from 1.
    :param timeout: seconds that the node may take to get ready.
    """

    def __init__(self, *, index: int, timeout: float = 120.0, **kwargs: Any) -> None:
        super().__init__(timeout=timeout, **kwargs)
        self.index = index

    def execute(self, context: Context) -> None:
        """Probe; see the class."""
        begin = time.monotonic()
        with self.agent() as agent:
            status = agent.probe(self.graph, self.index, timeout=self.timeout)
        for pair in status.pairs:
            self.log.info("%s: %s", status.name, describe_pair(pair))
        self.log.info(
            "%s of graph %s is %s after %.2f s.",
            *(status.name, self.graph, status.state.value, time.monotonic() - begin),
        )
