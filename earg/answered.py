"""Await a gRPC call on a channel that somebody else may close meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import grpc.aio

Reply = TypeVar("Reply")


class ChannelClosedError(ConnectionError):
    """The channel was closed before the answer came."""


async def answered(call: Awaitable[Reply]) -> Reply:
    """The reply of ``call``; raises :class:`ChannelClosedError`, and what the call raises.

    gRPC cancels the calls of a channel that is closed. To the task that waits this looks like its
    own cancellation, and it would end in silence; so the two are told apart here.
    """
    try:
        return await call
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling() > 0:
            raise
    except grpc.aio.UsageError:
        pass
    raise ChannelClosedError("the channel was closed")
