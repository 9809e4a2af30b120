"""Triggers that wait until a node is deployed, or ready."""

from __future__ import annotations

import base64
from typing import Any

from hogar_provider.triggers.agent import AgentTrigger, AsyncAgent


class DeployTrigger(AgentTrigger):
    """Waits until a node has come up that a task has begun to deploy. Where the trigger is
    cancelled, the agent ends what it was starting.

    :param request: the message ``DeployNodeRequest`` in base64.
    """

    def __init__(self, folder: str, deadline: float, request: str) -> None:
        super().__init__(folder, deadline)
        self.request = request

    def arguments(self) -> dict[str, Any]:
        """As of :class:`AgentTrigger`."""
        return {**super().arguments(), "request": self.request}

    def __repr__(self) -> str:
        """Without the request, which holds the environment of the model's process."""
        return f"<{type(self).__name__} folder={self.folder}>"

    async def ask(self, agent: AsyncAgent) -> dict[str, Any]:
        """Deploy."""
        from earg.client import deployed_node
        from earg.protos import hogar_pb2

        request = hogar_pb2.DeployNodeRequest.FromString(base64.b64decode(self.request))
        deployed_node(await agent.call("DeployNode", request, self.left))
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
