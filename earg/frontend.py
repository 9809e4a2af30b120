"""The frontend: where clients send requests to a deployed graph and get replies.

``POST /predict`` and the Open Inference Protocol v2 (``/v2``) over HTTP, and EARG's ``downstream``
over gRPC with the original's answer text. The number of requests in the graph is bounded here, and
with it every queue behind. Settings come from the environment, as for an original:
ENTRY_PROXY_NAME (an address), ENTRY_PROXY_PORT, MAX_WORKERS (requests in the graph at once),
TIMEOUT_MS; and HOGAR's GRAPH_NAME, GRAPH_VERSION, LISTEN_IP, PROXY_PORT, HTTP_IP, HTTP_PORT,
REQUEST_TIMEOUT_S, MAX_BODY_BYTES, HTTP_FD (a listening socket, in place of HTTP_PORT),
TRACES_A_SECOND (recorded unasked) and NODE_NAMES (by index).
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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import grpc
import grpc.aio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from earg.channel import new_server
from earg.config import PROXY_PORT
from earg.frontend_counts import FrontendCounts, counting, counting_call
from earg.http_door import Bodies, BoundedHttp, guarded, raise_file_limit, tls_options
from earg.http_listener import inherited, listen
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
from earg.listening import listen_ip
from earg.metrics_frontend import FrontendFigures, metrics_route
from earg.payload import (
    BYTES,
    ERROR,
    JSON,
    MAX_MESSAGE,
    PayloadError,
    from_plain,
    is_failure,
    pack,
    to_plain,
)
from earg.process import ADDRESS_IN_USE, bind, run, settle_security
from earg.protos import (
    hogar_pb2,
    hogar_pb2_grpc,
    model_pb2,
    prediction_pb2,
    prediction_pb2_grpc,
)
from earg.recording import Recording, traceparent_of
from earg.recovery_calls import FrontendRecoveryCalls
from earg.release import own_version
from earg.sender import FRONTEND_NAME, Sender
from earg.settings import port_number, real_number, whole_number
from earg.status import PingStatus
from earg.telemetry import exporter_from_environment

MAX_WORKERS = 100_000
"""Most requests that a frontend may be set to admit."""

HEADER_LENGTH = "Inference-Header-Content-Length"
"""The header that tells where, in a body, the JSON ends and binary tensors begin."""


TRACEPARENT = b"traceparent"
"""The header of W3C Trace Context, in lower case as ASGI has all headers."""

MOST_TOLD = 1000
"""Requests or traces in one answer of the register."""


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
    admitted: float
    seq: int
    trace: hogar_pb2.RequestTrace | None = None
    attempt: int = 0


class Frontend(
    FrontendRecoveryCalls,
    hogar_pb2_grpc.LaneServicer,
    hogar_pb2_grpc.ControlServicer,
    hogar_pb2_grpc.RegisterServicer,
):
    """Numbers requests, sends them to the entry's proxy, and hands the sink's output back."""

    def __init__(
        self,
        entry: Sender,
        limits: Limits,
        recording: Recording | None = None,
        first_seq: int = 1,
    ) -> None:
        self.limits = limits
        self.recording = recording or Recording("", 0)
        self._entry = entry
        self._entry_port = entry.address.rpartition(":")[2]
        self._waiting: dict[int, _Waiting] = {}
        # A frontend that starts anew must not reuse ids that proxies still remember.
        self._next_id = secrets.randbits(32)
        # EARG's numbers; they are counted on where a frontend before this one has counted.
        self._next_seq = first_seq
        self._answered = 0
        self.counts = FrontendCounts()
        self._draining = False
        # The graph's name and version, where HTTP clients ask for them; see http_app().
        self.model: Model | None = None
        self._lanes = LaneServer(self._relayed)
        self._lane_port = 0
        self._deadline: asyncio.TimerHandle | None = None

    async def listen(self, ip: str) -> None:
        """Open the lane's port, which :meth:`Open` tells."""
        self._lane_port = await self._lanes.start(ip)

    def close(self) -> None:
        """Close the lanes."""
        self._lanes.close()
        if self._deadline is not None:
            self._deadline.cancel()

    async def predict(
        self, payload: hogar_pb2.Payload, trace: hogar_pb2.RequestTrace | None = None
    ) -> hogar_pb2.Payload:
        """The graph's reply, which may be an error payload.

        Raises :class:`BusyError` and :class:`DeadlineError`.
        """
        (reply,) = await self.predict_all([payload], trace)
        return reply

    async def predict_all(
        self,
        payloads: Sequence[hogar_pb2.Payload],
        trace: hogar_pb2.RequestTrace | None = None,
    ) -> Sequence[hogar_pb2.Payload]:
        """The graph's replies, in order; all payloads are admitted at once, or none. The way of the
        first one is recorded in ``trace``.

        Raises :class:`BusyError` and :class:`DeadlineError`.
        """
        if self._draining:
            raise DrainingError("the graph is being drained: it takes no new requests")
        if len(self._waiting) + len(payloads) > self.limits.concurrency:
            self.counts.rejected += len(payloads)
            raise BusyError(
                f"{len(self._waiting)} requests are in the graph already, of at most "
                f"{self.limits.concurrency}; try again later"
            )
        loop = asyncio.get_running_loop()
        now = loop.time()
        admitted: dict[int, _Waiting] = {}
        for payload in payloads:
            request_id = self._new_id()
            self._waiting[request_id] = admitted[request_id] = _Waiting(
                payload, loop.create_future(), now, self._next_seq
            )
            self._next_seq += 1
        requests = [
            hogar_pb2.Request(id=one, payload=it.payload, seq=it.seq & 0xFFFFFFFF)
            for one, it in admitted.items()
        ]
        if trace is not None:
            requests[0].trace.SetInParent()
            trace.request = requests[0].id
            admitted[trace.request].trace = trace
        if self._deadline is None:
            self._deadline = loop.call_at(now + self.limits.deadline, self._give_up)
        try:
            await self._entry.put(requests)
            return [await waiting.reply for waiting in admitted.values()]
        except DeadlineError as error:
            if trace is not None:
                self.recording.finish(trace, str(error))
            for waiting in admitted.values():
                # All ended at once; asyncio warns of an exception that nobody has seen.
                _ = waiting.reply.done() and waiting.reply.exception()
            raise
        finally:
            for request_id in admitted:
                del self._waiting[request_id]
            self._entry.finish(admitted)

    def _give_up(self) -> None:
        """End those whose deadline has passed: one timer for all, as they end in the order in which
        they were admitted."""
        self._deadline = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        for waiting in self._waiting.values():
            ends = waiting.admitted + self.limits.deadline
            if ends > now:
                self._deadline = loop.call_at(ends, self._give_up)
                return
            if not waiting.reply.done():
                sentence = f"the graph gave no reply within {self.limits.deadline:g} s"
                waiting.reply.set_exception(DeadlineError(sentence))

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
                if waiting.trace is not None:
                    waiting.trace.hops.extend(request.trace.hops)
                    failed = request.payload if is_failure(request.payload) else None
                    self.recording.finish(waiting.trace, failed.data.decode() if failed else "")

    # --- watching ---------------------------------------------------------------------------

    async def InGraph(
        self, request: hogar_pb2.InGraphQuery, context: grpc.aio.ServicerContext[Any, Any]
    ) -> hogar_pb2.InGraphReply:
        now = asyncio.get_running_loop().time()
        open_requests = (
            hogar_pb2.InGraphRequest(
                id=request_id, seconds=now - waiting.admitted, attempt=waiting.attempt
            )
            for request_id, waiting in self._waiting.items()
            if not waiting.reply.done()
        )
        most = min(request.most or MOST_TOLD, MOST_TOLD)
        return hogar_pb2.InGraphReply(
            requests=islice(open_requests, most),
            total=len(self._waiting),
            failing=self.counts.failing(),
        )

    async def Traces(
        self, request: hogar_pb2.TracesQuery, context: grpc.aio.ServicerContext[Any, Any]
    ) -> hogar_pb2.TracesReply:
        most = min(request.most or MOST_TOLD, MOST_TOLD)
        return hogar_pb2.TracesReply(traces=self.recording.newest(most))

    def figures(self) -> FrontendFigures:
        """What its metrics tell, beside its counts."""
        limits = self.limits
        return FrontendFigures(len(self._waiting), limits.concurrency, limits.deadline, limits.body)

    # --- failure ----------------------------------------------------------------------------

    async def Replay(
        self, request: hogar_pb2.Done, context: grpc.aio.ServicerContext[Any, Any]
    ) -> hogar_pb2.Done:
        for request_id, waiting in list(self._waiting.items()):
            if waiting.reply.done():
                continue
            waiting.attempt += 1
            again = hogar_pb2.Request(
                id=request_id,
                payload=waiting.payload,
                attempt=waiting.attempt,
                seq=waiting.seq & 0xFFFFFFFF,
            )
            await self._entry.put([again])
        return hogar_pb2.Done()

    def answered_to(self) -> int:
        unanswered = (one.seq for one in self._waiting.values() if not one.reply.done())
        # They wait in the order in which they were admitted.
        return next(unanswered, self._next_seq) - 1

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

    @counting_call
    async def downstream(
        self, request: prediction_pb2.request, context: grpc.aio.ServicerContext[Any, Any]
    ) -> model_pb2.response:
        """A client's request; answers, when the graph has, with the original's text:
        ``req sequence: N; time: Tms; OUTPUT (starting from next line):`` and the output below."""
        started = time.monotonic()
        try:
            payload = from_plain(request.input_.inputType, request.input_.inputStream)
            metadata = dict(context.invocation_metadata() or ())
            trace = self.recording.start(_text(metadata.get("traceparent", "")))
            reply = await self.predict(payload, trace)
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


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


