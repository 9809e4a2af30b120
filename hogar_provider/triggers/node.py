"""Triggers that wait until a node is deployed, or ready."""

from __future__ import annotations

from typing import Any

from hogar_provider.triggers.agent import AgentTrigger, AsyncAgent


class DeployTrigger(AgentTrigger):
    """Waits until a node has come up that a task has begun to deploy. Where the trigger is
    cancelled, the agent ends what it was starting.

    :param start: the name that the task gave the start. The request itself stays with the agent:
        Airflow shows a trigger's arguments, and it holds the environment of the model's process.
    """

    def __init__(self, folder: str, deadline: float, start: str) -> None:
        super().__init__(folder, deadline)
        self.start = start

    def arguments(self) -> dict[str, Any]:
        """As of :class:`AgentTrigger`."""
        return {**super().arguments(), "start": self.start}

    async def ask(self, agent: AsyncAgent) -> dict[str, Any]:
        """Deploy."""
        from earg.client import deployed_node, join_request

        deployed_node(await agent.call("DeployNode", join_request(self.start), self.left))
        return {}


class ProbeTrigger(AgentTrigger):
    """Waits until a node is ready.

    :param graph: the graph's name as deployed.
    :param index: which node, from 1.
    """

    def __init__(self, folder: str, deadline: float, graph: str, index: int) -> None:
        super().__init__(folder, deadline)
        self.graph = graph
        self.index = index

    def arguments(self) -> dict[str, Any]:
        """As of :class:`AgentTrigger`."""
        return {**super().arguments(), "graph": self.graph, "index": self.index}

    async def ask(self, agent: AsyncAgent) -> dict[str, Any]:
        """Probe."""
        from earg.protos import hogar_pb2

        request = hogar_pb2.NodeRequest(graph=self.graph, index=self.index)
        await agent.call("Probe", request, self.left)
        return {}
