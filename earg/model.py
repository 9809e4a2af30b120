"""The model server: hosts one Python class in a process of its own.

It serves EARG's ``modeltest.PredictService`` and, beside it, HOGAR's lane, whose payloads keep
bytes and the parts of a join apart. The class is constructed before the port is
opened: a model that cannot be constructed never looks alive. Settings come from the environment,
as for an original: MODEL_NAME, MODEL_VERSION, MODEL_PORT, PROXY_NAME, PROXY_PORT, and HOGAR's
LISTEN_IP, EARG_ENTRYPOINT, EARG_FOLDER.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from earg.channel import new_threaded_server
from earg.config import MODEL_PORT
from earg.gate import BlockingGate
from earg.lane import frame, receive
from earg.listening import listen_ip
from earg.model_usage import pid_namespace
from earg.output import forgive_output
from earg.payload import (
    PayloadError,
    failure,
    from_plain,
    is_failure,
    pack,
    to_plain_output,
    unpack,
)
from earg.process import INSECURE, bind, settle_security
from earg.protos import hogar_pb2, hogar_pb2_grpc, model_pb2, model_pb2_grpc
from earg.settings import SettingError, port_number

Predict = Callable[[list[Any]], Sequence[Any]]
Snapshot = Callable[[], Callable[[], None]]
"""Takes the model's state and returns what puts it back."""


class EntrypointError(RuntimeError):
    """The class that an entrypoint names cannot be had, or is no model."""


def load_model(entrypoint: str, folder: str) -> Any:
    """Import ``module:Class`` with ``folder`` first on the module path, and construct it.

    Raises :class:`EntrypointError` for a wrong name, and whatever the class itself raises.
    """
    module_name, _, class_name = entrypoint.partition(":")
    if folder:
        sys.path.insert(0, folder)
    module = importlib.import_module(module_name)
    try:
        model_class = attrgetter(class_name)(module)
    except AttributeError:
        raise EntrypointError(f"module {module_name} has no class {class_name}") from None
    model = model_class()
    if not any(callable(getattr(model, name, None)) for name in ("predict_batch", "predict")):
        raise EntrypointError(f"{entrypoint} has neither predict_batch(list) nor predict(one)")
    return model


def batch_function(model: Any) -> Predict:
    """``predict_batch`` of a model, or one made of its ``predict``."""
    whole = getattr(model, "predict_batch", None)
    if callable(whole):
        return whole  # type: ignore[no-any-return]
    one = model.predict

    def predict_each(requests: list[Any]) -> list[Any]:
        return [one(request) for request in requests]

    return predict_each


def snapshot_function(model: Any) -> Snapshot | None:
    """How to undo a batch of a model that has ``get_state`` and ``set_state``."""
    get_state, set_state = getattr(model, "get_state", None), getattr(model, "set_state", None)
    if not callable(get_state) or not callable(set_state):
        return None

    def take() -> Callable[[], None]:
        state = get_state()
        return lambda: set_state(state)

    return take


def compute(
    predict: Predict,
    requests: Sequence[hogar_pb2.Payload],
    snapshot: Snapshot | None = None,
) -> list[hogar_pb2.Payload]:
    """Run one batch; a request that cannot be computed yields an error payload.

    A batch that raises is split in halves until the request that is to blame stands alone, so its
    neighbours succeed; what the failed attempt did to a model's state is undone first. Payloads
    that are errors already pass through unseen.
    """
    replies: list[hogar_pb2.Payload | None] = [None] * len(requests)
    values: list[tuple[int, Any]] = []
    for place, request in enumerate(requests):
        if is_failure(request):
            replies[place] = request
            continue
        try:
            values.append((place, unpack(request)))
        except PayloadError as error:
            replies[place] = failure(str(error))
    waiting = [values] if values else []
    while waiting:
        part = waiting.pop()
        undo = snapshot() if snapshot is not None and len(part) > 1 else None
        try:
            found = predict([value for _, value in part])
            if len(found) != len(part):
                raise ValueError(f"the model gave {len(found)} replies to {len(part)} requests")
            packed = [_pack_reply(value) for value in found]
        except Exception as error:
            if len(part) > 1:
                if undo is not None:
                    undo()
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]
                continue
            packed = [failure(sentence(error))]
        for (place, _), reply in zip(part, packed, strict=True):
            replies[place] = reply
    return [reply for reply in replies if reply is not None]


def _pack_reply(value: Any) -> hogar_pb2.Payload:
    try:
        return pack(value)
    except PayloadError as error:
        return failure(f"the model's reply cannot be sent: {error}")


