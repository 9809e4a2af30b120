"""Proxies, models and frontends on addresses of their own, for tests that speak real gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from earg.addresses import AddressPool
from earg.config import Edge, NodeSpec, Pair, RuntimeConfig, RuntimeNode
from earg.lane import Lane
from earg.model import ModelServicer, load_model, start_server
from earg.payload import CHANNEL_OPTIONS
from earg.protos import hogar_pb2, hogar_pb2_grpc, prediction_pb2, prediction_pb2_grpc
from earg.proxy import Proxy

MODELS = Path(__file__).parent / "models"


def pair(name: str, ip: str) -> Pair:
    """The fields of a pair whose processes share one address."""
    return Pair(f"{name}.model", f"{name}.model", ip, f"{name}.proxy", f"{name}.proxy", ip)


def runtime(
    frontend_ip: str,
    nodes: dict[str, str],
    dist: tuple[Edge, ...],
    reduce: tuple[Edge, ...] = (),
    batch: int = 8,
) -> RuntimeConfig:
    """A graph ``g`` whose nodes have the given addresses."""
    return RuntimeConfig(
        "g",
        "1",
        "frontend",
        "frontend",
        frontend_ip,
        tuple(
            RuntimeNode(NodeSpec(name, "1", "image", False, batch), pair(f"g.{name}", ip))
            for name, ip in nodes.items()
        ),
        dist,
        reduce,
    )


@contextlib.asynccontextmanager
async def serving(
    address: str, *registrations: tuple[Callable[[Any, Any], None], Any]
) -> AsyncIterator[grpc.aio.Server]:
    """A gRPC server on ``address`` with the given services."""
    server = grpc.aio.server(options=CHANNEL_OPTIONS)
    for register, servicer in registrations:
        register(servicer, server)
    assert server.add_insecure_port(address) != 0
    await server.start()
    try:
        yield server
    finally:
        await server.stop(None)


@contextlib.asynccontextmanager
async def running_model(pool: AddressPool, ip: str, entrypoint: str) -> AsyncIterator[Any]:
    """HOGAR's model server around a class of ``models/``."""
    model = load_model(entrypoint, str(MODELS))
    servicer = ModelServicer(model)
    server = start_server(servicer, ip, pool.ports.model)
    serving_lanes = asyncio.create_task(asyncio.to_thread(servicer.serve_lanes))
    try:
        yield model
    finally:
        servicer.close()
        await serving_lanes
        server.stop(None)


@contextlib.asynccontextmanager
async def open_lane(ip: str, port: int) -> AsyncIterator[Lane]:
    """A lane to the model, proxy or frontend at ``ip`` and ``port``."""
    async with grpc.aio.insecure_channel(f"{ip}:{port}", options=CHANNEL_OPTIONS) as channel:
        reply = await hogar_pb2_grpc.LaneStub(channel).Open(hogar_pb2.LaneRequest())
    lane = await Lane.connect(ip, reply.port)
    try:
        yield lane
    finally:
        lane.close()


@contextlib.asynccontextmanager
async def running_proxy(pool: AddressPool, name: str, ip: str) -> AsyncIterator[Proxy]:
    """A proxy that has neither model nor graph yet."""
    proxy = Proxy(f"{name}.proxy", ip, pool.ports.proxy, model_patience=0.5)
    async with serving(
        f"{ip}:{pool.ports.proxy}",
        (prediction_pb2_grpc.add_ProxyServerServicer_to_server, proxy),
        (hogar_pb2_grpc.add_LaneServicer_to_server, proxy),
        (hogar_pb2_grpc.add_ControlServicer_to_server, proxy),
        (hogar_pb2_grpc.add_StatisticsServicer_to_server, proxy),
        (hogar_pb2_grpc.add_RegisterServicer_to_server, proxy),
    ):
        await proxy.listen()
        try:
            yield proxy
        finally:
            await proxy.close()


@contextlib.asynccontextmanager
async def stub_of(pool: AddressPool, ip: str) -> AsyncIterator[Any]:
    """A stub of the proxy (or frontend) at ``ip``, in EARG's plain protocol."""
    async with grpc.aio.insecure_channel(
        f"{ip}:{pool.ports.proxy}", options=CHANNEL_OPTIONS
    ) as channel:
        yield prediction_pb2_grpc.ProxyServerStub(channel)


@contextlib.asynccontextmanager
async def control_of(pool: AddressPool, ip: str) -> AsyncIterator[Any]:
    """A stub of HOGAR's own calls to the proxy at ``ip``."""
    async with grpc.aio.insecure_channel(
        f"{ip}:{pool.ports.proxy}", options=CHANNEL_OPTIONS
    ) as channel:
        yield hogar_pb2_grpc.ControlStub(channel)


async def set_model(pool: AddressPool, stub: Any, ip: str, index: int = 1) -> None:
    """SetModel with the model at the same address."""
    info = prediction_pb2.modelinfo(modelIp=ip, modelPort=pool.ports.model, modelId=index)
    await stub.SetModel(info, timeout=10)


async def eventually(
    condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 15.0
) -> None:
    """Wait until ``condition`` holds."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        await asyncio.sleep(0.01)
