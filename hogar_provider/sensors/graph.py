"""Sensors: wait until a graph is healthy, or until a node's metric is where it should be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hogar_provider.conditions import METRICS, holds, measure, report_of, unhealthy
from hogar_provider.sensors.base import EargSensor

if TYPE_CHECKING:
    from earg.client import AgentClient
    from hogar_provider.triggers.graph import HealthTrigger, MetricTrigger


class GraphHealthySensor(EargSensor):
    """Wait until every node of a graph is ready (or busy) and its frontend runs.

    Who is not, and why, is in the log, whenever it changes. A graph that is not deployed is waited
    for, too.
    """

    def look(self, agent: AgentClient) -> tuple[bool, str]:
        """As of :class:`EargSensor`."""
        from hogar_provider.triggers.graph import health

        for graph in agent.graphs():
            if graph.name == self.graph:
                return health(self.graph, unhealthy(graph))
        return False, f"graph {self.graph} is not deployed"

    def trigger(self, folder: str, deadline: float) -> HealthTrigger:
        """As of :class:`EargSensor`."""
        from hogar_provider.triggers.graph import HealthTrigger

        return HealthTrigger(folder, deadline, self.graph, self.poke_interval)


class NodeMetricSensor(EargSensor):
    """Wait until a node's metric is below, or above, a bound over the last seconds.

    For example ``metric="p99", below=0.2``: in the last 10 s requests were answered, and the p99 of
    no second was 200 ms or more. A node that has not counted for so long yet is waited for.

    :param node: the operator's name (templated).
    :param metric: one of :data:`hogar_provider.conditions.METRICS`.
    :param below: the value must be less.
    :param above: the value must be greater.
    :param seconds: how many complete seconds count, 1 to 900.
    """

    template_fields: Sequence[str] = (*EargSensor.template_fields, "node")

    def __init__(
        self,
        *,
        node: str,
        metric: str,
        below: float | None = None,
        above: float | None = None,
        seconds: int = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if metric not in METRICS:
            raise ValueError(f"metric {metric!r} is none of {', '.join(METRICS)}")
        if below is None and above is None:
            raise ValueError("give a bound: below=..., above=..., or both")
        if not 1 <= seconds <= 900:
            raise ValueError(f"seconds must be 1 to 900, not {seconds}")
        self.node = node
        self.metric = metric
        self.below = below
        self.above = above
        self.seconds = seconds

    def look(self, agent: AgentClient) -> tuple[bool, str]:
        """As of :class:`EargSensor`."""
        from earg.client import AgentError, NoAgentError

        try:
            statistics = agent.statistics(self.graph, self.seconds)
        except NoAgentError:
            raise
        except AgentError as error:
            # Not deployed yet: that may come.
            return False, str(error)
        report = report_of(statistics, self.node)
        if report is None:
            return False, f"graph {self.graph} has no node {self.node!r} deployed"
        value, sentence = measure(report, self.metric, self.seconds)
        return holds(value, self.below, self.above), sentence

    def trigger(self, folder: str, deadline: float) -> MetricTrigger:
        """As of :class:`EargSensor`."""
        from hogar_provider.triggers.graph import MetricTrigger

        return MetricTrigger(
            folder,
            deadline,
            self.graph,
            self.poke_interval,
            self.node,
            self.metric,
            self.seconds,
            self.below,
            self.above,
        )
