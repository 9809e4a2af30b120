"""What becomes of a frame that its peer has taken and never answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc.aio
import pytest

from earg.addresses import AddressPool
from earg.lane import LaneClosedError, LaneServer
from earg.lane_client import LaneClient
from earg.payload import CHANNEL_OPTIONS, pack
from earg.protos import hogar_pb2, hogar_pb2_grpc, prediction_pb2_grpc
from earg.sender import Sender
from tests.earg.running import serving


class Peer(prediction_pb2_grpc.ProxyServerServicer, hogar_pb2_grpc.LaneServicer):
    """Tells a lane's port as a proxy does."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def Open(self, request: hogar_pb2.LaneRequest, context: Any) -> hogar_pb2.LaneReply:
        return hogar_pb2.LaneReply(port=self._port)


@contextlib.asynccontextmanager
async def swallowing(ip: str) -> AsyncIterator[int]:
    """The port of a listener that takes frames and never answers."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while await reader.read(65536):
                pass
        writer.close()

    server = await asyncio.start_server(swallow, ip, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.fixture
def proxy(pool: AddressPool) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A proxy's process that has no graph yet: it holds every sender back."""
    ip = pool.take()
    environment = os.environ | {
        "PROXY_NAME": "g.only.proxy",
        "PROXY_PORT": str(pool.ports.proxy),
        "LISTEN_IP": ip,
    }
    process = subprocess.Popen([sys.executable, "-m", "earg.proxy"], env=environment)
    yield f"{ip}:{pool.ports.proxy}", process
    process.kill()
    process.wait()


RELAY = hogar_pb2.RelayRequest(
    source=0, requests=[hogar_pb2.Request(id=1, payload=pack("x"))]
).SerializeToString()


@pytest.mark.slow
def test_a_peer_that_holds_back_is_waited_for_and_one_that_is_gone_is_not(
    proxy: tuple[str, subprocess.Popen[bytes]],
) -> None:
    address, process = proxy

    async def scenario() -> None:
        async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
            await asyncio.wait_for(channel.channel_ready(), 30)
            client = LaneClient(channel, address.partition(":")[0], 10.0)
            # An empty frame is answered whatever the peer does with others.
            assert await asyncio.wait_for(client.exchange(b""), 20) == b""
            held = asyncio.create_task(client.exchange(RELAY))
            await asyncio.sleep(4.0)
            assert not held.done()
            os.kill(process.pid, signal.SIGSTOP)
            with pytest.raises(LaneClosedError):
                await asyncio.wait_for(held, 20)
            os.kill(process.pid, signal.SIGCONT)
            assert await asyncio.wait_for(client.exchange(b""), 20) == b""
            client.close()

    asyncio.run(scenario())


@pytest.mark.slow
def test_a_lane_that_is_not_watched_waits_for_ever(
    proxy: tuple[str, subprocess.Popen[bytes]],
) -> None:
    address, process = proxy

    async def scenario() -> None:
        async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
            await asyncio.wait_for(channel.channel_ready(), 30)
            client = LaneClient(channel, address.partition(":")[0], 10.0, watched=False)
            assert await asyncio.wait_for(client.exchange(b""), 20) == b""
            held = asyncio.create_task(client.exchange(RELAY))
            os.kill(process.pid, signal.SIGSTOP)
            await asyncio.sleep(5.0)
            assert not held.done()
            client.close()
            with pytest.raises(LaneClosedError):
                await held

    asyncio.run(scenario())


@pytest.mark.slow
def test_a_sender_sends_again_what_a_peer_has_swallowed(pool: AddressPool) -> None:
    ip = pool.take()
    address = f"{ip}:{pool.ports.proxy}"
    taken: list[int] = []

    def take(message: bytes) -> bytes:
        taken.extend(one.id for one in hogar_pb2.RelayRequest.FromString(message).requests)
        return b""

    def registered(port: int) -> tuple[Any, Peer]:
        return hogar_pb2_grpc.add_LaneServicer_to_server, Peer(port)

    async def scenario() -> None:
        sender = Sender(0, "127.0.0.1:1", address)
        sending = asyncio.create_task(sender.run())
        lanes = LaneServer(take)
        async with swallowing(ip) as port:
            async with serving(address, registered(port)):
                await sender.put([hogar_pb2.Request(id=7, payload=pack("x"))])
                # As long as the peer answers, it may hold the request back.
                await asyncio.sleep(3.0)
                assert taken == []
            # Its lane stays open, as that of a peer does that is cut off; another takes its place.
            async with serving(address, registered(await lanes.start(ip))):
                async with asyncio.timeout(20):
                    while taken != [7] or sender.failed:
                        await asyncio.sleep(0.02)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await sender.close()
        lanes.close()

    asyncio.run(scenario())
