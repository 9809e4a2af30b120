"""gRPC channels and servers, with the security that the process is set to.

Nobody else in the runtime opens one, so no place can forget it. Where neither certificates nor a
token are set these are gRPC's plain ones, with nothing between.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio

from earg.payload import CHANNEL_OPTIONS
from earg.security import Security, security

TOKEN_KEY = "authorization"  # noqa: S105  the metadata's name, as in HTTP
SCHEME = "Bearer "

MAX_CONNECTIONS = 512
"""Connections that one server holds at a time; a graph's server has a few."""

HANDSHAKE_SECONDS = 10
"""A peer that has not said hello by then is dropped."""

SERVER_OPTIONS = (
    *CHANNEL_OPTIONS,
    ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
    ("grpc.server_handshake_timeout_ms", HANDSHAKE_SECONDS * 1000),
    # Of one connection.
    ("grpc.max_concurrent_streams", 4096),
)

_TARGET = re.compile(r"(?:[\w.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):\d{1,5}\Z", re.ASCII)
_REFUSAL = "show the token: metadata 'authorization' with 'Bearer ' and what EARG_TOKEN_FILE holds"


def open_channel(address: str, *changed: tuple[str, Any]) -> grpc.aio.Channel:
    """A channel to the process at ``address`` (``ip:port``), which says who calls. Options of gRPC
    that are ``changed`` stand in for the usual ones.

    Raises ValueError for what is no address: gRPC would take a name of another kind, such as a
    Unix socket's, as well.
    """
    if not _TARGET.match(address):
        raise ValueError(f"{address[:100]!r} is no address of the form ip:port")
    found = security()
    interceptors: list[grpc.aio.ClientInterceptor] | None = None
    if found.token:
        metadata = (TOKEN_KEY, SCHEME + found.token)
        interceptors = [_ShowToUnary(metadata), _ShowToStream(metadata)]
    options: list[tuple[str, Any]] = [*(dict(CHANNEL_OPTIONS) | dict(changed)).items()]
    if found.tls is None:
        return grpc.aio.insecure_channel(address, options=options, interceptors=interceptors)
    if found.tls.server_name:
        options.append(("grpc.ssl_target_name_override", found.tls.server_name))
    credentials = grpc.ssl_channel_credentials(
        found.tls.authority, found.tls.key, found.tls.certificate
    )
    return grpc.aio.secure_channel(address, credentials, options=options, interceptors=interceptors)


def new_server() -> grpc.aio.Server:
    """A server of this process's event loop, which asks who calls. :func:`add_port` binds it."""
    found = security()
    interceptors = [_AskForToken(found)] if found.token else None
    return grpc.aio.server(options=SERVER_OPTIONS, interceptors=interceptors)


def new_threaded_server(threads: int) -> grpc.Server:
    """A server with ``threads`` of its own, which asks who calls. :func:`add_port` binds it."""
    found = security()
    return grpc.server(
        ThreadPoolExecutor(threads, thread_name_prefix="grpc"),
        options=SERVER_OPTIONS,
        interceptors=[_AskForTokenInThread(found)] if found.token else None,
    )


def add_port(server: grpc.Server | grpc.aio.Server, ip: str, port: int) -> int:
    """Bind ``server`` to one address; the port, 0 where it is taken.

    Raises :class:`earg.security.SecurityError` for an address that others reach where nothing
    keeps them out, and RuntimeError as gRPC does.
    """
    found = security()
    found.admit_listening(ip)
    address = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
    if found.tls is None:
        return server.add_insecure_port(address)
    credentials = grpc.ssl_server_credentials(
        [(found.tls.key, found.tls.certificate)], found.tls.authority, require_client_auth=True
    )
    return server.add_secure_port(address, credentials)


# --- the caller's side ----------------------------------------------------------------------


class _ShowToken:
    def __init__(self, metadata: tuple[str, str]) -> None:
        self._metadata = metadata

    def _shown(self, details: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
        metadata = grpc.aio.Metadata(*(details.metadata or ()), self._metadata)
        return grpc.aio.ClientCallDetails(
            method=details.method,
            timeout=details.timeout,
            metadata=metadata,
            credentials=details.credentials,
            wait_for_ready=details.wait_for_ready,
        )


class _ShowToUnary(_ShowToken, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        return await continuation(self._shown(client_call_details), request)


class _ShowToStream(_ShowToken, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        return await continuation(self._shown(client_call_details), request)


# --- the called side ------------------------------------------------------------------------


def _shows_token(found: Security, details: grpc.HandlerCallDetails) -> bool:
    shown = [value for key, value in details.invocation_metadata or () if key == TOKEN_KEY]
    text = shown[0] if len(shown) == 1 else ""
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    scheme, token = text[: len(SCHEME)], text[len(SCHEME) :]
    return found.admits_token(token) and scheme.lower() == SCHEME.lower()


# A handler of streams answers before it has read a message: of a caller who is refused nothing is
# taken, however much it sends.


class _AskForToken(grpc.aio.ServerInterceptor):
    def __init__(self, found: Security) -> None:
        self._found = found

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        if _shows_token(self._found, handler_call_details):
            return await continuation(handler_call_details)
        return grpc.stream_stream_rpc_method_handler(_refuse)


async def _refuse(requests: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, _REFUSAL)


class _AskForTokenInThread(grpc.ServerInterceptor):
    def __init__(self, found: Security) -> None:
        self._found = found

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Any],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        if _shows_token(self._found, handler_call_details):
            return continuation(handler_call_details)
        return grpc.stream_stream_rpc_method_handler(_refuse_in_thread)


def _refuse_in_thread(requests: Any, context: grpc.ServicerContext) -> Any:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, _REFUSAL)
