"""Take a graph down."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hogar_provider.arguments import truth
from hogar_provider.configuration import drain_timeout
from hogar_provider.exceptions import AirflowException
from hogar_provider.hooks.earg import EargHook
from hogar_provider.operators.base import MARGIN, EargOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class UndeployGraphOperator(EargOperator):
    """Stop a graph: let it answer what it has accepted first, or stop it at once.

    A graph that is not deployed is no error, so that the task can be repeated. Returns whether the
    graph was there.

    :param graph: the graph's name as deployed (templated).
    :param drain: whether it answers what it has accepted first, and takes no new requests meanwhile
        (templated).
    :param timeout: seconds that draining may take; unless given, ``[hogar] drain_timeout``. A graph
        that is not drained by then serves on and the task fails, unless ``force`` is set.
    :param force: stop it after that time all the same (templated); the log tells how many requests
        were left.
    """

    template_fields: Sequence[str] = (*EargOperator.template_fields, "drain", "force")
    ui_color = "#f1f3f4"
    custom_operator_name = "Undeploy graph"

    def __init__(
        self,
        *,
        drain: bool | str = True,
        force: bool | str = False,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> None:
        timeout = drain_timeout() if timeout is None else timeout
        # Stopping the processes comes on top.
        kwargs.setdefault("execution_timeout", timedelta(seconds=timeout) + 2 * MARGIN)
        super().__init__(timeout=timeout, **kwargs)
        self.drain = drain
        self.force = force

    def perform(self, context: Context) -> bool:
        """Undeploy; see the class."""
        from hogar_provider.undeploy import take_down

        if not self._is_deployed():
            self.log.info("Graph %s is not deployed: there is nothing to do.", self.graph)
            return False
        with self.agent() as agent:
            left = take_down(
                agent,
                self.graph,
                now=not truth(self.drain, "drain"),
                timeout=self.timeout,
                force=truth(self.force, "force"),
            )
        if left:
            self.log.warning("%d requests were left without a reply.", left)
        self.log.info("Graph %s is down.", self.graph)
        return True

    def _is_deployed(self) -> bool:
        from earg.client import AgentError, NoAgentError

        try:
            with EargHook(self.earg_conn_id).engine().connect(start=False) as agent:
                return any(graph.name == self.graph for graph in agent.graphs())
        except NoAgentError:
            return False
        except AgentError as error:
            raise AirflowException(str(error)) from None

    def intent(self) -> str:
        """As of :class:`EargOperator`."""
        if not self._is_deployed():
            return f"graph {self.graph} is not deployed, there would be nothing to do"
        how = "drain" if truth(self.drain, "drain") else "stop"
        return f"would {how} graph {self.graph} and take it down"
