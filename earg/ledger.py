"""The list of an agent's processes on disk, so that none outlives an agent that was killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterable
from pathlib import Path


def started_at(pid: int) -> int | None:
    """When the process started, in clock ticks since boot (proc(5), field 22); None if it is gone
    or a zombie. With its pid this names a process for good."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def write(path: Path, pids: Iterable[int]) -> None:
    """Replace the list with ``pids``, all at once."""
    rows = [[pid, start] for pid in pids if (start := started_at(pid)) is not None]
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(rows), encoding="utf-8")
    fresh.replace(path)


def kill_leftovers(path: Path) -> list[int]:
    """KILL the process groups on the list that still run; returns their pids."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        listed = [(int(pid), int(start)) for pid, start in rows]
    except (OSError, ValueError, TypeError):
        return []
    killed = []
    for pid, start in listed:
        if started_at(pid) == start:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
                killed.append(pid)
    path.unlink(missing_ok=True)
    return killed
