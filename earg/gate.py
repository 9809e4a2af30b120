"""The gate before a server's lanes: who connects is let in with the first whole frame, in time.

Until then a connection holds a place among few, a small buffer and a deadline; where every place
is taken, the one that has waited longest goes. With certificates the handshake comes first. With a
token the first frame is :func:`hello`, answered by ``WELCOME`` before anything else is taken. Once
let in, a connection is its server's own: nothing stays between.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import selectors
import socket
import ssl
import time
from collections.abc import Callable
from typing import cast

from earg.payload import MAX_MESSAGE
from earg.security import LONGEST_TOKEN, Security, security

log = logging.getLogger(__name__)

MAX_LANES = 256
"""Connections that a server holds at a time. A node has a lane from each node before it."""

PATIENCE = 10.0
"""Seconds from a connection to its first whole frame, the handshake included."""

MAX_WAITING_BYTES = 2 * MAX_MESSAGE
"""Bytes of first frames that are not whole yet, of all connections of a server."""

ACCEPT_PAUSE = 0.5
"""Seconds before the next connection is taken where the process has no file descriptor left."""

LENGTH_BYTES = 4
HELLO = b"earg-token "
WELCOME = b"earg-welcome"
LONGEST_HELLO = len(HELLO) + LONGEST_TOKEN


def hello(token: str) -> bytes:
    """The message that shows the token."""
    return HELLO + token.encode()


def _is_welcome(found: Security, message: bytes | bytearray) -> bool:
    return message.startswith(HELLO) and found.admits_token(bytes(message[len(HELLO) :]))


def _most(found: Security) -> int:
    return LONGEST_HELLO if found.token else MAX_MESSAGE


class _Complaints:
    """Logs who was refused, once a second at most: a log must not grow as fast as a peer likes."""

    def __init__(self) -> None:
        self._next = 0.0
        self._unsaid = 0

    def say(self, why: str) -> None:
        now = time.monotonic()
        if now < self._next:
            self._unsaid += 1
            return
        log.warning("a lane is refused: %s (%d more since the last)", why, self._unsaid)
        self._next, self._unsaid = now + 1.0, 0


_WELCOME_FRAME = len(WELCOME).to_bytes(LENGTH_BYTES, "big") + WELCOME


# --- in an event loop -----------------------------------------------------------------------


class Gate:
    """Listens for lanes in this event loop. ``make`` gives the protocol of one that is let in,
    ``admitted`` tells how many of those there are."""

    def __init__(
        self,
        make: Callable[[], asyncio.BaseProtocol],
        admitted: Callable[[], int],
        most: int = MAX_LANES,
        patience: float = PATIENCE,
    ) -> None:
        self._make = make
        self._admitted = admitted
        self._most = most
        self._patience = patience
        self._security = security()
        self._complaints = _Complaints()
        self._waiting: dict[_Knock, None] = {}
        self._waiting_bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self._pause: asyncio.TimerHandle | None = None

    def open(self, ip: str) -> int:
        """Listen on a free port of ``ip``; the port. Raises OSError, and
        :class:`earg.security.SecurityError` where nothing would keep others out."""
        self._security.admit_listening(ip)
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        # The protocol is named because Nagle's delay is switched off only then.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setblocking(False)
            listener.bind((ip, 0))
            listener.listen(128)
        except BaseException:
            listener.close()
            raise
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener, self._accept)
        port: int = listener.getsockname()[1]
        return port

    def close(self) -> None:
        """Stop listening, and drop who waits."""
        listener, self._listener = self._listener, None
        if self._pause is not None:
            self._pause.cancel()
        if listener is not None:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        for knock in list(self._waiting):
            knock.drop()

    def _accept(self) -> None:
        # A few at a time: what else the loop has to do comes in between.
        for _ in range(16):
            if self._listener is None:
                return
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                return
            except OSError as error:
                log.error("no lane can be taken: %s", error)
                self._rest()
                return
            if self._admitted() + len(self._waiting) >= self._most:
                if not self._waiting:
                    connection.close()
                    continue
                next(iter(self._waiting)).drop()
            connection.setblocking(False)
            self._take(connection)

    def _rest(self) -> None:
        loop = asyncio.get_running_loop()
        listener = self._listener
        assert listener is not None
        loop.remove_reader(listener)

        def again() -> None:
            if self._listener is not None:
                loop.add_reader(self._listener, self._accept)

        self._pause = loop.call_later(ACCEPT_PAUSE, again)

    def _take(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        knock = _Knock(self)
        self._waiting[knock] = None
        knock.deadline = loop.call_later(self._patience, knock.drop)
        task = loop.create_task(self._connect(connection, knock))
        knock.connecting = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, connection: socket.socket, knock: _Knock) -> None:
        tls = self._security.tls
        try:
            if tls is None:
                await asyncio.get_running_loop().connect_accepted_socket(lambda: knock, connection)
            else:
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: knock,
                    connection,
                    ssl=tls.server,
                    ssl_handshake_timeout=self._patience,
                )
        except (OSError, RuntimeError, asyncio.CancelledError) as error:
            connection.close()
            if isinstance(error, ssl.SSLError):
                self._complaints.say(f"its handshake failed ({error.reason})")
            self.forget(knock)

    def hold(self, count: int) -> bool:
        """Count bytes of first frames; False where there are too many."""
        self._waiting_bytes += count
        return self._waiting_bytes <= MAX_WAITING_BYTES

    def forget(self, knock: _Knock) -> None:
        """It waits no longer."""
        if knock in self._waiting:
            del self._waiting[knock]
            self._waiting_bytes -= len(knock.buffer)
            if knock.deadline is not None:
                knock.deadline.cancel()

    def examine(self, knock: _Knock) -> None:
        """Let it in, or drop it, as soon as its first frame tells."""
        buffer = knock.buffer
        if len(buffer) < LENGTH_BYTES:
            return
        end = LENGTH_BYTES + int.from_bytes(buffer[:LENGTH_BYTES], "big")
        if end - LENGTH_BYTES > _most(self._security):
            knock.drop()
            return
        if len(buffer) < end:
            return
        transport = knock.transport
        assert transport is not None
        rest = bytes(buffer)
        if self._security.token:
            # Whoever sends on before the answer came is no peer of ours.
            message = buffer[LENGTH_BYTES:end]
            if len(buffer) > end or not _is_welcome(self._security, message):
                self._complaints.say("it does not show the token")
                knock.drop()
                return
            rest = b""
            transport.write(_WELCOME_FRAME)
        self.forget(knock)
        knock.transport = None
        protocol = self._make()
        # Stopped and started: a loop chooses how it hands data on when it begins to read.
        transport.pause_reading()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        transport.resume_reading()
        if rest:
            _feed(protocol, rest)


def _feed(protocol: asyncio.BaseProtocol, data: bytes) -> None:
    if not hasattr(protocol, "get_buffer"):
        cast(asyncio.Protocol, protocol).data_received(data)
        return
    buffered = cast(asyncio.BufferedProtocol, protocol)
    while data:
        buffer = memoryview(buffered.get_buffer(len(data)))
        count = min(len(buffer), len(data))
        buffer[:count] = data[:count]
        buffered.buffer_updated(count)
        data = data[count:]


class _Knock(asyncio.Protocol):
    """A connection that is not let in yet."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.buffer = bytearray()
        self.transport: asyncio.Transport | None = None
        self.connecting: asyncio.Task[None] | None = None
        self.deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self._gate.hold(len(data)):
            self.drop()
            return
        self._gate.examine(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gate.forget(self)

    def drop(self) -> None:
        """End it, unanswered."""
        self._gate.forget(self)
        if self.transport is not None:
            self.transport.abort()
        elif self.connecting is not None:
            self.connecting.cancel()


# --- with a thread that waits -----------------------------------------------------------------


class BlockingGate:
    """The gate of a server that serves one lane after the other in a thread of its own, which
    waits in :meth:`next_lane`."""

    def __init__(self, most: int = MAX_LANES, patience: float = PATIENCE) -> None:
        self._most = most
        self._patience = patience
        self._security = security()
        self._complaints = _Complaints()
        self._listener: socket.socket | None = None
        self._wake, self._woken = socket.socketpair()
        self._waiting: dict[_Caller, None] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._closed = False

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._listener is not None
        port: int = self._listener.getsockname()[1]
        return port

    def open(self, ip: str) -> None:
        """Listen on a free port of ``ip``; raises as :meth:`Gate.open`."""
        self._security.admit_listening(ip)
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setblocking(False)
        listener.bind((ip, 0))
        listener.listen(128)
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ)

    def close(self) -> None:
        """Let :meth:`next_lane` end; from any thread."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._wake.send(b"x")

    def next_lane(self) -> tuple[socket.socket, bytes | None] | None:
        """The next connection that is let in, blocking, with its first message where no token is
        asked for; None once the gate is closed.

        No byte after the first frame is read.
        """
        while not self._closed:
            now = time.monotonic()
            for caller in [one for one in self._waiting if one.deadline <= now]:
                self._drop(caller)
            first = next(iter(self._waiting), None)
            timeout = None if first is None else max(0.0, first.deadline - now)
            for key, _ in self._selector.select(timeout):
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.data, _Caller) and key.data in self._waiting:
                    found = self._hear(key.data)
                    if found is not None:
                        return found
        self._end()
        return None

    def _end(self) -> None:
        for caller in list(self._waiting):
            self._drop(caller)
        self._selector.close()
        for one in (self._listener, self._wake, self._woken):
            if one is not None:
                one.close()

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return
        except OSError as error:
            log.error("no lane can be taken: %s", error)
            time.sleep(ACCEPT_PAUSE)
            return
        # The lane that is served is one of the most, too.
        if len(self._waiting) + 1 >= self._most:
            self._drop(next(iter(self._waiting)))
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = self._security.tls
        if tls is not None:
            connection = tls.server.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        caller = _Caller(connection, time.monotonic() + self._patience, tls is not None)
        self._waiting[caller] = None
        self._selector.register(connection, selectors.EVENT_READ, caller)

    def _drop(self, caller: _Caller) -> None:
        del self._waiting[caller]
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(caller.connection)
        caller.connection.close()

    def _hear(self, caller: _Caller) -> tuple[socket.socket, bytes | None] | None:
        try:
            message = caller.read(_most(self._security))
        except (ssl.SSLWantReadError, BlockingIOError, InterruptedError):
            held = sum(len(one.buffer) for one in self._waiting)
            if held > MAX_WAITING_BYTES:
                self._drop(caller)
            return None
        except ssl.SSLWantWriteError:
            # The kernel's buffer is full of a handshake that nobody reads.
            self._drop(caller)
            return None
        except (OSError, ValueError) as error:
            self._complaints.say(str(error))
            self._drop(caller)
            return None
        connection = caller.connection
        if self._security.token and not _is_welcome(self._security, message):
            self._complaints.say("it does not show the token")
            self._drop(caller)
            return None
        del self._waiting[caller]
        self._selector.unregister(connection)
        if not self._security.token:
            connection.setblocking(True)
            return connection, bytes(message)
        try:
            connection.settimeout(self._patience)
            connection.sendall(_WELCOME_FRAME)
            connection.setblocking(True)
        except OSError:
            connection.close()
            return None
        return connection, None


class _Caller:
    """A connection that is not let in yet."""

    def __init__(self, connection: socket.socket, deadline: float, shakes_hands: bool) -> None:
        self.connection = connection
        self.deadline = deadline
        self.buffer = bytearray()
        self._shakes_hands = shakes_hands
        self._wanted = LENGTH_BYTES
        self._has_length = False

    def read(self, most: int) -> bytearray:
        """The first frame's message, once it is whole; raises BlockingIOError or SSLWantReadError
        before, ValueError and OSError for one that is never let in."""
        if self._shakes_hands:
            cast(ssl.SSLSocket, self.connection).do_handshake()
            self._shakes_hands = False
        while True:
            while len(self.buffer) < self._wanted:
                data = self.connection.recv(min(self._wanted - len(self.buffer), 1 << 18))
                if not data:
                    raise ValueError("it was closed before its first frame")
                self.buffer += data
            if self._has_length:
                return self.buffer
            length = int.from_bytes(self.buffer, "big")
            if length > most:
                raise ValueError(f"its first frame of {length} bytes is larger than {most}")
            self._has_length = True
            self._wanted = length
            self.buffer.clear()
