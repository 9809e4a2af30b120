"""A model that hangs, or seems to, as it is told."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path
from typing import Any


class Obedient:
    """Replies what it was asked, after it has done what the request says. Where the file MARK is,
    it is another one's replacement, and is reachable for good."""

    def predict(self, request: Any) -> Any:
        if request in ("shut", "block"):
            mark = Path(os.environ["MARK"])
            if mark.exists():
                return request
            mark.touch()
        if request == "shut":
            # Its process lives, and nobody can reach it.
            # Its gRPC would tell of that without an end, so its log is let go first.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            os.closerange(3, 256)
            time.sleep(600)
        elif request == "block":
            # In C, with the interpreter to itself and without computing: no thread can answer.
            ctypes.PyDLL(None).sleep(600)
        elif request == "compute":
            # In C, with the interpreter to itself, for some seconds.
            until = time.monotonic() + 7
            while time.monotonic() < until:
                sum(range(100_000_000))
        elif request == "talk":
            for _ in range(1000):
                print("x" * 1023, flush=True)
        elif request == "wait":
            time.sleep(4)
        return request

    def get_state(self) -> bytes:
        return b""

    def set_state(self, state: bytes) -> None:
        assert state == b""


class DiesAgain:
    """Starts once; every later start dies. A byte in the file STARTS for each."""

    def __init__(self) -> None:
        starts = Path(os.environ["STARTS"])
        with starts.open("a", encoding="ascii") as file:
            file.write(".")
        if starts.stat().st_size > 1:
            raise RuntimeError("start 2 or later")

    def predict(self, request: Any) -> Any:
        return request
