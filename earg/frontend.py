"""The frontend: where clients send requests to a deployed graph and get replies.

``POST /predict`` and the Open Inference Protocol v2 (``/v2``) over HTTP, and EARG's ``downstream``
over gRPC with the original's answer text. The number of requests in the graph is bounded here, and
with it every queue behind. Settings come from the environment, as for an original:
ENTRY_PROXY_NAME (an address), ENTRY_PROXY_PORT, MAX_WORKERS (requests in the graph at once),
TIMEOUT_MS; and HOGAR's GRAPH_NAME, GRAPH_VERSION, LISTEN_IP, PROXY_PORT, HTTP_IP, HTTP_PORT,
REQUEST_TIMEOUT_S, MAX_BODY_BYTES.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import grpc
import grpc.aio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from earg.config import PROXY_PORT
from earg.inference_protocol import (
    EXTENSIONS,
    InferenceError,
    Model,
    TooLargeError,
    decode_request,
    encode_response,
    metadata,
)
from earg.lane import LaneServer
from earg.payload import (
    BYTES,
    CHANNEL_OPTIONS,
    ERROR,
    JSON,
    PayloadError,
    from_plain,
    is_failure,
    pack,
    to_plain,
)
from earg.process import ADDRESS_IN_USE, bind, run
from earg.protos import (
    hogar_pb2,
    hogar_pb2_grpc,
    model_pb2,
    prediction_pb2,
    prediction_pb2_grpc,
)
from earg.sender import Sender
from earg.status import PingStatus

HEADER_LENGTH = "Inference-Header-Content-Length"
"""The header that tells where, in a body, the JSON ends and binary tensors begin."""


class BusyError(RuntimeError):
    """As many requests as may be are in the graph already."""


class DrainingError(BusyError):
    """The graph takes no new requests: it is stopped when those in it are answered."""


class DeadlineError(RuntimeError):
    """The graph gave no reply in time."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the frontend admits: requests in the graph at once, seconds a request, body bytes."""

    concurrency: int = 1024
    deadline: float = 60.0
    body: int = 16 * 1024 * 1024


@dataclass(slots=True)
class _Waiting:
    """A request in the graph: what was asked, how often it was sent, and who waits."""

    payload: hogar_pb2.Payload
    reply: asyncio.Future[hogar_pb2.Payload]
    attempt: int = 0


