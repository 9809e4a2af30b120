"""Wait until one node of a graph is ready."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hogar_provider.arguments import agent_path, default_deferrable
from hogar_provider.configuration import probe_timeout
from hogar_provider.links import NODE_LINKS, shown
from hogar_provider.operators.base import MARGIN, EargOperator, describe_pair

if TYPE_CHECKING:
    from airflow.sdk import Context

    from earg.client import AgentClient

PATIENCE = 5.0
"""Seconds that a deferrable task waits itself: most nodes are ready by then."""


class ProbeNodeOperator(EargOperator):
    """Wait until every pair of a node is ready, or busy; the graph must be wired.

    Fails with what the node waits for where it does not get ready in time.

    :param graph: the graph's name as deployed (templated).
    :param index: which node of the graph's EARG config, from 1.
    :param timeout: seconds that the node may take to get ready; unless given, ``[hogar]
        probe_timeout``.
    :param deferrable: where that takes longer than five seconds, wait in the triggerer and hold no
        worker; unless given, Airflow's setting ``[operators] default_deferrable``. The triggerer
        must run on the agent's machine.
    """

    operator_extra_links = NODE_LINKS
    ui_color = "#e6f4ea"
    custom_operator_name = "Probe node"

    def __init__(
        self,
        *,
        index: int,
        timeout: float | None = None,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(timeout=probe_timeout() if timeout is None else timeout, **kwargs)
        self.index = index
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.shown: dict[str, str] = {}

    def perform(self, context: Context) -> None:
        """Probe; see the class."""
        begin = time.time()
        if not self.deferrable or self.timeout <= PATIENCE:
            with self.agent() as agent:
                agent.probe(self.graph, self.index, timeout=self.timeout)
                self._report(agent, begin)
            return
        if not self._is_ready_soon(begin):
            self._wait_in_triggerer(begin)

    def _is_ready_soon(self, begin: float) -> bool:
        from earg.status import SERVING, NodeState

        with self.agent() as agent:
            while True:
                graph = agent.graph(self.graph)
                node = next((node for node in graph.nodes if node.index == self.index), None)
                if node is None or node.state in {*SERVING, NodeState.DEAD}:
                    # The agent's own words where it is not deployed, or given up.
                    agent.probe(self.graph, self.index, timeout=PATIENCE)
                    self._report(agent, begin)
                    return True
                if time.time() > begin + PATIENCE:
                    self.log.info(
                        "%s is %s after %.0f s (%s): the triggerer waits for it, %.0f s in all at "
                        "most.",
                        *(node.name, node.state.value, PATIENCE, node.reason, self.timeout),
                    )
                    return False
                time.sleep(0.1)

    def _wait_in_triggerer(self, begin: float) -> None:
        from hogar_provider.triggers.node import ProbeTrigger

        self.defer(
            trigger=ProbeTrigger(
                agent_path(self.earg_conn_id), begin + self.timeout, self.graph, self.index
            ),
            method_name="execute_complete",
            kwargs={"begin": begin},
            timeout=timedelta(seconds=self.timeout) + MARGIN,
        )

    def execute_complete(
        self, context: Context, event: dict[str, Any], begin: float | None = None
    ) -> None:
        """After the trigger; ``airflow dags test`` does not hand on when the task began."""
        self.resumed(event)
        with self.agent() as agent:
            self._report(agent, begin)

    def _report(self, agent: AgentClient, begin: float | None) -> None:
        graph = agent.graph(self.graph)
        status = next(node for node in graph.nodes if node.index == self.index)
        for pair in status.pairs:
            self.log.info("%s: %s", status.name, describe_pair(pair))
        after = "" if begin is None else f" after {time.time() - begin:.2f} s"
        self.log.info(
            "%s of graph %s is %s%s.", *(status.name, self.graph, status.state.value, after)
        )
        self.shown = shown(agent.home.path, self.graph, graph.url, status.name)

    def intent(self) -> str:
        """As of :class:`EargOperator`."""
        return (
            f"would wait until node {self.index} of graph {self.graph} is ready, "
            f"{self.timeout:g} s at most"
        )
