"""Wait until a graph takes requests."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from hogar_provider.operators.base import EargOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ServeGraphOperator(EargOperator):
    """Wait until the graph's frontend passes requests on, and return its URL.

    :param graph: the graph's name as deployed (templated).
    """

    def __init__(self, *, timeout: float = 60.0, **kwargs: Any) -> None:
        super().__init__(timeout=timeout, **kwargs)

    def execute(self, context: Context) -> str:
        """Serve; see the class."""
        begin = time.monotonic()
        with self.agent() as agent:
            status = agent.serve(self.graph, timeout=self.timeout)
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