class Frontend(
    prediction_pb2_grpc.ProxyServerServicer,
    hogar_pb2_grpc.LaneServicer,
    hogar_pb2_grpc.ControlServicer,
):
    """Numbers requests, sends them to the entry's proxy, and hands the sink's output back."""

    def __init__(self, entry: Sender, limits: Limits) -> None:
        self.limits = limits
        self._entry = entry
        self._entry_port = entry.address.rpartition(":")[2]
        self._waiting: dict[int, _Waiting] = {}
        # A frontend that starts anew must not reuse ids that proxies still remember.
        self._next_id = secrets.randbits(32)
        self._answered = 0
        self._draining = False
        # The graph's name and version, where HTTP clients ask for them; see http_app().
        self.model: Model | None = None
        self._lanes = LaneServer(self._relayed)
        self._lane_port = 0

    async def listen(self, ip: str) -> None:
        """Open the lane's port, which :meth:`Open` tells."""
        self._lane_port = await self._lanes.start(ip)

    def close(self) -> None:
        """Close the lanes."""
        self._lanes.close()

    async def predict(self, payload: hogar_pb2.Payload) -> hogar_pb2.Payload:
        """The graph's reply, which may be an error payload.

        Raises :class:`BusyError` and :class:`DeadlineError`.
        """
        (reply,) = await self.predict_all([payload])
        return reply

    async def predict_all(
        self, payloads: Sequence[hogar_pb2.Payload]
    ) -> Sequence[hogar_pb2.Payload]:
        """The graph's replies, in order; all payloads are admitted at once, or none.

        Raises :class:`BusyError` and :class:`DeadlineError`.
        """
        if self._draining:
            raise DrainingError("the graph is being drained: it takes no new requests")
        if len(self._waiting) + len(payloads) > self.limits.concurrency:
            raise BusyError(
                f"{len(self._waiting)} requests are in the graph already, of at most "
                f"{self.limits.concurrency}; try again later"
            )
        loop = asyncio.get_running_loop()
        admitted: dict[int, _Waiting] = {}
        for payload in payloads:
            request_id = self._new_id()
            self._waiting[request_id] = admitted[request_id] = _Waiting(
                payload, loop.create_future()
            )
        try:
            async with asyncio.timeout(self.limits.deadline):
                for request_id, waiting in admitted.items():
                    await self._entry.put(hogar_pb2.Request(id=request_id, payload=waiting.payload))
                return [await waiting.reply for waiting in admitted.values()]
        except TimeoutError:
            raise DeadlineError(
                f"the graph gave no reply within {self.limits.deadline:g} s"
            ) from None
        finally:
            for request_id in admitted:
                del self._waiting[request_id]
            self._entry.finish(admitted)

    def _new_id(self) -> int:
        while True:
            self._next_id = (self._next_id + 1) & 0xFFFFFFFF
            if self._next_id not in self._waiting:
                return self._next_id

    async def is_ready(self) -> bool:
        """Whether the entry's proxy is, and with it everything behind it, and new requests are
        taken."""
        if self._draining:
            return False
        try:
            return await self._entry.ping() == PingStatus.READY
        except (grpc.aio.AioRpcError, OSError):
            return False

    def _resolve(self, requests: Iterable[hogar_pb2.Request]) -> None:
        """Hand outputs to those who wait; one whose client has given up is dropped."""
        for request in requests:
            waiting = self._waiting.get(request.id)
            if waiting is not None and not waiting.reply.done():
                self._answered += 1
                waiting.reply.set_result(request.payload)

    # --- failure ----------------------------------------------------------------------------

    async def Replay(
        self, request: hogar_pb2.Done, context: grpc.aio.ServicerContext[Any, Any]
    ) -> hogar_pb2.Done:
        for request_id, waiting in list(self._waiting.items()):
            if waiting.reply.done():
                continue
            waiting.attempt += 1
            await self._entry.put(
                hogar_pb2.Request(id=request_id, payload=waiting.payload, attempt=waiting.attempt)
            )
        return hogar_pb2.Done()

    async def Retarget(
        self, request: hogar_pb2.RetargetRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> hogar_pb2.Done:
        if request.index == 1:
            self._entry.retarget(f"{request.address}:{self._entry_port}")
        return hogar_pb2.Done()

    async def Admit(
        self, request: hogar_pb2.AdmissionRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> hogar_pb2.AdmissionReply:
        self._draining = not request.admit
        return hogar_pb2.AdmissionReply(waiting=len(self._waiting))

    async def SetVersion(
        self, request: hogar_pb2.GraphVersion, context: grpc.aio.ServicerContext[Any, Any]
    ) -> hogar_pb2.Done:
        if self.model is not None:
            self.model = Model(self.model.name, request.version)
        return hogar_pb2.Done()

    # --- gRPC -------------------------------------------------------------------------------

    async def Open(
        self, request: hogar_pb2.LaneRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> hogar_pb2.LaneReply:
        return hogar_pb2.LaneReply(port=self._lane_port)

    def _relayed(self, message: bytes) -> bytes:
        self._resolve(hogar_pb2.RelayRequest.FromString(message).requests)
        return b""

    async def outputstream(
        self, request: prediction_pb2.request, context: grpc.aio.ServicerContext[Any, Any]
    ) -> model_pb2.response:
        try:
            payload = from_plain(request.input_.inputType, request.input_.inputStream)
        except PayloadError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        self._resolve([hogar_pb2.Request(id=request.req_id, payload=payload)])
        return model_pb2.response(status="ok")

    async def downstream(
        self, request: prediction_pb2.request, context: grpc.aio.ServicerContext[Any, Any]
    ) -> model_pb2.response:
        """A client's request; answers, when the graph has, with the original's text:
        ``req sequence: N; time: Tms; OUTPUT (starting from next line):`` and the output below."""
        started = time.monotonic()
        try:
            payload = from_plain(request.input_.inputType, request.input_.inputStream)
            reply = await self.predict(payload)
        except PayloadError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except DrainingError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        except BusyError as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        except DeadlineError as error:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, str(error))
        if reply.type == ERROR:
            await context.abort(grpc.StatusCode.INTERNAL, reply.data.decode())
        took = round((time.monotonic() - started) * 1000)
        head = (
            f"req sequence: {self._answered}; time: {took}ms; OUTPUT (starting from next line):\n"
        )
        return model_pb2.response(status=head + to_plain(reply).inputStream)

    async def ping(
        self, request: prediction_pb2.ping_req, context: grpc.aio.ServicerContext[Any, Any]
    ) -> prediction_pb2.ping_reply:
        ready = await self.is_ready()
        status = PingStatus.READY if ready else PingStatus.DOWNSTREAM_FAILED
        return prediction_pb2.ping_reply(status=status, is_primary=True)


# --- HTTP -----------------------------------------------------------------------------------


def http_app(frontend: Frontend, model: Model) -> Starlette:
    """The ASGI application; ``model`` is the graph's name and version, until the frontend is told
    another."""
    frontend.model = model

    async def predict(request: Request) -> Response:
        try:
            body = await _body(request, frontend.limits.body)
            payload = _request_payload(request, body)
        except _RefusedError as refusal:
            return _error(refusal.status, str(refusal))
        except ClientDisconnect:
            return _error(400, "the client went away")
        try:
            reply = await frontend.predict(payload)
        except (BusyError, DeadlineError) as error:
            return _unanswered(error)
        return _response(reply)

    async def ready(request: Request) -> Response:
        if await frontend.is_ready():
            return JSONResponse({"ready": True})
        return _not_ready()

    return Starlette(
        routes=[
            Route("/predict", predict, methods=["POST"]),
            Route("/ready", ready, methods=["GET"]),
            *_inference_routes(frontend),
        ],
        exception_handlers={404: _not_found, 405: _not_allowed},
    )


def _inference_routes(frontend: Frontend) -> list[Route]:
    """The Open Inference Protocol v2."""

    def served() -> Model:
        assert frontend.model is not None
        return frontend.model

    async def server(request: Request) -> Response:
        return JSONResponse(
            {"name": "earg", "version": _own_version(), "extensions": list(EXTENSIONS)}
        )

    async def live(request: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(request: Request) -> Response:
        model = served()
        if not _is_known(request, model):
            return _unknown(request, model)
        if not await frontend.is_ready():
            return _not_ready()
        return JSONResponse({"name": model.name, "ready": True})

    async def describe(request: Request) -> Response:
        model = served()
        if not _is_known(request, model):
            return _unknown(request, model)
        return JSONResponse(metadata(model))

    async def infer(request: Request) -> Response:
        model = served()
        if not _is_known(request, model):
            return _unknown(request, model)
        limits = frontend.limits
        try:
            body = await _body(request, limits.body)
            if request.headers.get("content-encoding", "identity") != "identity":
                raise _RefusedError(415, "compressed bodies are not taken; send it as it is")
            header_length = request.headers.get(HEADER_LENGTH)
            asked = decode_request(body, header_length, limits.concurrency, limits.body)
        except _RefusedError as refusal:
            return _error(refusal.status, str(refusal))
        except InferenceError as error:
            return _error(413 if isinstance(error, TooLargeError) else 400, str(error))
        except ClientDisconnect:
            return _error(400, "the client went away")
        try:
            replies = await frontend.predict_all(asked.payloads)
        except (BusyError, DeadlineError) as error:
            return _unanswered(error)
        for number, reply in enumerate(replies, 1):
            if is_failure(reply):
                where = f"element {number} of {len(replies)}: " if len(replies) > 1 else ""
                return _error(500, where + reply.data.decode())
        try:
            answer = encode_response(model, asked, replies)
        except PayloadError as error:
            return _error(500, str(error))
        if answer.header_length is None:
            return Response(answer.body, media_type="application/json")
        return Response(
            answer.body,
            media_type="application/octet-stream",
            headers={HEADER_LENGTH: str(answer.header_length)},
        )

    routes = [
        Route("/v2", server, methods=["GET"]),
        Route("/v2/health/live", live, methods=["GET"]),
        Route("/v2/health/ready", ready, methods=["GET"]),
    ]
    for path in ("/v2/models/{graph}", "/v2/models/{graph}/versions/{version}"):
        routes += [
            Route(path, describe, methods=["GET"]),
            Route(f"{path}/ready", ready, methods=["GET"]),
            Route(f"{path}/infer", infer, methods=["POST"]),
        ]
    return routes


def _is_known(request: Request, model: Model) -> bool:
    asked = request.path_params
    return (asked.get("graph", model.name), asked.get("version", model.version)) == (
        model.name,
        model.version,
    )


def _unknown(request: Request, model: Model) -> JSONResponse:
    return _error(
        404,
        f"no such model or version: {request.url.path}; this frontend serves {model.name}, "
        f"version {model.version}",
    )


def _own_version() -> str:
    try:
        return version("airflow-provider-hogar")
    except PackageNotFoundError:
        return "unknown"


class _RefusedError(Exception):
    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


async def _body(request: Request, most: int) -> bytes:
    """The body, read no further than ``most`` bytes."""
    refusal = _RefusedError(413, f"the body is larger than {most} bytes")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > most:
        raise refusal
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise refusal
        parts.append(part)
    return b"".join(parts)


def _request_payload(request: Request, body: bytes) -> hogar_pb2.Payload:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if content_type == "application/json":
            return pack(json.loads(body))
        if content_type.startswith("text/"):
            return pack(body.decode())
    except (ValueError, RecursionError) as error:
        raise _RefusedError(400, f"the body is not {content_type}: {error}") from None
    return pack(body)


def _response(reply: hogar_pb2.Payload) -> Response:
    if reply.type == ERROR:
        return _error(500, reply.data.decode())
    if reply.type == JSON:
        return Response(reply.data, media_type="application/json")
    if reply.type == BYTES:
        return Response(reply.data, media_type="application/octet-stream")
    return Response(reply.data, media_type="text/plain")


def _not_ready() -> JSONResponse:
    return _error(503, "the graph is not ready: its entry does not answer READY, or it is drained")


def _unanswered(error: BusyError | DeadlineError) -> JSONResponse:
    if isinstance(error, BusyError):
        return _error(503, str(error), {"Retry-After": "1"})
    return _error(504, str(error))


def _error(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": sentence}, status, headers)


async def _not_found(request: Request, error: Exception) -> Response:
    return _error(
        404,
        f"nothing is at {request.url.path}; requests go to POST /predict "
        "or POST /v2/models/{graph}/infer",
    )


async def _not_allowed(request: Request, error: Exception) -> Response:
    headers = getattr(error, "headers", None) or {}
    method = "POST" if "POST" in headers.get("Allow", "POST") else "GET"
    return _error(
        405,
        f"{request.url.path} does not take {request.method}; use {method} {request.url.path}",
        headers,
    )


# --- the process ----------------------------------------------------------------------------


def _listen(ip: str, port: int) -> socket.socket:
    # The protocol is named because asyncio switches Nagle's delay (40 ms a reply) off only then.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ip, port))
    except OSError as error:
        print(f"port {port} of {ip}: {error.strerror}", file=sys.stderr, flush=True)
        sys.exit(ADDRESS_IN_USE)
    listener.listen(1024)
    return listener


async def _main() -> None:
    environment = os.environ
    ip = environment.get("LISTEN_IP", "127.0.0.1")
    port = int(environment.get("PROXY_PORT", PROXY_PORT))
    entry_address = environment["ENTRY_PROXY_NAME"]
    usual = Limits()
    limits = Limits(
        concurrency=int(environment.get("MAX_WORKERS", usual.concurrency)),
        deadline=float(environment.get("REQUEST_TIMEOUT_S", usual.deadline)),
        body=int(environment.get("MAX_BODY_BYTES", usual.body)),
    )
    model = Model(environment.get("GRAPH_NAME", "graph"), environment.get("GRAPH_VERSION", "1"))
    listener = _listen(environment.get("HTTP_IP", ip), int(environment["HTTP_PORT"]))
    entry = Sender(
        0,
        f"{ip}:{port}",
        f"{entry_address}:{environment.get('ENTRY_PROXY_PORT', port)}",
        capacity=2 * limits.concurrency,
        timeout=float(environment.get("TIMEOUT_MS", "500")) / 1000,
        patience=limits.deadline,
    )
    frontend = Frontend(entry, limits)
    server = grpc.aio.server(options=CHANNEL_OPTIONS)
    prediction_pb2_grpc.add_ProxyServerServicer_to_server(frontend, server)
    hogar_pb2_grpc.add_LaneServicer_to_server(frontend, server)
    hogar_pb2_grpc.add_ControlServicer_to_server(frontend, server)
    bind(server, ip, port)
    await frontend.listen(ip)
    await server.start()
    config = uvicorn.Config(
        http_app(frontend, model),
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    sending = asyncio.create_task(entry.run())
    try:
        # uvicorn handles SIGTERM and SIGINT itself: it finishes what it accepted, then returns.
        await uvicorn.Server(config).serve(sockets=[listener])
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await server.stop(grace=1.0)
        await entry.close()
        frontend.close()


def main() -> None:
    """Run a frontend as the environment says."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    run(_main())


if __name__ == "__main__":
    main()
