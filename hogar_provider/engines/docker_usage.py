"""What the containers of one host use, from Docker's statistics of one moment each.

Docker counts a container's processor time, so what it used lately is the difference of two
statistics, by the clock of its host. Source: the Engine API, ``GET /containers/{id}/stats`` with
``stream=false&one-shot=true`` (API 1.41, Docker 20.10), and the notes there on used memory.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from earg.usage import ContainerUsage
from hogar_provider.engines.docker_containers import Container
from hogar_provider.engines.docker_daemon import Daemon, DaemonError
from hogar_provider.engines.timestamp import seconds

log = logging.getLogger(__name__)

READ_TIMEOUT = 30.0
"""Seconds for the statistics of one container, those before it included."""

PATIENCE = 1.5
"""Seconds for which statistics are waited for: Docker 20.10 gathers them once a second. What comes
later is told the next time."""

FRESH = 30.0
"""Seconds for which what was read is told while nothing newer comes."""

TELL_INTERVAL = 600.0
"""Seconds between two warnings about a host."""

FIRST_VERSION = "1.41"
"""That of the API."""

_NANO = 1e-9


@dataclass(frozen=True, slots=True)
class _Sample:
    """Statistics of one moment: ``at`` and ``started`` in seconds by the clock of the host."""

    at: float
    started: float
    computed: float
    memory: int


@dataclass(frozen=True, slots=True)
class _Read:
    """``when`` is by this machine's monotonic clock."""

    sample: _Sample
    usage: ContainerUsage
    when: float


class UsageReader:
    """Reads one host's containers, several at once in threads of its daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._found: dict[str, _Read] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._told_at = -math.inf

    async def close(self) -> None:
        """End what is under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def read(self, containers: Iterable[Container]) -> dict[str, ContainerUsage]:
        """What they use, by their ids; without those that end meanwhile, and those that the host
        does not tell in time, or at all."""
        running = {one.id: one for one in containers if one.state == "running"}
        self._found = {key: read for key, read in self._found.items() if key in running}
        if self._daemon.is_dead:
            return {}
        for key, one in running.items():
            # One that is still under way is not asked for twice.
            if key not in self._tasks:
                self._tasks[key] = asyncio.create_task(self._read_one(one))
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=PATIENCE)
        since = time.monotonic() - FRESH
        return {key: read.usage for key, read in self._found.items() if read.when > since}

    async def _read_one(self, one: Container) -> None:
        known = self._found.get(one.id)
        before = None if known is None else known.sample
        try:
            found = await self._daemon.measure(
                lambda client: self._read(client, one, before), READ_TIMEOUT
            )
        except DaemonError as error:
            # 404 and 409: it is being taken away.
            if error.status not in (404, 409):
                self._tell(str(error))
        else:
            if found is not None:
                self._found[one.id] = _Read(*found, time.monotonic())
        finally:
            self._tasks.pop(one.id, None)

    def _tell(self, trouble: str) -> None:
        """Tell what is in the way, not for every container."""
        if time.monotonic() - self._told_at > TELL_INTERVAL:
            self._told_at = time.monotonic()
            log.warning("no figures of containers: %s", trouble)

    def _read(
        self, client: Any, one: Container, before: _Sample | None
    ) -> tuple[_Sample, ContainerUsage] | None:
        if not can_tell(str(client.api_version)):
            raise DaemonError(
                f"host {self._daemon.name}: its Docker is older than 20.10, and tells them by "
                "measuring for seconds only"
            )
        sample = sample_of(client.stats(one.id, stream=False, one_shot=True), before)
        if sample is None:
            return None
        if not sample.started:
            state = client.inspect_container(one.id).get("State") or {}
            sample = replace(sample, started=seconds(state.get("StartedAt")))
        return sample, usage_of(one, sample, before)


def usage_of(one: Container, sample: _Sample, before: _Sample | None) -> ContainerUsage:
    """What a container uses, by its last two samples."""
    age = max(0.0, sample.at - sample.started) if sample.started else 0.0
    cores = None
    if before is not None and before.at < sample.at:
        passed = sample.at - before.at
        if before.computed <= sample.computed:
            cores = (sample.computed - before.computed) / passed
        elif 0 < age <= passed:
            # It was started anew since, and counts from 0.
            cores = sample.computed / passed
    return ContainerUsage(
        *(one.id[:12], one.part, sample.at, cores, sample.memory, sample.computed, age)
    )


def can_tell(version: str) -> bool:
    """Whether a daemon of this version of the API tells statistics of one moment."""
    parts = [int(part) for part in version.split(".") if part.isdecimal()]
    return parts >= [int(part) for part in FIRST_VERSION.split(".")]


def sample_of(said: Mapping[str, Any], before: _Sample | None) -> _Sample | None:
    """What a daemon has said of a container; None where it says nothing, as of one that does not
    run."""
    at = seconds(said.get("read"))
    computed = ((said.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage")
    memory = memory_of(said.get("memory_stats") or {})
    if at <= 0 or computed is None or memory is None:
        return None
    computed *= _NANO
    # One that was started anew counts from 0.
    same = before is not None and before.computed <= computed
    return _Sample(at, before.started if before is not None and same else 0.0, computed, memory)


def memory_of(said: Mapping[str, Any]) -> int | None:
    """Bytes in use, as ``docker stats`` counts them: without files of which nobody has made use
    lately. Version 1 of control groups counts them for the whole tree."""
    usage = said.get("usage")
    if usage is None:
        return None
    more = said.get("stats") or {}
    inactive = more.get("total_inactive_file", more.get("inactive_file", 0))
    return int(usage - inactive) if inactive < usage else int(usage)
