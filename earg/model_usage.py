"""What a model's process uses of the machine, as its proxy sees it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGESIZE")


def pid_namespace() -> int:
    """Which PID namespace this process is in (namespaces(7)); 0 where that is not known."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """``cpu_seconds`` since its start, and ``memory`` in bytes that are resident.

    Resident memory counts what is shared with other processes in full. It is read at once, while
    the shares themselves take Linux longer the larger a model is.
    """

    cpu_seconds: float
    memory: int


def read_model_usage(pid: int) -> ModelUsage | None:
    """What process ``pid`` uses; None where it has ended."""
    folder = Path(f"/proc/{pid}")
    try:
        # proc(5): the fields after the command's name, which may hold anything.
        stat = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        fields = stat.rpartition(")")[2].split()
        pages = int((folder / "statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return None
    return ModelUsage((int(fields[11]) + int(fields[12])) / _TICKS, pages * _PAGE)
