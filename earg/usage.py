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


def read_usage(pid: int, kind: str, role: str) -> ProcessUsage | None:
    """What process ``pid`` uses; None where it has ended."""
    folder = Path(f"/proc/{pid}")
    try:
        # proc(5): the fields after the command's name, which may hold anything.
        fields = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        after = fields.rpartition(")")[2].split()
        uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
        memory = _memory(folder)
    except OSError:
        return None
    user, system, started = int(after[11]), int(after[12]), int(after[19])
    return ProcessUsage(
        pid=pid,
        kind=kind,
        role=role,
        cpu_seconds=(user + system) / _TICKS,
        age=max(0.0, uptime - started / _TICKS),
        memory=memory,
    )


def _memory(folder: Path) -> int:
    try:
        found = _PSS.search((folder / "smaps_rollup").read_text(encoding="ascii"))
    except (FileNotFoundError, PermissionError):
        found = None
    if found is not None:
        return int(found[1]) * 1024
    # A kernel without smaps_rollup: the resident size, with all that is shared.
    return int((folder / "statm").read_text(encoding="ascii").split()[1]) * _PAGE
