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
        from hogar_provider.changes import summary

        begin = time.monotonic()
        changes = self._changes(context)
        with self.agent() as agent:
            status = agent.wire(self.graph, timeout=self.timeout)
            self.shown = shown(agent.home.path, self.graph, status.url)
        for line in summary(changes):
            self.log.info("%s", line)
        if changes and set(changes.values()) == {"unchanged"}:
            self.log.info("Nothing of graph %s has changed.", self.graph)
        self.log.info(
            "Graph %s %s is wired after %.2f s: %d nodes, frontend %s",
            *(status.name, status.version, time.monotonic() - begin),
            *(len(status.nodes), status.url),
        )
        return status.url

    def _changes(self, context: Context) -> dict[str, str]:
        """Node to what its deploy has changed, of the tasks before this one; they are kept as the
        XCom ``changes``, too."""
        ti = context.get("ti")
        before = sorted(self.upstream_task_ids)
        if ti is None or not before:
            return {}
        found = ti.xcom_pull(task_ids=before) or []
        changes = {
            one["node"]: one["change"]
            for one in found
            if isinstance(one, dict) and "node" in one and "change" in one
        }
        if changes:
            ti.xcom_push("changes", changes)
        return changes

    def intent(self) -> str:
        """As of :class:`EargOperator`."""
        return f"would start the frontend of graph {self.graph} and tell every proxy the graph"
