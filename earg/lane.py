"""Lanes: HOGAR's messages as length-prefixed frames on a socket of their own.

A request of the five-node graph crosses a dozen processes' borders, and what a crossing costs is
waking the other side: a gRPC stream goes through threads of its own on both sides, a plain socket
wakes exactly the loop that waits. The lane's port is asked for in the ordinary gRPC service
(``hogar.earg.v1.Lane``), so a peer without one answers UNIMPLEMENTED as any original does.

A frame is its length in four bytes, big-endian, and that many bytes of one protobuf message. Each
frame is answered by one frame, in order. An empty frame asks whether the other side is there: a
proxy or frontend answers it at once, with an empty one.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import cast

from google.protobuf.message import DecodeError

from earg.gate import LENGTH_BYTES, PATIENCE, WELCOME, Gate, hello
from earg.payload import MAX_MESSAGE
from earg.security import security

STUCK_INTERVAL = 1.0
"""Seconds between looks for an exchange that nothing has answered since the look before."""

MOST_AHEAD = 1024 * 1024
"""Bytes behind a frame that is held back which are read, before the peer is not read any more."""

Handler = Callable[[bytes], bytes | None]
"""Answers one frame at once, or None: then not now, and the sender is held back. One that raises
protobuf's DecodeError drops the lane."""


class LaneClosedError(ConnectionError):
    """The other side is gone; what was not answered may or may not have arrived."""


def frame(message: bytes) -> bytes:
    """``message`` with its length before it."""
    return len(message).to_bytes(LENGTH_BYTES, "big") + message


_EMPTY_FRAME = frame(b"")


class _Frames(asyncio.Protocol):
    """Cuts what arrives into frames."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked: uvloop's transports are none of asyncio's classes.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self.cut()

    def cut(self) -> None:
        """Hand on every whole frame, until one is not taken."""
        buffer = self._buffer
        at = 0
        while len(buffer) - at >= LENGTH_BYTES:
            end = at + LENGTH_BYTES + int.from_bytes(buffer[at : at + LENGTH_BYTES], "big")
            if end - at > MAX_MESSAGE:
                self.transport.abort()
                break
            if len(buffer) < end or not self.arrived(bytes(buffer[at + LENGTH_BYTES : end])):
                break
            at = end
        if at:
            del buffer[:at]

    def arrived(self, message: bytes) -> bool:
        """Take one frame; False leaves it for later."""
        raise NotImplementedError


class Lane(_Frames):
    """The client's side: one exchange after the other, or several under way in order."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[asyncio.Future[bytes]] = deque()
        self._oldest: asyncio.Future[bytes] | None = None
        self._look_again: asyncio.TimerHandle | None = None
        self.closed = False

    @classmethod
    async def connect(cls, ip: str, port: int) -> Lane:
        """A lane to ``ip``; raises OSError."""
        found = security()
        loop = asyncio.get_running_loop()
        if not found.is_set:
            _, lane = await loop.create_connection(cls, ip, port)
            return lane
        tls = found.tls
        async with asyncio.timeout(PATIENCE):
            _, lane = await loop.create_connection(
                cls,
                ip,
                port,
                ssl=None if tls is None else tls.client,
                server_hostname=None if tls is None else tls.name_of(ip),
            )
            try:
                if found.token and await lane.exchange(hello(found.token)) != WELCOME:
                    raise LaneClosedError("the other side does not take the token")
            except BaseException:
                lane.close()
                raise
        return lane

    def watch(self, stuck: Callable[[], None]) -> None:
        """Call ``stuck`` now and then while the oldest exchange gets no answer. It costs the
        exchanges nothing: no deadline of their own, only a look at who still waits."""
        oldest = self._waiting[0] if self._waiting else None
        if oldest is not None and oldest is self._oldest:
            stuck()
        self._oldest = oldest
        if not self.closed:
            self._look_again = asyncio.get_running_loop().call_later(
                STUCK_INTERVAL, self.watch, stuck
            )

    async def exchange(self, message: bytes) -> bytes:
        """The answer to ``message``; raises :class:`LaneClosedError`."""
        if self.closed:
            raise LaneClosedError("the lane is closed")
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self.transport.write(frame(message))
        return await answer

    def arrived(self, message: bytes) -> bool:
        if not self._waiting:
            self.transport.abort()
            return False
        answer = self._waiting.popleft()
        if not answer.done():
            answer.set_result(message)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._look_again is not None:
            self._look_again.cancel()
        for answer in self._waiting:
            if not answer.done():
                answer.set_exception(LaneClosedError("the other side has closed the lane"))
        self._waiting.clear()

    def close(self) -> None:
        """Close it; exchanges under way raise :class:`LaneClosedError`."""
        self.closed = True
        self.transport.abort()


class _Session(_Frames):
    """The server's side of one lane."""

    def __init__(self, server: LaneServer) -> None:
        super().__init__()
        self._server = server
        self._most = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._server.sessions.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.sessions.discard(self)
        self._server.held.discard(self)

    def data_received(self, data: bytes) -> None:
        if self not in self._server.held:
            super().data_received(data)
            return
        # It is read on, or nobody would notice that the peer closes the lane: what it has left here
        # was sent to another place since, and must not be taken any more.
        self._buffer += data
        if len(self._buffer) > self._most:
            self.transport.pause_reading()

    def arrived(self, message: bytes) -> bool:
        if not message:
            self.transport.write(_EMPTY_FRAME)
            return True
        try:
            answer = self._server.handler(message)
        except DecodeError:
            self.transport.abort()
            return False
        if answer is None:
            self._server.held.add(self)
            self._most = len(self._buffer) + MOST_AHEAD
            return False
        self.transport.write(frame(answer))
        return True

    # A peer that does not read its answers is not read either.

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        if self not in self._server.held:
            self.transport.resume_reading()

    def release(self) -> None:
        """Try again what was not taken."""
        self.transport.resume_reading()
        self.cut()


class LaneServer:
    """Serves lanes with a handler that answers at once or holds the sender back."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.sessions: set[_Session] = set()
        self.held: set[_Session] = set()
        self._gate = Gate(lambda: _Session(self), lambda: len(self.sessions))

    async def start(self, ip: str) -> int:
        """Listen on a free port of ``ip``; the port."""
        return self._gate.open(ip)

    def release(self) -> None:
        """There is room again: let those who were held back try."""
        held, self.held = self.held, set()
        for session in held:
            session.release()

    def close(self) -> None:
        """Stop listening and drop every lane."""
        self._gate.close()
        for session in list(self.sessions):
            session.transport.abort()


def receive(connection: socket.socket) -> bytes | None:
    """One frame from a blocking socket; None where the other side has closed it.

    Raises OSError, and ValueError for a frame larger than any message may be.
    """
    head = _receive_exactly(connection, LENGTH_BYTES)
    if head is None:
        return None
    length = int.from_bytes(head, "big")
    if length > MAX_MESSAGE:
        raise ValueError(f"a frame of {length} bytes is larger than {MAX_MESSAGE}")
    return _receive_exactly(connection, length)


def _receive_exactly(connection: socket.socket, count: int) -> bytes | None:
    data = connection.recv(count)
    if len(data) == count:
        return data
    parts = bytearray(data)
    while len(parts) < count:
        if not data:
            return None
        data = connection.recv(min(count - len(parts), 1 << 20))
        parts += data
    return bytes(parts)
