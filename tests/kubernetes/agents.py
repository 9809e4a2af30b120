"""An agent of the engine on its socket, in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from earg.home import Home
from earg.payload import CHANNEL_OPTIONS
from earg.protos import hogar_pb2, hogar_pb2_grpc
from earg.status import Event, GraphStatus, NodeStatus
from earg.status_wire import read_event, read_graph, read_node
from hogar_provider.engines.kubernetes_agent import KubernetesAgent, open_kubernetes
from hogar_provider.engines.kubernetes_settings import KubernetesSettings
from tests.kubernetes.graphs import GRAPH, plan_of


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)


@dataclass
class Client:
    """The agent's calls."""

    agent: KubernetesAgent
    stub: hogar_pb2_grpc.AgentStub

    async def deploy(
        self,
        index: int,
        text: str = GRAPH,
        *,
        graph: str = "hello",
        version: str = "1",
        timeout: float = 20.0,
        entrypoint: str = "",
        artifact: str = "",
        **more: Any,
    ) -> hogar_pb2.DeployNodeReply:
        plan = plan_of(text)
        request = hogar_pb2.DeployNodeRequest(
            graph=graph,
            version=version,
            config=plan.text,
            extras=plan.extras_text,
            index=index,
            implementation=hogar_pb2.Implementation(
                entrypoint=entrypoint,
                environment=[hogar_pb2.EnvironmentVariable(name="HOGAR_ARTIFACT", value=artifact)]
                if artifact
                else [],
            ),
            **more,
        )
        # Two seconds are the agent's, to tidy up.
        reply: hogar_pb2.DeployNodeReply = await self.stub.DeployNode(request, timeout=timeout + 2)
        return reply

    async def deployed(self, index: int, text: str = GRAPH, **more: Any) -> NodeStatus:
        reply = await self.deploy(index, text, **more)
        assert not reply.failure, reply.failure
        return read_node(reply.node)

    async def graphs(self, name: str = "") -> list[GraphStatus]:
        reply = await self.stub.Graphs(hogar_pb2.GraphsRequest(graph=name), timeout=20)
        return [read_graph(one) for one in reply.graphs]

    async def graph(self, name: str = "hello") -> GraphStatus:
        (one,) = await self.graphs(name)
        return one

    async def wire(self, timeout: float = 20.0) -> GraphStatus:
        request = hogar_pb2.GraphRequest(graph="hello")
        return read_graph(await self.stub.Wire(request, timeout=timeout + 2))

    async def probe(self, index: int, timeout: float = 20.0) -> NodeStatus:
        request = hogar_pb2.NodeRequest(graph="hello", index=index)
        return read_node(await self.stub.Probe(request, timeout=timeout + 2))

    async def serve(self, timeout: float = 20.0) -> GraphStatus:
        request = hogar_pb2.GraphRequest(graph="hello")
        return read_graph(await self.stub.Serve(request, timeout=timeout + 2))

    async def events(self, newer_than: int = 0) -> list[Event]:
        request = hogar_pb2.EventsRequest(graph="hello", newer_than=newer_than)
        reply = await self.stub.Events(request, timeout=20)
        return [read_event(one) for one in reply.events]

    async def log(self, index: int, **which: Any) -> hogar_pb2.LogReply:
        request = hogar_pb2.LogRequest(graph="hello", index=index, **which)
        reply: hogar_pb2.LogReply = await self.stub.NodeLog(request, timeout=20)
        return reply

    async def down(self, name: str = "hello") -> None:
        await self.stub.Down(hogar_pb2.GraphRequest(graph=name), timeout=60)


@contextlib.asynccontextmanager
async def running_agent(folder: Path, settings: KubernetesSettings) -> AsyncIterator[Client]:
    """An agent in ``folder``."""
    home = Home(folder)
    home.prepare()
    agent = await open_kubernetes(settings, home)
    server = grpc.aio.server(options=CHANNEL_OPTIONS)
    hogar_pb2_grpc.add_AgentServicer_to_server(agent, server)
    server.add_insecure_port(home.target)
    await server.start()
    channel = grpc.aio.insecure_channel(home.target, options=CHANNEL_OPTIONS)
    try:
        yield Client(agent, hogar_pb2_grpc.AgentStub(channel))
    finally:
        await channel.close()
        await server.stop(0.5)
        await agent.close()
