"""The door of a small WSGI server, such as a proxy's metrics: who may ask.

As :mod:`earg.http_door` for the frontend, without what it needs of uvicorn.
"""

from __future__ import annotations

import socketserver
from collections.abc import Callable, Iterable
from typing import Any

from earg.security import Security

StartResponse = Callable[..., Any]
WsgiApp = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]

_REFUSAL = (
    b'{"error":"this port asks for a token: send the header \'Authorization: Bearer \' and what '
    b'its EARG_TOKEN_FILE holds"}'
)


def guard_wsgi(app: WsgiApp, found: Security) -> WsgiApp:
    """``app``, behind the token; ``app`` itself where there is none."""
    if not found.token:
        return app

    def guard(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        # What is in WSGI's environ is text of Latin-1.
        shown = str(environ.get("HTTP_AUTHORIZATION", "")).encode("latin-1", "replace")
        scheme, _, token = shown.partition(b" ")
        if found.admits_token(token.strip()) and scheme.lower() == b"bearer":
            return app(environ, start_response)
        start_response(
            "401 Unauthorized",
            [
                ("WWW-Authenticate", 'Bearer realm="earg"'),
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(_REFUSAL))),
            ],
        )
        return [_REFUSAL]

    return guard


def secure_listener(server: socketserver.TCPServer, found: Security) -> None:
    """Let a bound server ask for client certificates, where they are set.

    The handshake waits for the first read, which the handler's own timeout bounds; one that fails
    raises ssl.SSLError (an OSError) there.
    """
    if found.tls is not None:
        server.socket = found.tls.server.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
