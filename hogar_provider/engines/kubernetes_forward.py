"""A port of this machine that leads to a port of a pod, through the Kubernetes API.

As ``kubectl port-forward`` does it, in the WebSocket protocol ``v4.channel.k8s.io``: a message is
a channel's number in one byte and data; channel 0 is the port's data and channel 1 its errors, and
the first message on each says the port's number.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

from hogar_provider.engines.kubernetes_api import Api, ApiError

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 256
"""Connections through one forwarded port at a time; a further one is closed."""

CHUNK = 64 * 1024
"""Bytes of one message at most."""

DATA, ERRORS = 0, 1

FindPod = Callable[[], Awaitable[tuple[str, int]]]
"""The pod that a new connection is to lead to, and its port; raises :class:`ApiError`."""


class Forward:
    """One forwarded port. Each connection looks for its pod anew, so it outlives pods."""

    def __init__(self, api: Api, find: FindPod) -> None:
        self._api = api
        self._find = find
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.trouble = ""

    async def listen_at(self, socket: Path) -> str:
        """Listen on a Unix socket, in a folder that is closed to others; its gRPC target."""
        socket.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._connected, socket)
        return f"unix://{socket}"

    async def listen(self, wished: int) -> str:
        """Listen on a port of the loopback interface, the ``wished`` one if it is free;
        ``127.0.0.1:port``."""
        try:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", wished)
        except OSError:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    async def close(self) -> None:
        """Close it, with all connections."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= MOST_CONNECTIONS:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            pod, port = await self._find()
            async with self._api.port_forward(pod, port) as socket:
                self.trouble = ""
                await _pump(reader, writer, socket)
        except ApiError as error:
            self.trouble = str(error)
            log.warning("%s", error)
        except (OSError, aiohttp.ClientError) as error:
            self.trouble = f"the connection through the Kubernetes API broke: {error}"
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _pump(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    socket: aiohttp.ClientWebSocketResponse,
) -> None:
    """Until either side closes."""

    async def up() -> None:
        while data := await reader.read(CHUNK):
            await socket.send_bytes(bytes((DATA,)) + data)

    async def down() -> None:
        numbered: set[int] = set()
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel not in numbered:
                # The port's number.
                numbered.add(channel)
                data = data[2:]
            if not data:
                continue
            if channel == ERRORS:
                raise ApiError(f"the port cannot be forwarded: {data.decode(errors='replace')}")
            writer.write(data)
            await writer.drain()

    sides = [asyncio.create_task(up()), asyncio.create_task(down())]
    try:
        done, _ = await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in sides:
            task.cancel()
        await asyncio.gather(*sides, return_exceptions=True)
