"""EARG's ``ManagementServer``: originals report to it that a neighbour failed.

The agent serves it for each deployed graph, at an address of the graph's own (ADMIN_IP of its
proxies). Whoever handles a failure is settled by the answer: with an empty status it is the one who
reports, with any other the admin has done it. The agent always does it itself, so what is reported
only hastens what it would have found.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import grpc
import grpc.aio

from earg.addresses import is_free
from earg.channel import add_port, new_server
from earg.protos import management_pb2, management_pb2_grpc

log = logging.getLogger(__name__)

MANAGEMENT_PORT = 55555
"""Where originals look for it; another is taken only where something listens on every address."""

OTHER_PORTS = range(55565, 55665, 10)

LONGEST_FIELD = 4096
"""Bytes of a field of a message; a config may have more."""

LONGEST_CONFIG = 4 * 1024 * 1024

MOST_REPORTS = 256
"""Reports that are under way at a time."""

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Handled:
    """What became of a reported failure."""

    old: str
    new: str
    is_primary: bool
    is_stateful: bool
    status: str


class Graph(Protocol):
    """What it needs of the graph it serves for."""

    name: str
    version: str

    @property
    def indexes(self) -> range:
        """Its nodes."""

    def runtime_text(self) -> str:
        """The runtime config; empty before the graph is wired."""

    async def handle_failure(self, index: int, ip: str) -> Handled:
        """Look at the proxy of node ``index`` at ``ip``, and replace it where it is dead or hangs;
        raises ValueError for one that is not the graph's."""


def choose_port(ip: str) -> int:
    """A port of ``ip`` that is free now; 55555 but for a machine where it is taken."""
    for port in (MANAGEMENT_PORT, *OTHER_PORTS):
        if is_free(ip, port):
            return int(port)
    return 0


def admin_variables(ip: str, port: int) -> dict[str, str]:
    """What a proxy's environment says of it; the port is HOGAR's addition."""
    if not port:
        return {}
    return {"ADMIN_IP": ip} | ({} if port == MANAGEMENT_PORT else {"ADMIN_PORT": str(port)})


class Management(management_pb2_grpc.ManagementServerServicer):
    """The management server of one graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._reports = 0
        # By node; of one that the graph has not there is none.
        self._locks: dict[int, asyncio.Lock] = {}

    async def serve(self, ip: str, port: int) -> None:
        """Serve until it is cancelled."""
        if not port:
            log.error("no port of %s is free: originals cannot report failures", ip)
            return
        server = new_server()
        management_pb2_grpc.add_ManagementServerServicer_to_server(self, server)
        try:
            bound = add_port(server, ip, port)
        except RuntimeError:
            bound = 0
        if not bound:
            log.error("port %d of %s is taken: originals cannot report failures", port, ip)
            return
        try:
            await server.start()
            await server.wait_for_termination()
        finally:
            await server.stop(None)

    # --- calls ------------------------------------------------------------------------------

    async def ReportContainerFailure(  # noqa: N802
        self, request: management_pb2.FailureInfo, context: Context
    ) -> management_pb2.FailureResponse:
        await self._check(request, context)
        # Of any version: an original keeps the name that it was deployed with.
        if request.appid.partition("-")[0] not in ("", self._graph.name):
            await _refuse(
                context,
                grpc.StatusCode.NOT_FOUND,
                f"this is the admin of {self._graph.name}, not of that graph",
            )
        ip = request.proxyip or request.hostip
        if not request.modelid.isascii() or not request.modelid.isdecimal():
            await _refuse(
                context,
                grpc.StatusCode.INVALID_ARGUMENT,
                "modelid is the node's place in the config, from 1",
            )
        if self._reports >= MOST_REPORTS:
            await _refuse(
                context,
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{MOST_REPORTS} reports are under way already",
            )
        self._reports += 1
        try:
            handled = await self._handle(int(request.modelid[:9]), ip)
        except ValueError as error:
            await _refuse(context, grpc.StatusCode.NOT_FOUND, str(error))
        finally:
            self._reports -= 1
        return management_pb2.FailureResponse(
            oldruntimedag=handled.old,
            newruntimedag=handled.new,
            isprimary=handled.is_primary,
            isstateful=handled.is_stateful,
            status=handled.status,
            modelid=request.modelid,
        )

    async def _handle(self, index: int, ip: str) -> Handled:
        """Several reports of one failure one after the other: the second finds it handled."""
        if index not in self._graph.indexes:
            raise ValueError(f"graph {self._graph.name} has no node {index}")
        async with self._locks.setdefault(index, asyncio.Lock()):
            return await self._graph.handle_failure(index, ip)

    async def AddRuntimeDAG(  # noqa: N802
        self, request: management_pb2.RuntimeDAGInfo, context: Context
    ) -> management_pb2.Response:
        await self._check(request, context)
        if request.file != self._graph.runtime_text():
            await _refuse(
                context,
                grpc.StatusCode.FAILED_PRECONDITION,
                f"the agent has deployed {self._graph.name} and knows its runtime config; "
                "deploy another through the agent",
            )
        return management_pb2.Response(status="ok")

    async def GetRuntimeDAG(  # noqa: N802
        self, request: management_pb2.RuntimeDAGInfo, context: Context
    ) -> management_pb2.RuntimeDAGInfo:
        await self._check(request, context)
        graph = self._graph
        text = graph.runtime_text()
        wanted = (request.name or graph.name, request.version or graph.version)
        if not text or wanted != (graph.name, graph.version):
            await _refuse(
                context,
                grpc.StatusCode.NOT_FOUND,
                f"this is the admin of {graph.name}, version {graph.version}, which is "
                f"{'deployed' if text else 'not wired yet'}",
            )
        return management_pb2.RuntimeDAGInfo(
            file=text, id=request.id, name=graph.name, version=graph.version, format=request.format
        )

    async def _check(self, request: Any, context: Context) -> None:
        for field, value in request.ListFields():
            most = LONGEST_CONFIG if field.name == "file" else LONGEST_FIELD
            if len(value) > most:
                await _refuse(
                    context,
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"{field.name} is longer than {most} characters",
                )


async def _refuse(context: Context, code: grpc.StatusCode, sentence: str) -> NoReturn:
    await context.abort(code, sentence)
    raise AssertionError("unreachable")
