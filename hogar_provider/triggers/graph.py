"""Triggers that watch a graph until something holds."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from typing import Any

from hogar_provider.conditions import holds, measure, report_of, unhealthy
from hogar_provider.triggers.agent import AgentTrigger, AsyncAgent

CALL_TIMEOUT = 10.0
"""Seconds for a look."""


class WatchTrigger(AgentTrigger):
    """Looks at a graph every ``poll_interval`` seconds.

    :param graph: the graph's name as deployed.
    """

    def __init__(self, folder: str, deadline: float, graph: str, poll_interval: float) -> None:
        super().__init__(folder, deadline)
        self.graph = graph
        self.poll_interval = poll_interval

    def arguments(self) -> dict[str, Any]:
        """As of :class:`AgentTrigger`."""
        return {
            **super().arguments(),
            "graph": self.graph,
            "poll_interval": self.poll_interval,
        }

    async def ask(self, agent: AsyncAgent) -> dict[str, Any]:
        """Watch. What is waited for is logged whenever it changes."""
        told = ""
        while True:
            done, sentence = await self.look(agent)
            if sentence != told:
                self.log.info("%s", sentence)
                told = sentence
            if done:
                return {"sentence": sentence}
            left = self.deadline - time.time()
            if left <= 0:
                raise TimeoutError(sentence)
            await asyncio.sleep(min(self.poll_interval, left))

    @abstractmethod
    async def look(self, agent: AsyncAgent) -> tuple[bool, str]:
        """Whether it holds now, and a sentence about it."""


class HealthTrigger(WatchTrigger):
    """Waits until every node of a graph is ready."""

    async def look(self, agent: AsyncAgent) -> tuple[bool, str]:
        """As of :class:`WatchTrigger`."""
        from earg.protos import hogar_pb2
        from earg.status_wire import read_graph

        reply = await agent.call("Graphs", hogar_pb2.GraphsRequest(), CALL_TIMEOUT)
        for message in reply.graphs:
            if message.name == self.graph:
                return health(self.graph, unhealthy(read_graph(message)))
        return False, f"graph {self.graph} is not deployed"


class MetricTrigger(WatchTrigger):
    """Waits until a node's metric is within bounds.

    :param node: the operator's name.
    :param metric: one of :data:`hogar_provider.conditions.METRICS`.
    """

    def __init__(
        self,
        folder: str,
        deadline: float,
        graph: str,
        poll_interval: float,
        node: str,
        metric: str,
        seconds: int,
        below: float | None,
        above: float | None,
    ) -> None:
        super().__init__(folder, deadline, graph, poll_interval)
        self.node = node
        self.metric = metric
        self.seconds = seconds
        self.below = below
        self.above = above

    def arguments(self) -> dict[str, Any]:
        """As of :class:`AgentTrigger`."""
        return {
            **super().arguments(),
            "node": self.node,
            "metric": self.metric,
            "seconds": self.seconds,
            "below": self.below,
            "above": self.above,
        }

    async def look(self, agent: AsyncAgent) -> tuple[bool, str]:
        """As of :class:`WatchTrigger`."""
        from earg.client import AgentError, NoAgentError
        from earg.protos import hogar_pb2
        from earg.statistics_wire import read_graph_statistics

        request = hogar_pb2.StatisticsRequest(graph=self.graph, history_seconds=self.seconds)
        try:
            message = await agent.call("Statistics", request, CALL_TIMEOUT)
        except NoAgentError:
            raise
        except AgentError as error:
            # Not deployed yet: that may come.
            return False, str(error)
        report = report_of(read_graph_statistics(message), self.node)
        if report is None:
            return False, f"graph {self.graph} has no node {self.node!r} deployed"
        value, sentence = measure(report, self.metric, self.seconds)
        return holds(value, self.below, self.above), sentence


def health(graph: str, reasons: list[str]) -> tuple[bool, str]:
    """Whether a graph is healthy, and a sentence about it."""
    if reasons:
        return False, f"graph {graph} is not healthy: {'; '.join(reasons)}"
    return True, f"graph {graph} is healthy: every node is ready"
