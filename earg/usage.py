"""What a node's processes use of their machine; those of this one are read from Linux's /proc."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGESIZE")
_PSS = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """One process of a node: ``kind`` is model or proxy, ``role`` that of its pair.

    ``cpu_seconds`` is what it has computed in the ``age`` seconds since it started. ``memory`` is
    in bytes, what it shares with others counted by its part (PSS).

    Of a platform it is a container, whose id is ``container`` and whose ``pid`` is 0; see
    :class:`ContainerUsage`, which has ``cores`` as well.
    """

    pid: int
    kind: str
    role: str
    cpu_seconds: float
    age: float
    memory: int
    container: str = ""
    cores: float | None = None


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    """One reading of a container of a pair, ``kind`` model or proxy, ``at`` so many seconds by the
    clock of its host.

    ``cores`` is what all its processes used since the reading before, or in the time for which its
    platform tells it; None where there is no reading before. ``memory`` is in bytes, without the
    cache of files that Linux can take back. ``cpu_seconds`` is what it has computed in the ``age``
    seconds since it started, both 0 where its platform does not tell that.
    """

    id: str
    kind: str
    at: float
    cores: float | None
    memory: int
    cpu_seconds: float = 0.0
    age: float = 0.0

    def of(self, role: str) -> ProcessUsage:
        """What a node tells of it."""
        return ProcessUsage(
            *(0, self.kind, role, self.cpu_seconds, self.age, self.memory, self.id, self.cores)
        )


@dataclass(frozen=True, slots=True)
class UsageSeries:
    """What one kind of a node's processes used: ``kind`` is model (all replicas) or proxy. ``cpu``
    is in cores since the time before, ``memory`` in bytes as in :class:`ProcessUsage`; None where
    there was none."""

    kind: str
    role: str
    cpu: tuple[float | None, ...]
    memory: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class UsageHistory:
    """Series with a value for each of ``times``, which are Unix seconds."""

    times: tuple[float, ...] = ()
    series: tuple[UsageSeries, ...] = ()


NO_USAGE = UsageHistory()
"""Nothing was sampled."""


def cores_used(now: Iterable[ProcessUsage], before: Iterable[ProcessUsage]) -> float | None:
    """How many cores the processes used since ``before``, each by the clock of its machine; of one
    that was not there before, since it started, or lately where that is known. None where nothing
    is known of any."""
    earlier = {(one.container, one.pid): one for one in before}
    found: list[float] = []
    for one in now:
        then = earlier.get((one.container, one.pid))
        if then is not None and then.age < one.age and then.cpu_seconds <= one.cpu_seconds:
            found.append((one.cpu_seconds - then.cpu_seconds) / (one.age - then.age))
        elif one.cores is not None:
            found.append(one.cores)
        elif one.age > 0:
            found.append(one.cpu_seconds / one.age)
    return sum(found) if found else None


def read_usage(pid: int, kind: str, role: str) -> ProcessUsage | None:
    """What process ``pid`` uses; None where it has ended."""
    found, memory = read_cpu(pid), read_memory(pid)
    if found is None or memory is None:
        return None
    return ProcessUsage(pid, kind, role, *found, memory)


def read_cpu(pid: int) -> tuple[float, float] | None:
    """The seconds that process ``pid`` has computed, and those since it started."""
    try:
        # proc(5): the fields after the command's name, which may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    except OSError:
        return None
    after = fields.rpartition(")")[2].split()
    user, system, started = int(after[11]), int(after[12]), int(after[19])
    return (user + system) / _TICKS, max(0.0, uptime - started / _TICKS)


def read_memory(pid: int) -> int | None:
    """Bytes of process ``pid``, as in :class:`ProcessUsage`. Linux walks all its pages for that:
    milliseconds for a large one."""
    try:
        return _memory(Path(f"/proc/{pid}"))
    except OSError:
        return None


def _memory(folder: Path) -> int:
    try:
        found = _PSS.search((folder / "smaps_rollup").read_text(encoding="ascii"))
    except (FileNotFoundError, PermissionError):
        found = None
    if found is not None:
        return int(found[1]) * 1024
    # A kernel without smaps_rollup: the resident size, with all that is shared.
    return int((folder / "statm").read_text(encoding="ascii").split()[1]) * _PAGE
