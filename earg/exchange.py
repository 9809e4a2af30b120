"""One message and its answer on a bidirectional gRPC stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio


async def exchange(stream: Any, message: Any, drop: Callable[[], None]) -> Any:
    """Write ``message`` and read its answer. Whatever ends the stream raises the call's
    ``grpc.aio.AioRpcError``, after ``drop`` was called so that the next one opens a new stream."""
    try:
        await stream.write(message)
        answer = await stream.read()
        if answer is not grpc.aio.EOF:
            return answer
    except asyncio.InvalidStateError:
        pass  # the stream had ended before; its status tells why
    except BaseException:
        drop()
        raise
    details, code = await stream.details(), await stream.code()
    metadata = await stream.initial_metadata(), await stream.trailing_metadata()
    drop()
    if code is grpc.StatusCode.OK:
        # A peer that is stopping ends its streams in order; to the sender it is gone all the same.
        code = grpc.StatusCode.UNAVAILABLE
    raise grpc.aio.AioRpcError(code, metadata[0], metadata[1], details=details)
