"""Which requests are in a graph and where, and those whose way was recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import grpc
import grpc.aio

from earg.answered import answered
from earg.channel import open_channel
from earg.config import StaticConfig
from earg.deployed import DeployedNode, DeploymentError
from earg.protos import hogar_pb2, hogar_pb2_grpc

TIMEOUT = 2.0
"""Seconds for a frontend or a proxy to answer."""


class Graph(Protocol):
    """What it needs of a graph."""

    name: str

    @property
    def config(self) -> StaticConfig:
        """Its nodes."""

    @property
    def frontend_address(self) -> str:
        """Where its frontend takes gRPC, as "ip:port"."""

    def node(self, index: int) -> DeployedNode:
        """The node as deployed; raises :class:`DeploymentError`."""


async def requests_in(graph: Graph, most: int) -> hogar_pb2.RequestsReply:
    """The oldest ``most`` requests in the graph, each with the nodes that hold it; raises
    :class:`DeploymentError` where the frontend does not answer."""
    async with open_channel(graph.frontend_address) as channel:
        stub = hogar_pb2_grpc.RegisterStub(channel)
        try:
            told = await answered(stub.InGraph(hogar_pb2.InGraphQuery(most=most), timeout=TIMEOUT))
        except (grpc.aio.AioRpcError, OSError) as error:
            raise _silent(graph, error) from None
    ids = [one.id for one in told.requests]
    indexes = range(1, len(graph.config.nodes) + 1)
    found = await asyncio.gather(*(_held(graph, index, ids) for index in indexes)) if ids else []
    places: dict[int, list[hogar_pb2.NodePosition]] = {}
    for index, positions in zip(indexes, found, strict=False):
        for one in positions:
            places.setdefault(one.id, []).append(
                hogar_pb2.NodePosition(index=index, stage=one.stage, seconds=one.seconds)
            )
    return hogar_pb2.RequestsReply(
        requests=[
            hogar_pb2.GraphRequestStatus(
                id=one.id,
                seconds=one.seconds,
                attempt=one.attempt,
                positions=places.get(one.id, ()),
            )
            for one in told.requests
        ],
        total=told.total,
        failing=told.failing if told.HasField("failing") else None,
    )


async def _held(graph: Graph, index: int, ids: Sequence[int]) -> Sequence[hogar_pb2.Position]:
    """Those of the requests that a node holds; none where its proxy does not tell."""
    try:
        channel = graph.node(index).pairs[0].proxy_channel
    except DeploymentError:
        return ()
    if channel is None:
        return ()
    stub = hogar_pb2_grpc.RegisterStub(channel)
    try:
        reply: hogar_pb2.WhereReply = await answered(
            stub.Where(hogar_pb2.WhereQuery(ids=ids), timeout=TIMEOUT)
        )
    except (grpc.aio.AioRpcError, OSError):
        # It is dying, or an original, which keeps no register.
        return ()
    return reply.positions


async def recorded_by(graph: Graph, most: int) -> hogar_pb2.TracesReply:
    """The newest ``most`` traces; raises :class:`DeploymentError` as above."""
    async with open_channel(graph.frontend_address) as channel:
        stub = hogar_pb2_grpc.RegisterStub(channel)
        try:
            return await answered(stub.Traces(hogar_pb2.TracesQuery(most=most), timeout=TIMEOUT))
        except (grpc.aio.AioRpcError, OSError) as error:
            raise _silent(graph, error) from None


def _silent(graph: Graph, error: grpc.aio.AioRpcError | OSError) -> DeploymentError:
    if isinstance(error, grpc.aio.AioRpcError):
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return DeploymentError(
                f"the frontend of {graph.name} is an original, which keeps no register"
            )
        reason = error.code().name
    else:
        reason = str(error)
    return DeploymentError(f"the frontend of {graph.name} does not answer: {reason}")