def sentence(error: Exception) -> str:
    """An exception as a model's client reads it."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def apply_state(model: Any, state: hogar_pb2.State) -> None:
    """Give a model a whole state (``set_state``), or a change of it (``apply_delta``)."""
    if state.is_change:
        model.apply_delta(state.data)
    else:
        model.set_state(state.data)


def take_state(model: Any, wanted: hogar_pb2.StateWanted) -> list[hogar_pb2.State]:
    """The state as wanted: a change where the model has ``get_delta``, else the whole of it, or
    nothing where it has no ``get_state`` either."""
    if wanted == hogar_pb2.NO_STATE:
        return []
    get_delta = getattr(model, "get_delta", None)
    if callable(get_delta):
        # Taken for a whole state, too: the next change starts from there.
        change = get_delta()
        if wanted == hogar_pb2.CHANGED_STATE:
            return [hogar_pb2.State(data=change, is_change=True)]
    get_state = getattr(model, "get_state", None)
    return [hogar_pb2.State(data=get_state())] if callable(get_state) else []


class ModelServicer(model_pb2_grpc.PredictServiceServicer, hogar_pb2_grpc.LaneServicer):
    """A model behind both protocols. One batch computes at a time: models need not be
    thread-safe."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._predict = batch_function(model)
        self._snapshot = snapshot_function(model)
        self._computing = threading.Lock()
        self._gate = BlockingGate()

    def _compute(self, requests: Sequence[hogar_pb2.Payload]) -> list[hogar_pb2.Payload]:
        with self._computing:
            return compute(self._predict, requests, self._snapshot)

    # --- HOGAR's lane -----------------------------------------------------------------------

    def listen(self, ip: str) -> None:
        """Open the lane's port, which :meth:`Open` tells."""
        self._gate.open(ip)

    def serve_lanes(self) -> None:
        """Serve one lane after the other in this thread, until the gate is closed: only a
        model's own proxy uses it, and one that comes after a failure follows the one before."""
        while (lane := self._gate.next_lane()) is not None:
            connection, message = lane
            with connection:
                try:
                    if message is not None:
                        self._reply(connection, message)
                    self._serve_lane(connection)
                except (OSError, ValueError, DecodeError) as error:
                    print(f"the lane of the proxy broke: {error}", file=sys.stderr, flush=True)

    def _serve_lane(self, connection: socket.socket) -> None:
        while (message := receive(connection)) is not None:
            self._reply(connection, message)

    def _reply(self, connection: socket.socket, message: bytes) -> None:
        reply = self._answer(hogar_pb2.ComputeRequest.FromString(message))
        connection.sendall(frame(reply.SerializeToString()))

    def _answer(self, request: hogar_pb2.ComputeRequest) -> hogar_pb2.ComputeReply:
        """Take states over, compute, and take the state, as one step that nothing comes between."""
        with self._computing:
            try:
                for state in request.apply:
                    apply_state(self._model, state)
            except Exception as error:
                return hogar_pb2.ComputeReply(failure=f"a state was not taken: {sentence(error)}")
            replies = (
                compute(self._predict, request.requests, self._snapshot) if request.requests else []
            )
            try:
                states = take_state(self._model, request.wanted)
            except Exception as error:
                failure = f"the state was not given: {sentence(error)}"
                return hogar_pb2.ComputeReply(replies=replies, failure=failure)
            return hogar_pb2.ComputeReply(replies=replies, states=states)

    def Open(
        self, request: hogar_pb2.LaneRequest, context: grpc.ServicerContext
    ) -> hogar_pb2.LaneReply:
        return hogar_pb2.LaneReply(
            port=self._gate.port,
            pid=os.getpid(),
            pid_namespace=pid_namespace(),
        )

    def close(self) -> None:
        """Stop taking lanes."""
        self._gate.close()

    # --- EARG's plain protocol --------------------------------------------------------------

    def Predict(self, request: model_pb2.input, context: grpc.ServicerContext) -> model_pb2.output:
        (reply,) = self._compute_plain([request])
        return reply

    def BatchPredict(
        self, request: model_pb2.BatchInput, context: grpc.ServicerContext
    ) -> model_pb2.BatchOuput:
        replies = self._compute_plain(request.inputs)
        return model_pb2.BatchOuput(outputs=replies, count=len(replies))

    def _compute_plain(self, inputs: Sequence[model_pb2.input]) -> list[model_pb2.output]:
        requests = []
        for plain in inputs:
            try:
                requests.append(from_plain(plain.inputType, plain.inputStream))
            except PayloadError as error:
                requests.append(failure(str(error)))
        return [to_plain_output(reply) for reply in self._compute(requests)]

    def SetProxy(
        self, request: model_pb2.proxyinfo, context: grpc.ServicerContext
    ) -> model_pb2.response:
        return model_pb2.response(status="ok")

    def Ping(self, request: model_pb2.hi, context: grpc.ServicerContext) -> model_pb2.response:
        return model_pb2.response(status="ok")


def start_server(servicer: ModelServicer, ip: str, port: int) -> grpc.Server:
    """Open the lane and serve EARG's protocol from threads of its own, so that a model at work
    still answers ``Ping``."""
    server = new_threaded_server(4)
    model_pb2_grpc.add_PredictServiceServicer_to_server(servicer, server)
    hogar_pb2_grpc.add_LaneServicer_to_server(servicer, server)
    bind(server, ip, port)
    servicer.listen(ip)
    server.start()
    return server


def main() -> None:
    """Construct the class that the environment names and serve it."""
    forgive_output()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        _run(os.environ)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except SettingError as error:
        print(error, file=sys.stderr)
        code = INSECURE
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that the model has started must not keep its process alive.
    os._exit(code)


def _run(environment: Mapping[str, str]) -> None:
    name = environment.get("MODEL_NAME", "model")
    ip = listen_ip(environment)
    # Before the class is constructed, which may take minutes.
    settle_security(LISTEN_IP=ip)
    port = port_number(environment, "MODEL_PORT", MODEL_PORT)
    model = load_model(environment["EARG_ENTRYPOINT"], environment.get("EARG_FOLDER", ""))
    warm_up = getattr(model, "warm_up", None)
    if callable(warm_up):
        warm_up()
    print(f"model {name}: {environment['EARG_ENTRYPOINT']} is constructed", flush=True)
    servicer = ModelServicer(model)
    # gRPC stops a server that nobody holds.
    server = start_server(servicer, ip, port)
    try:
        servicer.serve_lanes()
    finally:
        server.stop(None)


if __name__ == "__main__":
    main()
