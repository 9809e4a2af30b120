"""The mark by which a process is known that a home's agent has started.

It is in the environment of every model, proxy and frontend, so it is there from the process's first
moment on, whatever becomes of the agent. What such a process starts inherits it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "HOGAR_STARTED"
"""Not one of EARG_*: those are handed on to other agents, too."""

START_SLACK = 1.0
"""Seconds from the making of a mark within which its process begins."""

_TICKS = os.sysconf("SC_CLK_TCK")


def identity(home: Path) -> str:
    """By which a home is known on this machine: no other folder has it, nor one of the same path in
    another container. Raises OSError where there is no such folder."""
    found = home.stat()
    place = os.fsencode(home.resolve())
    text = b"%b\0%d\0%d" % (place, found.st_dev, found.st_ino)
    return hashlib.sha256(text).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class StartMark:
    """One start: by the agent of which home, when (clock ticks since boot), and its own number."""

    home: str
    ticks: int
    number: str

    def __str__(self) -> str:
        return f"{self.home}.{self.ticks}.{self.number}"

    def is_of(self, start: int) -> bool:
        """Whether it was made for a process that began at ``start`` (see
        :func:`earg.ledger.started_at`), and not for one that has started it later."""
        return -1 <= start - self.ticks <= START_SLACK * _TICKS


def new_mark(home: str) -> StartMark:
    """A mark for the process that is started next, for the home of this :func:`identity`."""
    ticks = int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS)
    return StartMark(home, ticks, secrets.token_hex(8))


def read_mark(text: str) -> StartMark | None:
    """The mark of a text; None where it is none."""
    home, _, rest = text.partition(".")
    ticks, _, number = rest.partition(".")
    if not home or not number or not (ticks.isascii() and ticks.isdecimal()):
        return None
    return StartMark(home, int(ticks), number)
