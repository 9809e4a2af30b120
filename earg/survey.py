"""What a platform's hosts are and hold, looked at once for all graphs of an agent."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from earg.platform import GraphFound, PairKey, Platform, PlatformError
from earg.status import HostStatus
from earg.usage import ContainerUsage

log = logging.getLogger(__name__)

HOSTS_INTERVAL = 1.0
"""Seconds between looks at the hosts."""

LOOK_INTERVAL = 5.0
"""Seconds between looks at what is on them."""

USAGE_INTERVAL = 10.0
"""Seconds between readings of what its containers use: each costs their host milliseconds."""

CALL_TIMEOUT = 30.0
"""Seconds for a look: each call of a platform has a deadline, this is for one that has not."""


class Survey:
    """:meth:`run` keeps it fresh. ``hosts`` are as they were seen last; ``trouble`` is why they
    could not be, empty where they were."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self.hosts: tuple[HostStatus, ...] = ()
        self.trouble = ""
        self.found: Mapping[str, GraphFound] = {}
        self.found_at = 0.0
        """When the look began that ``found`` comes from, by the monotonic clock; 0 before any."""
        self.freed_at = 0.0
        """When a host was seen to answer again, or something to be gone that took room, by the
        monotonic clock; 0 before any."""
        self.usage: Mapping[PairKey, tuple[ContainerUsage, ...]] = {}
        """What the containers of pairs used at the last reading."""
        self._looking: asyncio.Task[None] | None = None
        self._begun_at = 0.0

    async def run(self) -> None:
        """Look for ever."""
        await asyncio.gather(self._see_hosts(), self._look_again(), self._read_usage())

    def host(self, name: str) -> HostStatus | None:
        """The host of this name; None where the platform has none."""
        return next((host for host in self.hosts if host.name == name), None)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is to be told of the platform: why it cannot be looked at, where it cannot."""
        return (f"the platform cannot be looked at: {self.trouble}",) if self.trouble else ()

    @property
    def dead(self) -> frozenset[str]:
        """The names of the hosts that are dead."""
        return frozenset(host.name for host in self.hosts if host.dead)

    async def see_hosts(self) -> None:
        """Look at the hosts once; raises :class:`PlatformError`."""
        before = self.dead
        self.hosts = tuple(await self._platform.hosts())
        if before - self.dead:
            self.freed_at = time.monotonic()

    async def _see_hosts(self) -> None:
        while True:
            try:
                async with asyncio.timeout(CALL_TIMEOUT):
                    await self.see_hosts()
                self.trouble = ""
            except (PlatformError, TimeoutError) as error:
                self._fails(error)
            except Exception as error:
                log.exception("the hosts cannot be looked at")
                self._fails(error)
            await asyncio.sleep(HOSTS_INTERVAL)

    async def _look_again(self) -> None:
        while True:
            try:
                await self.look(time.monotonic())
            except (PlatformError, TimeoutError) as error:
                self._fails(error)
            except Exception as error:
                log.exception("the platform cannot be looked at")
                self._fails(error)
            await asyncio.sleep(LOOK_INTERVAL)

    async def _read_usage(self) -> None:
        while True:
            try:
                async with asyncio.timeout(CALL_TIMEOUT):
                    self.usage = await self._platform.usage()
            except (PlatformError, TimeoutError) as error:
                # The looks at hosts tell what is wrong with them.
                log.debug("what containers use cannot be read: %s", error)
                self.usage = {}
            except Exception:
                log.exception("what containers use cannot be read")
                self.usage = {}
            await asyncio.sleep(USAGE_INTERVAL)

    def _fails(self, error: Exception) -> None:
        text = str(error) or f"it does not answer within {CALL_TIMEOUT:g} s"
        if text != self.trouble:
            log.warning("the platform: %s", text)
        self.trouble = text

    async def look(self, since: float) -> Mapping[str, GraphFound]:
        """What there is, by a look that began at ``since`` (of the monotonic clock) or later; who
        asks meanwhile shares it. Raises :class:`PlatformError`, TimeoutError."""
        while self.found_at < since:
            if self._looking is None or self._looking.done():
                self._begun_at = time.monotonic()
                self._looking = asyncio.create_task(self._look())
            # One that began before is waited for, too: two at a time would cost more.
            await asyncio.shield(self._looking)
        return self.found

    async def _look(self) -> None:
        async with asyncio.timeout(CALL_TIMEOUT):
            found = await self._platform.look()
        if self.found_at and _places(self.found) - _places(found):
            self.freed_at = self._begun_at
        self.found, self.found_at = found, self._begun_at

    async def close(self) -> None:
        """End a look that is under way."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)


def _places(found: Mapping[str, GraphFound]) -> set[tuple[str, tuple[int, int], str]]:
    """What takes room where."""
    return {
        (graph, key, pair.host) for graph, one in found.items() for key, pair in one.pairs.items()
    }
