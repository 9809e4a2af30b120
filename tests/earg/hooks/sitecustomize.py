"""Lets a test hang a real process of the runtime from outside: it is imported by every Python
process that starts with this folder on its path."""

from __future__ import annotations

import signal
import threading


def _deadlock(*_: object) -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def _loop_in_c(*_: object) -> None:
    # In C, and it keeps the interpreter to itself all the while.
    sum(range(10**13))


signal.signal(signal.SIGUSR1, _deadlock)
signal.signal(signal.SIGUSR2, _loop_in_c)
