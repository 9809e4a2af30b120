"""The frontend's door: who may ask over HTTP, and how much a client may make it hold.

With a token every request shows it (``Authorization: Bearer ...``), but for ``OPEN_PATHS``, which
tell a load balancer nothing but whether the frontend lives and is ready. With certificates a
client without one has no connection at all. uvicorn itself bounds neither a request's head nor
how long it takes, nor how many clients only hold connections: :class:`BoundedHttp` does.
"""

from __future__ import annotations

import contextlib
import resource
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from earg.security import Security

OPEN_PATHS = frozenset({"/v2/health/live", "/v2/health/ready"})
"""What is answered without a token."""

MAX_HEAD = 64 * 1024
"""Bytes of a request's line and headers, or of what follows its body."""

MAX_CONNECTIONS = 4096
"""Clients that are connected at a time; fewer where the process may open fewer files."""

CHECK_SECONDS = 10.0
"""A connection's first request must have its head by then, a later one within twice as long."""

BODY_SECONDS = 120.0
"""Seconds for a body to arrive."""

SMALL_BODY = 64 * 1024
MAX_BODIES = 512 * 1024 * 1024
"""Bytes of all bodies above ``SMALL_BODY`` that are read or in the graph at a time."""

Handler = Callable[[Request], Awaitable[Response]]


def tls_options(found: Security) -> dict[str, Any]:
    """What uvicorn's Config needs for TLS with client certificates; nothing without."""
    if found.tls is None:
        return {}
    return {
        "ssl_certfile": str(found.tls.certificate_file),
        "ssl_keyfile": str(found.tls.key_file),
        "ssl_ca_certs": str(found.tls.authority_file),
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
    }


def guarded(app: ASGIApp, found: Security) -> ASGIApp:
    """``app``, behind the token; ``app`` itself where there is none."""
    if not found.token:
        return app

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (
            scope["path"] in OPEN_PATHS or _shows_token(found, scope["headers"])
        ):
            await app(scope, receive, send)
        elif scope["type"] == "http":
            await _UNAUTHORIZED(scope, receive, send)

    return guard


def _shows_token(found: Security, headers: list[tuple[bytes, bytes]]) -> bool:
    shown = [value for name, value in headers if name == b"authorization"]
    scheme, _, token = (shown[0] if len(shown) == 1 else b"").partition(b" ")
    return found.admits_token(token.strip()) and scheme.lower() == b"bearer"


# The body is not read: the connection closes, however much of it is still to come.
_UNAUTHORIZED = JSONResponse(
    {
        "error": "this frontend asks for a token: send the header 'Authorization: Bearer ' and "
        "what its EARG_TOKEN_FILE holds"
    },
    401,
    {"WWW-Authenticate": 'Bearer realm="earg"', "Connection": "close"},
)


class Bodies:
    """Counts the large bodies that are read or in the graph."""

    def __init__(self, most: int = MAX_BODIES) -> None:
        self._left = most
        # By what a request receives its body with: that is one for each.
        self._held: dict[Receive, int] = {}

    def hold(self, receive: Receive, size: int) -> bool:
        """Let a request hold ``size`` bytes in all; False where there is no room."""
        if size <= SMALL_BODY:
            return True
        more = size - self._held.get(receive, 0)
        if more > self._left:
            return False
        self._left -= more
        self._held[receive] = size
        return True

    def release(self, receive: Receive) -> None:
        """The request is over."""
        if self._held:
            self._left += self._held.pop(receive, 0)

    def released(self, handler: Handler) -> Handler:
        """``handler``, after which its request holds nothing."""

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            finally:
                self.release(request.receive)

        return handle


def raise_file_limit() -> int:
    """Let this process open as many files as it may be allowed to; the connections that it may
    hold then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MAX_CONNECTIONS
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, soft // 2)


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's HTTP, bounded: heads, their time, and connections.

    It adds well under a microsecond to a request; what need not be looked at while one passes is
    looked at every ``CHECK_SECONDS``.
    """

    most_connections = MAX_CONNECTIONS

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # Bytes since a head was whole, or a piece of a body came.
        self._unseen = 0
        self._progress = False
        self._cycle_before: object = None
        self._waited = True
        self._slow = 0.0
        self._check_timer = self.loop.call_later(CHECK_SECONDS, self._check)

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            # One that has never asked goes first.
            idle = (one for one in self.connections if getattr(one, "cycle", None) is None)
            next((one for one in idle if one is not self), self).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._check_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        self._progress = False
        HttpToolsProtocol.data_received(self, data)
        if self._progress or self.cycle is not before:
            self._unseen = 0
            return
        self._unseen += len(data)
        if self._unseen > MAX_HEAD:
            self._refuse_head()

    def on_body(self, body: bytes) -> None:
        self._progress = True
        HttpToolsProtocol.on_body(self, body)

    def _refuse_head(self) -> None:
        sentence = b'{"error":"the request line and headers are larger than %d bytes"}' % MAX_HEAD
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (len(sentence), sentence)
        )
        # What still comes is not read.
        self.transport.pause_reading()
        self.transport.close()

    def _check(self) -> None:
        """Every ``CHECK_SECONDS``: drop a client that lets its request wait."""
        if self.transport is None:
            return
        cycle = self.cycle
        is_same = cycle is self._cycle_before
        # uvicorn's own timer runs from a reply to the first byte of the next request.
        waits = cycle is None or (cycle.response_complete and self.timeout_keep_alive_task is None)
        comes = not waits and cycle.more_body and not cycle.response_complete
        self._slow = self._slow + CHECK_SECONDS if comes and is_same else 0.0
        if (waits and self._waited and is_same) or self._slow >= BODY_SECONDS:
            self.transport.abort()
            return
        self._cycle_before, self._waited = cycle, waits
        self._check_timer = self.loop.call_later(CHECK_SECONDS, self._check)
