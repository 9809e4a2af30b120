"""Wait until a graph takes requests."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from hogar_provider.assets import graph_asset
from hogar_provider.links import GRAPH_LINKS, shown
from hogar_provider.operators.base import EargOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from earg.status import GraphStatus


class ServeGraphOperator(EargOperator):
    """Wait until the graph's frontend passes requests on, and return its URL.

    The task updates the graph's asset, ``Asset("earg://<graph>")``, with ``graph``, ``version`` and
    ``url`` as the event's extra. Where ``graph`` is a template, give ``outlets`` yourself.

    :param graph: the graph's name as deployed (templated).
    """

    operator_extra_links = GRAPH_LINKS
    ui_color = "#ceead6"
    custom_operator_name = "Serve graph"

    def __init__(self, *, graph: str, timeout: float = 60.0, **kwargs: Any) -> None:
        if "{" not in graph:
            kwargs.setdefault("outlets", [graph_asset(graph)])
        super().__init__(graph=graph, timeout=timeout, **kwargs)
        self.shown: dict[str, str] = {}

    def perform(self, context: Context) -> str:
        """Serve; see the class."""
        begin = time.monotonic()
        with self.agent() as agent:
            status = agent.serve(self.graph, timeout=self.timeout)
            self.shown = shown(agent.home.path, self.graph, status.url)
        self._update_asset(context, status)
        predict = f"{status.url}/predict"
        self.log.info(
            "Graph %s %s serves at %s after %.2f s.",
            *(status.name, status.version, status.url, time.monotonic() - begin),
        )
        self.log.info("Send it text:  curl -H 'Content-Type: text/plain' -d 'Hello' %s", predict)
        self.log.info(
            "Send it JSON:  curl -H 'Content-Type: application/json' -d '{\"key\": 1}' %s", predict
        )
        self.log.info(
            "Send it a file:  curl -H 'Content-Type: application/octet-stream' "
            "--data-binary @FILE %s",
            predict,
        )
        return status.url

    def _update_asset(self, context: Context, status: GraphStatus) -> None:
        events = context.get("outlet_events")
        asset = graph_asset(self.graph)
        if events is not None and asset in self.outlets:
            events[asset].extra = {
                "graph": status.name,
                "version": status.version,
                "url": status.url,
            }

    def intent(self) -> str:
        """As of :class:`EargOperator`."""
        return f"would wait until graph {self.graph} serves, and update its asset"
