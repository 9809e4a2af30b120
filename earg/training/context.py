"""What a training function gets: its epochs, batch size and parameters, and where its figures,
checkpoints and the trained model go."""

from __future__ import annotations

import os
import random
import re
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from earg.training.batch import BatchDecision
from earg.training.checkpoint import (
    Checkpoint,
    commit_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from earg.training.errors import TrainingError
from earg.training.link import LocalLink, TrainingLink
from earg.training.plan import TrainingPlan
from earg.training.record import MOST_METRICS, EpochRecord, check_metrics
from earg.training.stopping import Stopping, read_stopping

MODEL = "model"
"""The name of the file that a single trained model is handed over in."""

_FILE_NAME = re.compile(r"[A-Za-z0-9][\w.\-]{0,127}\Z")
_PAGE = os.sysconf("SC_PAGESIZE")


class TrainingContext:
    """One training of one operator::

        def train(ctx):
            model = ...
            if (last := ctx.restore()) is not None:
                model.load(last)
            for epoch in ctx.epochs():
                for x, y in ctx.batches(images, labels):
                    model.step(x, y)
                ctx.report(loss=model.loss, accuracy=model.accuracy)
                ctx.checkpoint(model.dump())
            ctx.save(model.dump())

    ``folder`` holds the checkpoint and, below ``artifact``, what becomes the trained model. A
    checkpoint of a training with another ``fingerprint`` is not gone on from. Everything runs in
    the thread of the function.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        folder: Path,
        link: TrainingLink | None = None,
        fingerprint: str = "",
    ) -> None:
        self.plan = plan
        self.link: TrainingLink = link if link is not None else LocalLink(plan)
        self.folder = folder
        self.artifact = folder / "artifact"
        """The folder whose files become the trained model; for what writes files by itself."""
        self.epoch = 0
        """The epoch that runs, or the last one that has ended; 0 before the first."""
        self._fingerprint = fingerprint
        self._decision = BatchDecision(plan.batch_at(1))
        self._stopping = None if plan.early_stop is None else Stopping(plan.early_stop)
        self._attempt = uuid.uuid4().hex
        self._open = False
        self._started = False
        self._stop_asked = False
        self._metrics: dict[str, float | None] = {}
        self._samples: int | None = None
        self._written = False
        self._begun = (0.0, 0.0)
        self.artifact.mkdir(mode=0o700, parents=True, exist_ok=True)

    # --- what the graph says ---------------------------------------------------------------------

    @property
    def operator(self) -> str:
        """The operator's name."""
        return self.plan.operator

    @property
    def batch_size(self) -> int:
        """Samples that this epoch takes at once: what the schedule says of it, or a person."""
        return self._decision.batch

    @property
    def batch_set_by(self) -> str:
        """Who has set it: ``schedule``, or a person's name."""
        return self._decision.set_by

    @property
    def learning_rate(self) -> float | None:
        """None where the graph says none."""
        return self.plan.learning_rate

    @property
    def dataset(self) -> str | None:
        """As the graph says it: a path, an address; None where it says none."""
        return self.plan.dataset

    @property
    def dataset_path(self) -> Path:
        """``dataset`` as a path: a relative one starts at the folder of the graph's file. Raises
        :class:`TrainingError` where there is none."""
        if self.plan.dataset is None:
            raise TrainingError(f"operator {self.operator} says no 'dataset'")
        return Path(self.plan.folder) / Path(self.plan.dataset).expanduser()

    @property
    def params(self) -> Mapping[str, str]:
        """The graph's ``param NAME=VALUE``, as text."""
        return MappingProxyType(dict(self.plan.params))

    @property
    def stopped_early(self) -> bool:
        """Whether it has ended, so far, before the last epoch that the graph says."""
        return self.epoch - self._open < self.plan.epochs

    @property
    def best_epoch(self) -> int | None:
        """The epoch with the best value so far of what the early stop watches."""
        return None if self._stopping is None else self._stopping.best_epoch or None

    # --- epochs ----------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether an epoch has begun that has not ended."""
        return self._open

    @property
    def over(self) -> bool:
        """Whether no further epoch begins: the last one, early stopping, or :meth:`stop`."""
        stopped = self._stop_asked or (self._stopping is not None and self._stopping.over)
        return stopped or self.epoch >= self.plan.epochs

    def epochs(self) -> Iterator[int]:
        """The epochs to train, each begun when it is asked for and ended when the next one is.

        They begin at 1, or after the checkpoint if :meth:`restore` gave one, and end with the last
        one that the graph says, when early stopping says so, or after :meth:`stop`.
        """
        if self._started:
            raise TrainingError("ctx.epochs() has been begun already: loop over it once")
        while self.begin_epoch():
            yield self.epoch
            self.end_epoch()

    def begin_epoch(self) -> bool:
        """Begin the next epoch, for a loop that is not :meth:`epochs`; False where there is none:
        stop then."""
        if self._open:
            raise TrainingError(f"epoch {self.epoch} has not ended: call ctx.end_epoch() first")
        if not self._started:
            self._started = True
            self.link.started(self._attempt, self.epoch)
        if self.over:
            return False
        self._decision = self.link.begin(self.epoch + 1)
        self.epoch += 1
        self._open = True
        self._metrics, self._samples, self._written = {}, None, False
        self._begun = (time.monotonic(), _cpu_seconds())
        return True

    def end_epoch(self) -> None:
        """End the epoch that runs: its figures are kept, then its checkpoint."""
        self._need_epoch("end_epoch")
        duration = time.monotonic() - self._begun[0]
        if self._stopping is not None:
            self._stopping = self._stopping.after(self.epoch, self._metrics)
        record = EpochRecord(
            epoch=self.epoch,
            at=time.time(),
            duration=duration,
            decision=self._decision,
            metrics=self._metrics,
            samples=self._samples,
            cpu_seconds=max(0.0, _cpu_seconds() - self._begun[1]),
            memory=_memory(),
            checkpoint=self._written,
        )
        self._open = False
        self.link.ended(record)
        if self._written:
            commit_checkpoint(self.folder)

    def report(self, *, samples: int | None = None, **metrics: Any) -> None:
        """Tell figures of this epoch: ``loss``, ``accuracy``, any number. ``samples`` is how many
        the epoch has trained, where :meth:`batches` and :meth:`count` have not counted them. Told
        twice, the later holds."""
        self._need_epoch("report")
        found = check_metrics(metrics)
        if len(self._metrics | found) > MOST_METRICS:
            raise TrainingError(f"an epoch reports at most {MOST_METRICS} numbers")
        self._metrics |= found
        if samples is not None:
            self._samples = int(samples)

    def count(self, samples: int) -> None:
        """So many more samples of this epoch are trained."""
        self._need_epoch("count")
        self._samples = (self._samples or 0) + int(samples)

    def stop(self) -> None:
        """End the training after this epoch."""
        self._stop_asked = True

    def batches(self, *arrays: Any, shuffle: bool = True) -> Iterator[Any]:
        """One pass over ``arrays`` in batches of :attr:`batch_size`, and counts the samples.

        All arrays have one length: NumPy's, tensors, or sequences. One array yields its batches,
        several yield tuples. The order is another one in each epoch, and the same whenever that
        epoch is trained again.
        """
        self._need_epoch("batches")
        if not arrays:
            raise TrainingError("ctx.batches() takes at least one array")
        lengths = {len(array) for array in arrays}
        if len(lengths) > 1:
            raise TrainingError(f"the arrays have different lengths: {sorted(lengths)}")
        order = list(range(lengths.pop()))
        if shuffle:
            # Not for secrets: the same order each time.
            random.Random(self.epoch).shuffle(order)  # noqa: S311
        size = self.batch_size
        for begin in range(0, len(order), size):
            chosen = order[begin : begin + size]
            parts = tuple(_choose(array, chosen) for array in arrays)
            yield parts[0] if len(parts) == 1 else parts
            self.count(len(chosen))

    # --- checkpoints and the trained model -------------------------------------------------------

    def checkpoint(self, data: bytes) -> None:
        """Keep what this epoch has come to, in place of the checkpoint before: a training that is
        broken off goes on after the last epoch that has one."""
        self._need_epoch("checkpoint")
        stopping = self._stopping
        if stopping is not None and stopping.rule.metric in self._metrics:
            stopping = stopping.after(self.epoch, self._metrics)
        elif stopping is not None:
            raise TrainingError(
                f"early-stop watches {stopping.rule.metric!r}: report it before ctx.checkpoint()"
            )
        state = None if stopping is None else stopping.as_json()
        found = Checkpoint(self.epoch, self._attempt, _bytes(data, "ctx.checkpoint"), state)
        write_checkpoint(self.folder, found, self._fingerprint)
        self._written = True

    def restore(self) -> bytes | None:
        """The last checkpoint of a training that was broken off, or None. Once it is asked for,
        :meth:`epochs` goes on after its epoch, so load it before."""
        if self._started:
            raise TrainingError("call ctx.restore() before the first epoch")
        found = read_checkpoint(self.folder, self._fingerprint)
        if isinstance(found, str):
            print(f"{found}; train from the start", file=sys.stderr, flush=True)
            return None
        if found is None:
            return None
        self.epoch, self._attempt = found.epoch, found.attempt
        if self.plan.early_stop is not None:
            self._stopping = read_stopping(self.plan.early_stop, found.stopping)
        return found.data

    def save(self, data: bytes, name: str = MODEL) -> Path:
        """Hand over the trained model, or a file of it: the deployed model finds it by ``name``
        (see :mod:`earg.artifact`). Saved again, it replaces the one before. A training function
        that returns bytes has them saved as ``model``."""
        if not _FILE_NAME.match(name):
            raise TrainingError(
                f"a file of the model cannot be called {name!r}: letters, digits and _ - ."
            )
        path = self.artifact / name
        new = self.artifact.parent / f"{name}.new"
        new.write_bytes(_bytes(data, "ctx.save"))
        new.replace(path)
        return path

    def finish(self, returned: object = None) -> None:
        """After the function: ends an epoch that a ``break`` has left open, if it reported
        anything, and saves what the function returned. Raises :class:`TrainingError` for what it
        must not return, and where no model was handed over."""
        if self._open and (self._metrics or self._written):
            self.end_epoch()
        if self._open:
            self._open = False
            self.epoch -= 1
        if not self._started:
            self._started = True
            self.link.started(self._attempt, self.epoch)
        if isinstance(returned, (bytes, bytearray, memoryview)):
            self.save(bytes(returned))
        elif returned is not None:
            kind = type(returned).__name__
            raise TrainingError(
                f"{self.plan.function} returned a {kind}: return the trained model as bytes, or "
                "nothing after ctx.save(bytes)"
            )
        if not any(path.is_file() for path in self.artifact.rglob("*")):
            raise TrainingError(
                f"{self.plan.function} handed no model over: call ctx.save(bytes), return bytes, "
                "or write files into ctx.artifact"
            )

    def _need_epoch(self, what: str) -> None:
        if not self._open:
            raise TrainingError(
                f"ctx.{what}() belongs to an epoch: call it in 'for epoch in ctx.epochs():'"
            )


def local_context(
    folder: Path,
    *,
    epochs: int = 1,
    batch: int | Sequence[tuple[int, int]] = 1,
    learning_rate: float | None = None,
    dataset: str | None = None,
    params: Mapping[str, str] | None = None,
    link: TrainingLink | None = None,
) -> TrainingContext:
    """A context for a plain process: to try a training function, or to test it. ``batch`` is a
    size or the steps of a schedule, (epoch, size)."""
    schedule = ((1, batch),) if isinstance(batch, int) else tuple(batch)
    plan = TrainingPlan(
        operator="local",
        function="local:train",
        folder=str(Path.cwd()),
        epochs=epochs,
        schedule=schedule,
        learning_rate=learning_rate,
        dataset=dataset,
        params=tuple((params or {}).items()),
    )
    return TrainingContext(plan, folder, link)


def _choose(array: Any, places: list[int]) -> Any:
    """The elements at ``places``: at once where the array can do that, which lists cannot."""
    if hasattr(array, "iloc"):
        return array.iloc[places]
    if hasattr(array, "shape"):
        return array[places]
    return [array[place] for place in places]


def _bytes(data: object, what: str) -> bytes:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    kind = type(data).__name__
    raise TrainingError(f"{what}() takes bytes, not a {kind}: serialize it, as with numpy.savez")


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _memory() -> int:
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0
