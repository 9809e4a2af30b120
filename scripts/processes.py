"""The demo's processes: found without trusting a pid file, and ended."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STOP_TIMEOUT = 20.0
"""Seconds between asking processes to end and killing them."""


class ToolError(RuntimeError):
    """A command failed; the message holds its last words."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session of processes, so that it can be told from a later one of the same number.

    ``started`` is when its leader was, in clock ticks since ``boot``.
    """

    leader: int
    started: int
    boot: str

    def as_json(self) -> dict[str, Any]:
        return {"session": self.leader, "started": self.started, "boot": self.boot}


def run_tool(command: list[str], environment: dict[str, str], seconds: float) -> str:
    """What a command prints; raises :class:`ToolError` with its last words where it fails.

    It is in a session of its own, so that Ctrl-C reaches the demo alone, and is killed with it.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
        text=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise ToolError(f"{shlex.join(command)} took more than {seconds:.0f} s") from None
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode != 0:
        words = "\n".join((out + err).strip().splitlines()[-15:])
        raise ToolError(f"{shlex.join(command)} failed:\n{words}")
    return out


def end(living: Callable[[], list[int]]) -> None:
    """Ask processes to end, and kill those that do not in time."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + STOP_TIMEOUT
        while living():
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)


def our_processes(session: Session | None, earg_home: Path) -> list[int]:
    """Every process that this demo, or the interrupted one before it, has started."""
    return session_processes(session) + earg_processes(earg_home)


def session_processes(session: Session | None) -> list[int]:
    """The processes of a session that have not ended."""
    if session is None or session.boot != boot_id():
        return []
    leader = start_time(session.leader)
    if leader is not None and leader != session.started:
        return []  # The number is another process's now, so the old session is gone.
    return [pid for pid in pids() if session_of(pid) == session.leader]


def earg_processes(home: Path) -> list[int]:
    """The agent whose EARG_HOME is ``home``, and the processes it started."""
    mark = f"EARG_HOME={home}".encode()
    found = []
    for pid in pids():
        with contextlib.suppress(OSError):
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            # A person's shell may have the variable too; only the runtime's own programs count.
            if b"-m" not in arguments or not any(a.startswith(b"earg.") for a in arguments):
                continue
            if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def pids() -> list[int]:
    """Every process of this user that has not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            pid = int(entry.name)
            if entry.stat().st_uid == os.getuid() and _stat(pid)[0] not in ("Z", "X"):
                found.append(pid)
    return found


def session_of(pid: int) -> int | None:
    """The session of a process; None where there is none of that number."""
    with contextlib.suppress(OSError):
        return int(_stat(pid)[3])
    return None


def start_time(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot; None where it does not run."""
    with contextlib.suppress(OSError):
        return int(_stat(pid)[19])
    return None


def _stat(pid: int) -> list[str]:
    """Fields 3 and on of /proc/PID/stat, see proc(5). The name before them may hold a bracket."""
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()


def boot_id() -> str:
    """What changes at every boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
