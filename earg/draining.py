"""Waiting until a graph that takes no new requests has answered those that it has."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from earg.pair import StartError

POLL_INTERVAL = 0.05
"""Seconds between looks at how many are left."""

REFUSING = 1.0
"""Seconds that a drained graph's frontend still refuses requests. A client whose last reply came at
the end sends its next one on the same connection: stopped at once, the frontend would reset it."""


async def wait_until_drained(
    close: Callable[[], Awaitable[int]], is_gone: Callable[[], bool], timeout: float
) -> int:
    """How many requests are left after ``timeout`` seconds, or once none are.

    ``close`` lets the frontend take no new requests and tells how many it waits for; ``is_gone``
    is whether the graph was taken down meanwhile. Raises :class:`earg.pair.StartError` where the
    frontend does not answer at first.
    """
    deadline = time.monotonic() + timeout
    left = await close()
    while left and not is_gone() and time.monotonic() < deadline:
        await asyncio.sleep(POLL_INTERVAL)
        # One that has died is brought back with nothing in it.
        with contextlib.suppress(StartError):
            left = await close()
    if left == 0 and not is_gone():
        await asyncio.sleep(REFUSING)
    return left
