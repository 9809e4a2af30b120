"""A proxy's link to the model beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio

from earg.batching import BatchLimit
from earg.exchange import exchange
from earg.payload import CHANNEL_OPTIONS, PayloadError, failure, from_plain, to_plain
from earg.protos import hogar_pb2, hogar_pb2_grpc, model_pb2, model_pb2_grpc

COMPUTE_TIMEOUT = 600.0
"""Seconds a model may take for one batch before its requests are failed."""

PING_TIMEOUT = 2.0
"""Seconds to wait for a model's answer to ``Ping``."""


class ModelError(RuntimeError):
    """The model did not answer a batch; the message says why."""


class ModelLink:
    """Sends batches to one model: whole to HOGAR's model server, in EARG's plain protocol to one
    that answers UNIMPLEMENTED. ``failed`` tells that the model was gone at the last look."""

    def __init__(self, ip: str, port: int, compute_timeout: float = COMPUTE_TIMEOUT) -> None:
        self.address = f"{ip}:{port}"
        self.failed = False
        self._timeout = compute_timeout
        self._plain = False
        self._stream: Any = None
        self._channel = grpc.aio.insecure_channel(self.address, options=CHANNEL_OPTIONS)
        self._hogar = hogar_pb2_grpc.ModelServerStub(self._channel)
        self._original = model_pb2_grpc.PredictServiceStub(self._channel)

    async def close(self) -> None:
        """Close the channel; calls under way end with an error."""
        self._drop_stream()
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
        self, requests: Sequence[hogar_pb2.Payload], limit: BatchLimit
    ) -> list[hogar_pb2.Payload]:
        """The model's replies to one batch, in order; raises :class:`ModelError`."""
        try:
            async with asyncio.timeout(self._timeout):
                if not self._plain:
                    try:
                        return self._counted(await self._exchange(requests), len(requests))
                    except grpc.aio.AioRpcError as error:
                        if error.code() != grpc.StatusCode.UNIMPLEMENTED:
                            raise
                        self._plain = True
                return await self._compute_plain(requests, limit)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                self.failed = True
            raise ModelError(f"the model did not answer: {_reason(error)}") from None
        except TimeoutError:
            self._drop_stream()
            raise ModelError(f"the model did not answer within {self._timeout:g} s") from None

    async def _exchange(self, requests: Sequence[hogar_pb2.Payload]) -> list[hogar_pb2.Payload]:
        if self._stream is None:
            self._stream = self._hogar.Compute()
        stream = self._stream
        reply = await exchange(
            stream, hogar_pb2.ComputeRequest(requests=requests), self._drop_stream
        )
        return list(reply.replies)

    def _drop_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()

    async def _compute_plain(
        self, requests: Sequence[hogar_pb2.Payload], limit: BatchLimit
    ) -> list[hogar_pb2.Payload]:
        inputs = [to_plain(request) for request in requests]
        if limit.one_a_call:
            outputs = [await self._original.Predict(one) for one in inputs]
        else:
            batch = model_pb2.BatchInput(inputs=inputs, count=len(inputs))
            outputs = list((await self._original.BatchPredict(batch)).outputs)
        return self._counted([_from_output(output) for output in outputs], len(requests))

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
