"""Running a training function in a process of its own group, and keeping what it tells."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from earg.training.child import MOST_LINE
from earg.training.errors import TrainingError
from earg.training.link import TrainingLink
from earg.training.plan import TrainingPlan
from earg.training.record import read_record

GRACE = 3.0
"""Seconds between TERM and KILL: less than a scheduler gives the task itself."""

LOOK = 0.2
"""Seconds between looks whether the process has ended."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A training that has ended well: its last epoch, whether it ended before the last one of its
    plan, and the best epoch of what its early stop watches."""

    epoch: int
    early: bool
    best_epoch: int | None


class TrainingFailedError(TrainingError):
    """The function has failed. ``traceback`` is its own, empty where the sentence says it all;
    ``killed`` tells that the process ended without a word."""

    def __init__(self, sentence: str, traceback: str = "", *, killed: bool = False) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.traceback = traceback
        self.killed = killed


class TrainingProcess:
    """One run of a plan's function. ``folder`` is its working folder; a checkpoint in it that has
    the same ``fingerprint`` is gone on from. Its output is this process's own."""

    def __init__(
        self,
        plan: TrainingPlan,
        folder: Path,
        link: TrainingLink,
        fingerprint: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._link = link
        self._fingerprint = fingerprint
        self._environment = dict(os.environ if environment is None else environment)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Of the process, and of its group."""
        return None if self._process is None else self._process.pid

    def run(self) -> Trained:
        """Train to the end. Raises :class:`TrainingFailedError`, and whatever the link raises; no
        process is left then."""
        hears, orders = os.pipe()
        tells, says = os.pipe()
        with os.fdopen(tells, "rb", buffering=0) as told, os.fdopen(orders, "wb") as out:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "earg.training", "child", str(hears), str(says)],
                    cwd=self._plan.folder or None,
                    env=self._environment | {"PYTHONUNBUFFERED": "1"},
                    stdin=subprocess.DEVNULL,
                    pass_fds=(hears, says),
                    start_new_session=True,
                )
            finally:
                os.close(hears)
                os.close(says)
            try:
                order = {
                    "plan": self._plan.as_json(),
                    "folder": str(self._folder),
                    "fingerprint": self._fingerprint,
                }
                _write(out, order)
                return self._follow(told, out)
            except BrokenPipeError:
                raise TrainingFailedError(self._how_it_ended(), killed=True) from None
            finally:
                self.stop()

    def stop(self) -> None:
        """End the process group, TERM then KILL; nothing where it has ended."""
        process = self._process
        if process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            ends = time.monotonic() + GRACE
            while process.poll() is None and time.monotonic() < ends:
                time.sleep(0.02)
        # Whatever the function started is in the group, too, and has had its TERM and its KILL.

    def _follow(self, told: BinaryIO, out: BinaryIO) -> Trained:
        assert self._process is not None
        for line in _lines(told, self._process):
            said = json.loads(line)
            match said.get("said"):
                case "started":
                    self._link.started(str(said["attempt"]), int(said["resumed_after"]))
                    _write(out, {})
                case "begin":
                    decision = self._link.begin(int(said["epoch"]))
                    answer = {
                        "batch": decision.batch,
                        "set_by": decision.set_by,
                        "change": decision.change,
                    }
                    _write(out, answer)
                case "ended":
                    self._link.ended(read_record(said["record"]))
                    _write(out, {})
                case "done":
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self._process.wait(GRACE)
                    best = said.get("best")
                    return Trained(int(said["epoch"]), bool(said["early"]), best)
                case "failed":
                    raise TrainingFailedError(
                        str(said["sentence"]),
                        str(said["traceback"]),
                        killed=bool(said.get("killed")),
                    )
                case other:
                    raise TrainingError(f"the training's process said {other!r}")
        raise TrainingFailedError(self._how_it_ended(), killed=True)

    def _how_it_ended(self) -> str:
        assert self._process is not None
        try:
            code = self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            return "The training's process closed its pipe."
        if code < 0:
            name = signal.Signals(-code).name
            more = ": it may have used more memory than there is" if code == -9 else ""
            return f"The training's process was ended by {name}{more}."
        return f"The training's process ended with exit code {code} before it was done."


def _lines(told: BinaryIO, process: subprocess.Popen[bytes]) -> Any:
    """The lines of a pipe until its end, or until the process has ended: a child of it may hold the
    pipe open."""
    rest = b""
    while True:
        ended = process.poll() is not None
        ready, _, _ = select.select([told], [], [], 0 if ended else LOOK)
        if not ready:
            if ended:
                return
            continue
        block = os.read(told.fileno(), 65536)
        if not block:
            return
        *lines, rest = (rest + block).split(b"\n")
        if len(rest) > MOST_LINE:
            raise TrainingError("the training's process said a line that is too long")
        yield from lines


def _write(out: BinaryIO, value: Mapping[str, Any]) -> None:
    out.write(json.dumps(value).encode() + b"\n")
    out.flush()
