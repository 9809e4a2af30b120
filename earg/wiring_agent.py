"""The wiring of a graph answers for it: the agent's calls, as far as they look, or change what the
graph does while it serves.

What starts the processes is a platform that this knows nothing of (:mod:`earg.cli.wire`), so it
neither deploys nor stops anything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from functools import partial
from typing import NoReturn

import grpc
import grpc.aio

from earg.addresses import EARG_PORTS, Ports
from earg.agent_calls import AgentCalls, Context
from earg.channel import new_server
from earg.deployed import Deployed
from earg.images import Implementation
from earg.ledger import GraphRecord, NodeRecord, PlaceRecord
from earg.plan import Plan
from earg.platform import (
    FrontendFound,
    GraphFound,
    PairFound,
    PairKey,
    PairOrder,
    Part,
    PlatformError,
)
from earg.process import bind, run_until_stopped
from earg.protos import hogar_pb2, hogar_pb2_grpc
from earg.status import HostStatus
from earg.survey import Survey
from earg.usage import ContainerUsage
from earg.wired_deployment import WiredDeployment
from earg.wiring_places import Places

log = logging.getLogger(__name__)

WIRING_PORT = 22225
"""The TCP port on which the wiring answers where no other is named."""

ENGINE = "wiring"
"""What it calls itself in ``HelloReply.engine``."""

_NOT_HERE = (
    "the wiring of a graph starts and stops nothing: deploy, take down and read logs through what "
    "has started the graph's processes"
)


class GivenPlatform:
    """A :class:`earg.platform.Platform` of processes that others start, at places that they say."""

    def __init__(self, places: Places, url: str) -> None:
        self._places = places
        self._url = url

    async def hosts(self) -> tuple[HostStatus, ...]:
        """None are known."""
        return ()

    async def look(self) -> Mapping[str, GraphFound]:
        """What the places say."""
        pairs = {
            (index, number): PairFound(place, "", "")
            for index, node in enumerate(self._places.nodes, 1)
            for number, place in enumerate(node)
        }
        found = GraphFound(self._places.version, pairs, self._frontend())
        return {self._places.name: found}

    def _frontend(self) -> FrontendFound:
        return FrontendFound(self._places.frontend, self._url, "")

    async def usage(self) -> Mapping[PairKey, tuple[ContainerUsage, ...]]:
        """Whoever starts them may know."""
        return {}

    async def start_pair(self, order: PairOrder, avoid: Collection[str] = ()) -> PairFound:
        """Whoever starts it is not here: where it will be."""
        return PairFound(self._places.nodes[order.index - 1][order.number], "", order.digest)

    async def start_frontend(
        self, graph: str, version: str, plan: Plan, token: str = "", avoid: Collection[str] = ()
    ) -> FrontendFound:
        """As :meth:`start_pair`."""
        return self._frontend()

    async def stop_pair(self, graph: str, index: int, number: int) -> None:
        """Nothing is stopped here."""

    async def stop(self, graph: str) -> None:
        """Nothing is stopped here."""

    async def tail(self, graph: str, index: int, number: int, part: Part, lines: int) -> str:
        """It cannot be read here."""
        raise PlatformError(_NOT_HERE)

    async def close(self) -> None:
        """Nothing is open."""


class WiringAgent(AgentCalls):
    """The calls about one graph."""

    def __init__(
        self, plan: Plan, places: Places, url: str, home: str, ports: Ports = EARG_PORTS
    ) -> None:
        super().__init__(ENGINE, home)
        platform = GivenPlatform(places, url)
        self._graphs[places.name] = self._graph_here = WiredDeployment(
            places.name,
            places.version,
            plan,
            platform,
            Survey(platform),
            lambda: None,
            partial(self._tell, places.name),
            _record(plan, places, url),
            ports=ports,
            has_served=False,
        )

    async def close(self) -> None:
        """End; the graph serves on."""
        await self._graph_here.leave()

    async def _take_down(self, name: str, drained: Deployed | None = None) -> bool:
        # It is drained, and stays closed for whoever stops it.
        return True

    async def DeployNode(
        self, request: hogar_pb2.DeployNodeRequest, context: Context
    ) -> hogar_pb2.DeployNodeReply:
        await _refuse(context)

    async def Wire(
        self, request: hogar_pb2.GraphRequest, context: Context
    ) -> hogar_pb2.GraphStatus:
        await _refuse(context)

    async def NodeLog(self, request: hogar_pb2.LogRequest, context: Context) -> hogar_pb2.LogReply:
        await _refuse(context)

    async def Down(self, request: hogar_pb2.GraphRequest, context: Context) -> hogar_pb2.Done:
        await _refuse(context)

    async def Shutdown(self, request: hogar_pb2.Done, context: Context) -> hogar_pb2.Done:
        await _refuse(context)


async def _refuse(context: Context) -> NoReturn:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, _NOT_HERE)
    raise AssertionError("unreachable")


def _record(plan: Plan, places: Places, url: str) -> GraphRecord:
    nodes = tuple(
        NodeRecord(
            index=index,
            spec=spec,
            implementation=plan.implementation(index, Implementation("", "")),
            epoch=0,
            synced=False,
            batch_limit=None,
            pairs=(),
            places=tuple(
                PlaceRecord(number, pair.proxy, pair.models) for number, pair in enumerate(pairs)
            ),
        )
        for index, (spec, pairs) in enumerate(zip(plan.config.nodes, places.nodes, strict=True), 1)
    )
    return GraphRecord(
        name=places.name,
        version=places.version,
        next_version=places.version,
        config=plan.text,
        extras=plan.extras_text,
        model_port=EARG_PORTS.model,
        proxy_port=EARG_PORTS.proxy,
        frontend_ip="",
        http_port=0,
        wired=True,
        draining=False,
        frontend=None,
        nodes=nodes,
        leftovers=(),
        frontend_place=PlaceRecord(0, places.frontend, url=url),
    )


async def serve(
    plan: Plan, places: Places, ip: str, port: int, url: str, ports: Ports = EARG_PORTS
) -> None:
    """Wire the graph, and answer for it at ``ip`` and ``port``, until the process is told to
    stop."""
    server = new_server()
    agent = WiringAgent(plan, places, url, f"{ip}:{port}", ports)
    hogar_pb2_grpc.add_AgentServicer_to_server(agent, server)
    bind(server, ip, port)
    await server.start()
    sampling = asyncio.create_task(agent.sample_nodes())
    log.info("the wiring of %s answers at %s:%d", places.name, ip, port)
    try:
        await run_until_stopped()
    finally:
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
        await server.stop(grace=1.0)
        await agent.close()
