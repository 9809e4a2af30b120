"""What a process uses of the machine, read from Linux's /proc."""

from __future__ import annotations

import os
import re
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
    """

    pid: int
    kind: str
    role: str
    cpu_seconds: float
    age: float
    memory: int


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
