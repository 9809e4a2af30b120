"""The process of a training function: imports it, calls it, and tells of its epochs on a pipe.

What it says and hears are lines of JSON, on pipes of its own, so that the function may print what
it likes. When the other side is gone, however it ended, the whole process group goes too: nobody
would keep what it trains.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, NoReturn

from earg.training.batch import BatchDecision
from earg.training.context import TrainingContext
from earg.training.errors import TrainingError
from earg.training.plan import TrainingPlan, read_plan
from earg.training.record import EpochRecord

MOST_LINE = 1024 * 1024
"""Bytes of a line."""


class Stopped(BaseException):
    """The process was told to end: the function's ``finally`` blocks run."""


class PipeLink:
    """The training's side of the pipes."""

    def __init__(self, hears: BinaryIO, says: BinaryIO) -> None:
        self._hears = hears
        self._says = says
        self._answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.order = _read(hears)
        threading.Thread(target=self._listen, name="training-link", daemon=True).start()

    def started(self, attempt: str, resumed_after: int) -> None:
        """As of :class:`earg.training.link.TrainingLink`."""
        self._ask({"said": "started", "attempt": attempt, "resumed_after": resumed_after})

    def begin(self, epoch: int) -> BatchDecision:
        """As of :class:`earg.training.link.TrainingLink`."""
        answer = self._ask({"said": "begin", "epoch": epoch})
        return BatchDecision(int(answer["batch"]), str(answer["set_by"]), answer["change"])

    def ended(self, record: EpochRecord) -> None:
        """As of :class:`earg.training.link.TrainingLink`."""
        self._ask({"said": "ended", "record": record.as_json()})

    def say(self, **what: Any) -> None:
        """Say something that has no answer."""
        self._says.write(json.dumps(what).encode() + b"\n")
        self._says.flush()

    def _ask(self, what: dict[str, Any]) -> dict[str, Any]:
        self.say(**what)
        return self._answers.get()

    def _listen(self) -> None:
        while line := self._hears.readline(MOST_LINE):
            self._answers.put(json.loads(line))
        os.killpg(os.getpgid(0), signal.SIGKILL)


def load_function(plan: TrainingPlan) -> Callable[[TrainingContext], object]:
    """Import the function, with the plan's folder first on the module path. Raises
    :class:`TrainingError` for a name that is none, and whatever importing the module raises."""
    if plan.folder:
        sys.path.insert(0, plan.folder)
    module_name, _, name = plan.function.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise TrainingError(
            f"there is no module {error.name}: it is looked for in {plan.folder or 'the path'}, "
            "and among the installed packages"
        ) from None
    function = getattr(module, name, None)
    if not callable(function):
        raise TrainingError(f"module {module_name} has no function {name}")
    return function  # type: ignore[no-any-return]


def train(plan: TrainingPlan, context: TrainingContext) -> None:
    """Call the plan's function and take what it hands over."""
    context.finish(load_function(plan)(context))


def main(hears: int, says: int) -> int:
    """Train what the other side orders on descriptor ``hears``; exit code 0, or 1 once the failure
    is told on ``says``."""
    for descriptor in (hears, says):
        # What the function starts must not hold the pipes open.
        os.set_inheritable(descriptor, False)
    signal.signal(signal.SIGTERM, _stop)
    link = PipeLink(os.fdopen(hears, "rb"), os.fdopen(says, "wb"))
    try:
        plan = read_plan(link.order["plan"])
        context = TrainingContext(
            plan, Path(link.order["folder"]), link, str(link.order["fingerprint"])
        )
        train(plan, context)
    except Stopped:
        link.say(said="failed", sentence="The training was told to end.", traceback="", killed=True)
        return 1
    except Exception as error:
        plain = isinstance(error, TrainingError)
        link.say(
            said="failed",
            sentence=str(error) if plain else f"{type(error).__name__}: {error}"[:2000],
            traceback="" if plain else _traceback(error),
        )
        return 1
    link.say(said="done", epoch=context.epoch, early=context.stopped_early, best=context.best_epoch)
    return 0


def _traceback(error: Exception) -> str:
    """From the function on, without what called it."""
    found = error.__traceback__
    while found is not None and found.tb_frame.f_code.co_filename == __file__:
        found = found.tb_next
    return "".join(traceback.format_exception(type(error), error, found))[-20_000:]


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise Stopped


def _read(file: BinaryIO) -> dict[str, Any]:
    line = file.readline(MOST_LINE)
    if not line:
        sys.exit(1)
    found = json.loads(line)
    assert isinstance(found, dict)
    return found
