"""Several waits at once, of which the first that fails counts."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any


async def all_of(waits: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Await all; the first failure cancels the others and is raised by itself."""
    if len(waits) == 1:
        await waits[0]
        return
    try:
        async with asyncio.TaskGroup() as group:
            for wait in waits:
                group.create_task(wait)
    except BaseExceptionGroup as errors:
        first = errors.exceptions[0]
    else:
        return
    raise first