# --- HTTP -----------------------------------------------------------------------------------


def http_app(frontend: Frontend, model: Model) -> ASGIApp:
    """The ASGI application; ``model`` is the graph's name and version, until the frontend is told
    another."""
    frontend.model = model

    bodies = Bodies()

    async def ready(request: Request) -> Response:
        if await frontend.is_ready():
            return JSONResponse({"ready": True})
        return _not_ready()

    async def predict(request: Request) -> Response:
        return await _predict(frontend, request.scope, request.receive, bodies)

    others = Starlette(
        routes=[
            Route("/predict", bodies.released(predict), methods=["POST"]),
            Route("/ready", ready, methods=["GET"]),
            metrics_route(model.name, frontend.counts, frontend.figures),
            *_inference_routes(frontend, bodies),
        ],
        exception_handlers={404: _not_found, 405: _not_allowed},
    )
    counted = counting(others, frontend.counts)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # Most requests are these, and finding their route would take as long as answering them.
        if scope["type"] == "http" and scope["path"] == "/predict" and scope["method"] == "POST":
            started = time.monotonic()
            try:
                response = await _predict(frontend, scope, receive, bodies)
            finally:
                bodies.release(receive)
            frontend.counts.answered(str(response.status_code), time.monotonic() - started)
            await response(scope, receive, send)
        else:
            await counted(scope, receive, send)

    return app


