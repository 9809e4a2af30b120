"""Connect the deployed nodes of a graph with each other."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from hogar_provider.links import GRAPH_LINKS, shown
from hogar_provider.operators.base import EargOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class WireGraphOperator(EargOperator):
    """Start the graph's frontend and tell every proxy the graph: who sends to whom.

    Every node must be deployed. What is wired already is left as it is. The log sums up what the
    tasks before it that deploy nodes have changed. Returns the frontend's URL, which answers
    requests once the nodes are ready.

    :param graph: the graph's name as deployed (templated).
    """

    operator_extra_links = GRAPH_LINKS
    ui_color = "#fef7e0"
    custom_operator_name = "Wire graph"

    def __init__(self, *, timeout: float = 60.0, **kwargs: Any) -> None:
        super().__init__(timeout=timeout, **kwargs)
        self.shown: dict[str, str] = {}

    def perform(self, context: Context) -> str:
        """Wire; see the class."""
        begin = time.monotonic()
        self._sum_up(context)
        with self.agent() as agent:
            status = agent.wire(self.graph, timeout=self.timeout)
            self.shown = shown(agent.home.path, self.graph, status.url)
        self.log.info(
            "Graph %s %s is wired after %.2f s: %d nodes, frontend %s",
            *(status.name, status.version, time.monotonic() - begin),
            *(len(status.nodes), status.url),
        )
        return status.url

    def _sum_up(self, context: Context) -> None:
        """Log what the tasks before this one that deploy nodes have changed, and keep it as the
        XComs ``difference`` and ``changes``."""
        from hogar_provider.changes import summary, widest

        ti = context.get("ti")
        before = sorted(self.upstream_task_ids)
        if ti is None or not before:
            return
        found = [
            one
            for one in ti.xcom_pull(task_ids=before) or []
            if isinstance(one, dict) and "node" in one and "change" in one
        ]
        if not found:
            return
        difference = widest([one.get("difference") for one in found])
        if difference is None:
            self.log.info("Graph %s was not deployed before.", self.graph)
        elif not difference:
            self.log.info("Graph %s is the one that was deployed before.", self.graph)
        else:
            for line in difference.splitlines():
                self.log.info("%s", line)
        changes = {one["node"]: one["change"] for one in found}
        for line in summary(changes):
            self.log.info("%s", line)
        ti.xcom_push("difference", difference)
        ti.xcom_push("changes", changes)

    def intent(self) -> str:
        """As of :class:`EargOperator`."""
        return f"would start the frontend of graph {self.graph} and tell every proxy the graph"
