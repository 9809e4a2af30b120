"""Processes of a home that no agent knows, and their end.

An agent that is killed after it has started a process, and before the ledger names it, leaves one
that no agent after it could find there. Such a process has the home's mark (see
:mod:`earg.start_mark`) and leads a session of its own, as all do that an agent starts. What a model
starts for itself may be the same to look at; it is told apart by its mark, which is that of a
process that the ledger names, or is older than itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from earg.child import end_of
from earg.ledger import ProcessRecord, is_alive, started_at
from earg.start_mark import VARIABLE, StartMark, read_mark

GRACE = 1.0
"""Seconds between TERM and KILL: most have never served."""

LONGEST_COMMAND = 200
"""Characters of a command that are told."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """A process that leads its session and its group. ``command`` is the end of its command line:
    the program's module and the name that it was given."""

    pid: int
    start: int
    mark: StartMark
    command: str

    @property
    def runs(self) -> bool:
        """Whether exactly this process still runs."""
        return started_at(self.pid) == self.start


def find(home: str, known: Iterable[ProcessRecord]) -> list[Orphan]:
    """The orphans of the home of this :func:`earg.start_mark.identity`: processes of this user
    that an agent of it has started, and that are none of ``known``."""
    alive = {record.pid for record in known if is_alive(record)}
    marked = list(_marked(home))
    theirs = {one.mark for one in marked if one.pid in alive}
    return [
        one
        for one in marked
        if one.pid not in alive
        and one.mark not in theirs
        and one.mark.is_of(one.start)
        and _leads_its_session(one.pid)
    ]


def _marked(home: str) -> Iterator[Orphan]:
    """What has a mark of this home, whoever started it; reads each process's environment once."""
    prefix = f"{VARIABLE}=".encode()
    user, own = os.getuid(), os.getpid()
    with os.scandir("/proc") as entries:
        pids = [int(entry.name) for entry in entries if entry.name.isdecimal()]
    for pid in pids:
        folder = Path(f"/proc/{pid}")
        start = started_at(pid)
        try:
            if pid == own or start is None or folder.stat().st_uid != user:
                continue
            environment = (folder / "environ").read_bytes().split(b"\0")
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            # It has ended, or is closed to its own user.
            continue
        texts = [one[len(prefix) :] for one in environment if one.startswith(prefix)]
        mark = read_mark(texts[0].decode(errors="replace")) if len(texts) == 1 else None
        # The same as at first: what was read is all of one process.
        if mark is not None and mark.home == home and started_at(pid) == start:
            command = b" ".join([word for word in words if word][-2:]).decode(errors="replace")
            yield Orphan(pid, start, mark, command[:LONGEST_COMMAND])


def _leads_its_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid == os.getpgid(pid)
    except (ProcessLookupError, PermissionError):
        return False


async def end(orphans: Iterable[Orphan]) -> None:
    """TERM to the group of each, KILL after :data:`GRACE` seconds; returns when they are gone, or
    as much later again. :attr:`Orphan.runs` tells of one that could not be ended."""
    await asyncio.gather(*(_end(one) for one in orphans))


async def _end(orphan: Orphan) -> None:
    if orphan.runs:
        _signal(orphan, signal.SIGTERM)
        await _gone(orphan)
        # Also where it is: what it has started itself goes with it.
        _signal(orphan, signal.SIGKILL)
        await _gone(orphan)


async def _gone(orphan: Orphan) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GRACE):
            await end_of(orphan.pid)


def _signal(orphan: Orphan, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(orphan.pid, number)
