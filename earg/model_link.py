"""A proxy's link to the model beside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from earg.batching import BatchLimit
from earg.channel import open_channel
from earg.lane_client import LaneClient
from earg.payload import PayloadError, failure, from_plain, to_plain
from earg.protos import hogar_pb2, model_pb2, model_pb2_grpc

COMPUTE_TIMEOUT = 600.0
"""Seconds a model may take for one batch before its requests are failed."""

PING_TIMEOUT = 2.0
"""Seconds to wait for a model's answer to ``Ping``."""


class ModelError(RuntimeError):
    """The model did not answer a batch; the message says why."""


class ModelGoneError(ModelError):
    """The model's process is gone, or cannot be reached; it may be started again."""


class ModelLink:
    """Sends batches to one model: whole to HOGAR's model server, in EARG's plain protocol to one
    that answers UNIMPLEMENTED. ``failed`` tells that the model was gone at the last look;
    ``timeout`` is how many seconds it may take for one batch. ``on_lost`` is called where a model
    that has answered is gone, before anything is asked of one that may stand in its place."""

    def __init__(self, ip: str, port: int, compute_timeout: float = COMPUTE_TIMEOUT) -> None:
        self.address = f"{ip}:{port}"
        self.failed = False
        self.timeout = compute_timeout
        self.on_lost: Callable[[str], None] | None = None
        self._channel = open_channel(self.address)
        # Not watched: a model may compute for minutes with the interpreter to itself.
        self._lane = LaneClient(self._channel, ip, PING_TIMEOUT, watched=False)
        self._original = model_pb2_grpc.PredictServiceStub(self._channel)

    @property
    def pid(self) -> int:
        """The model's process; 0 before its first batch, and for an original."""
        return self._lane.peer_pid

    async def close(self) -> None:
        """Close the channel; calls under way end with an error."""
        self._lane.close()
        await self._channel.close()

    async def introduce(self, proxy_name: str, proxy_port: int, deadline: float) -> None:
        """Tell the model which proxy is its own (SetProxy), waiting ``deadline`` seconds at most
        for it to come up; raises :class:`ModelError`."""
        info = model_pb2.proxyinfo(proxyName=proxy_name, proxyPort=str(proxy_port))
        try:
            await self._original.SetProxy(info, timeout=deadline, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            raise ModelError(
                f"the model at {self.address} does not answer: {_reason(error)}"
            ) from None

    async def watch(self, interval: float = 0.5) -> None:
        """Keep ``failed`` true to life, for ever. A model too busy to answer is not failed."""
        while True:
            try:
                await self._original.Ping(model_pb2.hi(msg="ping"), timeout=PING_TIMEOUT)
                self.failed = False
            except grpc.aio.AioRpcError as error:
                if error.code() == grpc.StatusCode.UNAVAILABLE:
                    self.failed = True
            await asyncio.sleep(interval)

    async def compute(
        self,
        requests: Sequence[hogar_pb2.Payload],
        limit: BatchLimit,
        wanted: hogar_pb2.StateWanted = hogar_pb2.NO_STATE,
    ) -> tuple[list[hogar_pb2.Payload], Sequence[hogar_pb2.State]]:
        """The model's replies to one batch, in order, and its state as wanted; raises
        :class:`ModelError`, and :class:`ModelGoneError` where another try may help."""
        message = hogar_pb2.ComputeRequest(requests=requests, wanted=wanted)
        reply = await self._exchange(message)
        if reply is None:
            replies = await self._plainly(requests, limit)
            return self._counted(replies, len(requests)), []
        if reply.failure:
            raise ModelError(reply.failure)
        return self._counted(list(reply.replies), len(requests)), reply.states

    async def apply(self, states: Sequence[hogar_pb2.State]) -> None:
        """Let the model take states over; raises as :meth:`compute`."""
        reply = await self._exchange(hogar_pb2.ComputeRequest(apply=states))
        if reply is None:
            raise ModelError("an original's model takes no state")
        if reply.failure:
            raise ModelError(reply.failure)

    async def _exchange(self, message: hogar_pb2.ComputeRequest) -> hogar_pb2.ComputeReply | None:
        self._tell_lost()
        try:
            async with asyncio.timeout(self.timeout):
                answer = await self._lane.exchange(message.SerializeToString())
            return None if answer is None else hogar_pb2.ComputeReply.FromString(answer)
        except grpc.aio.AioRpcError as error:
            raise self._gone(_reason(error)) from None
        except TimeoutError:
            self._lane.close()
            raise ModelError(f"the model did not answer within {self.timeout:g} s") from None
        except OSError as error:
            # The lane is closed. Not again: another batch may have opened the next one.
            raise self._gone(str(error)) from None
        except DecodeError as error:
            self._lane.close()
            raise self._gone(str(error)) from None
        except asyncio.CancelledError:
            # The answer that is still to come must not be taken for the next one's.
            self._lane.close()
            raise

    async def _plainly(
        self, requests: Sequence[hogar_pb2.Payload], limit: BatchLimit
    ) -> list[hogar_pb2.Payload]:
        try:
            async with asyncio.timeout(self.timeout):
                return await self._compute_plain(requests, limit)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise self._gone(_reason(error)) from None
            raise ModelError(f"the model did not answer: {_reason(error)}") from None
        except TimeoutError:
            raise ModelError(f"the model did not answer within {self.timeout:g} s") from None

    def _tell_lost(self) -> None:
        if self.on_lost is not None and self._lane.is_broken:
            self.on_lost(f"the model at {self.address} is gone, and its state with it")

    def _gone(self, reason: str) -> ModelGoneError:
        self.failed = True
        self._tell_lost()
        return ModelGoneError(f"the model did not answer: {reason}")

    async def wait_until_back(self, patience: float) -> bool:
        """Whether the model answers again within ``patience`` seconds."""
        deadline = time.monotonic() + patience
        while (left := deadline - time.monotonic()) > 0:
            try:
                await self._original.Ping(
                    model_pb2.hi(msg="back?"), timeout=left, wait_for_ready=True
                )
                break
            except grpc.aio.AioRpcError:
                # A call that was on the dying connection ends at once, however long it may wait.
                await asyncio.sleep(0.01)
        else:
            return False
        self.failed = False
        return True

    async def _compute_plain(
        self, requests: Sequence[hogar_pb2.Payload], limit: BatchLimit
    ) -> list[hogar_pb2.Payload]:
        inputs = [to_plain(request) for request in requests]
        if limit.one_a_call:
            outputs = [await self._original.Predict(one) for one in inputs]
        else:
            batch = model_pb2.BatchInput(inputs=inputs, count=len(inputs))
            outputs = list((await self._original.BatchPredict(batch)).outputs)
        return [_from_output(output) for output in outputs]

    @staticmethod
    def _counted(replies: list[hogar_pb2.Payload], wanted: int) -> list[hogar_pb2.Payload]:
        if len(replies) != wanted:
            raise ModelError(f"the model gave {len(replies)} replies to {wanted} requests")
        return replies


def _from_output(output: model_pb2.output) -> hogar_pb2.Payload:
    try:
        return from_plain(output.outputType, output.outputStream)
    except PayloadError as error:
        return failure(str(error))


def _reason(error: grpc.aio.AioRpcError) -> str:
    return f"{error.code().name} {error.details() or ''}".strip()