async def _predict(frontend: Frontend, scope: Scope, receive: Receive, bodies: Bodies) -> Response:
    """``POST /predict``: one value in, one out."""
    try:
        headers = dict(scope["headers"])
        body = await _body(headers, receive, frontend.limits.body, bodies)
        payload = _request_payload(headers.get(b"content-type", b"").decode("latin-1"), body)
    except _RefusedError as refusal:
        return _refused(refusal)
    except ClientDisconnect:
        return _error(400, "the client went away")
    trace = frontend.recording.start(headers.get(TRACEPARENT, b"").decode("latin-1"))
    try:
        response = _response(await frontend.predict(payload, trace))
    except (BusyError, DeadlineError) as error:
        return _unanswered(error)
    if trace is not None:
        response.headers["traceparent"] = traceparent_of(trace)
    return response


def _inference_routes(frontend: Frontend, bodies: Bodies) -> list[Route]:
    """The Open Inference Protocol v2."""

    def served() -> Model:
        assert frontend.model is not None
        return frontend.model

    async def server(request: Request) -> Response:
        return JSONResponse(
            {"name": "earg", "version": own_version(), "extensions": list(EXTENSIONS)}
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
            body = await _body(dict(request.scope["headers"]), request.receive, limits.body, bodies)
            if request.headers.get("content-encoding", "identity") != "identity":
                raise _RefusedError(415, "compressed bodies are not taken; send it as it is")
            header_length = request.headers.get(HEADER_LENGTH)
            asked = decode_request(body, header_length, limits.concurrency, limits.body)
        except _RefusedError as refusal:
            return _refused(refusal)
        except InferenceError as error:
            return _error(413 if isinstance(error, TooLargeError) else 400, str(error))
        except ClientDisconnect:
            return _error(400, "the client went away")
        trace = frontend.recording.start(request.headers.get("traceparent", ""))
        try:
            replies = await frontend.predict_all(asked.payloads, trace)
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
        headers = {} if trace is None else {"traceparent": traceparent_of(trace)}
        if answer.header_length is None:
            return Response(answer.body, media_type="application/json", headers=headers)
        headers[HEADER_LENGTH] = str(answer.header_length)
        return Response(answer.body, media_type="application/octet-stream", headers=headers)

    routes = [
        Route("/v2", server, methods=["GET"]),
        Route("/v2/health/live", live, methods=["GET"]),
        Route("/v2/health/ready", ready, methods=["GET"]),
    ]
    for path in ("/v2/models/{graph}", "/v2/models/{graph}/versions/{version}"):
        routes += [
            Route(path, describe, methods=["GET"]),
            Route(f"{path}/ready", ready, methods=["GET"]),
            Route(f"{path}/infer", bodies.released(infer), methods=["POST"]),
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


class _RefusedError(Exception):
    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


async def _body(
    headers: Mapping[bytes, bytes], receive: Receive, most: int, bodies: Bodies
) -> bytes:
    """The body, read no further than ``most`` bytes, and than there is room among ``bodies``;
    raises ClientDisconnect."""
    refusal = _RefusedError(413, f"the body is larger than {most} bytes")
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and (len(length) > 18 or int(length) > most):
        raise refusal
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > most:
            raise refusal
        if not bodies.hold(receive, size):
            raise _RefusedError(503, "too many large requests are in the graph; try again later")
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _request_payload(content_type: str, body: bytes) -> hogar_pb2.Payload:
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if kind == "application/json":
            return pack(json.loads(body))
        if kind.startswith("text/"):
            return pack(body.decode())
    except (ValueError, RecursionError) as error:
        raise _RefusedError(400, f"the body is not {kind}: {error}") from None
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


def _refused(refusal: _RefusedError) -> JSONResponse:
    headers = {"Retry-After": "1"} if refusal.status == 503 else None
    return _error(refusal.status, str(refusal), headers)


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


def _listen(environment: Mapping[str, str], ip: str) -> socket.socket:
    if "HTTP_FD" in environment:
        return inherited(whole_number(environment, "HTTP_FD", 0, 3, 65535))
    port = port_number(environment, "HTTP_PORT", 0)
    try:
        return listen(ip, port)
    except OSError as error:
        print(f"port {port} of {ip}: {error.strerror}", file=sys.stderr, flush=True)
        sys.exit(ADDRESS_IN_USE)


async def _main() -> None:
    environment = os.environ
    ip = listen_ip(environment)
    http_ip = environment.get("HTTP_IP", ip)
    found = settle_security(LISTEN_IP=ip, HTTP_IP=http_ip)
    port = port_number(environment, "PROXY_PORT", PROXY_PORT)
    entry_address = environment["ENTRY_PROXY_NAME"]
    usual = Limits()
    limits = Limits(
        concurrency=whole_number(environment, "MAX_WORKERS", usual.concurrency, 1, MAX_WORKERS),
        deadline=real_number(environment, "REQUEST_TIMEOUT_S", usual.deadline, 0.001, 86_400),
        # A message carries more than the body: its request, and what goes with it.
        body=whole_number(environment, "MAX_BODY_BYTES", usual.body, 1, MAX_MESSAGE // 2),
    )
    model = Model(environment.get("GRAPH_NAME", "graph"), environment.get("GRAPH_VERSION", "1"))
    listener = _listen(environment, http_ip)
    entry = Sender(
        0,
        FRONTEND_NAME,
        f"{entry_address}:{port_number(environment, 'ENTRY_PROXY_PORT', port)}",
        capacity=2 * limits.concurrency,
        timeout=real_number(environment, "TIMEOUT_MS", 500, 1, 3_600_000) / 1000,
        patience=limits.deadline,
    )
    export = exporter_from_environment()
    recording = Recording(
        model.name,
        real_number(environment, "TRACES_A_SECOND", 1, 0, 1000),
        environment.get("NODE_NAMES", "").split(","),
        export,
    )
    first_seq = whole_number(environment, "FIRST_SEQ", 1, 1, 0xFFFFFFFF)
    frontend = Frontend(entry, limits, recording, first_seq)
    server = new_server()
    prediction_pb2_grpc.add_ProxyServerServicer_to_server(frontend, server)
    hogar_pb2_grpc.add_LaneServicer_to_server(frontend, server)
    hogar_pb2_grpc.add_ControlServicer_to_server(frontend, server)
    hogar_pb2_grpc.add_RegisterServicer_to_server(frontend, server)
    bind(server, ip, port)
    await frontend.listen(ip)
    await server.start()
    BoundedHttp.most_connections = raise_file_limit()
    config = uvicorn.Config(
        guarded(http_app(frontend, model), found),
        http=BoundedHttp,
        ws="none",
        lifespan="off",
        access_log=False,
        proxy_headers=False,
        # Its warnings are one for each bad request: a log must not grow as fast as a client likes.
        log_level="error",
        server_header=False,
        timeout_graceful_shutdown=2,
        **tls_options(found),
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
        if export is not None:
            await asyncio.to_thread(export.close)


def main() -> None:
    """Run a frontend as the environment says."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    run(_main())


if __name__ == "__main__":
    main()
