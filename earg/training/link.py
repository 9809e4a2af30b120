"""What a training tells of its epochs, and who tells it their batch sizes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Protocol

from earg.training.batch import BatchChange, BatchDecision, decide, take_effect
from earg.training.plan import TrainingPlan
from earg.training.record import EpochRecord


class TrainingLink(Protocol):
    """The other side of a training: who keeps its figures, and lets people change its batches."""

    def started(self, attempt: str, resumed_after: int) -> None:
        """The training begins after epoch ``resumed_after``, 0 for the very start. An ``attempt``
        keeps its name when it is resumed."""

    def begin(self, epoch: int) -> BatchDecision:
        """The epoch begins; returns its batch size."""

    def ended(self, record: EpochRecord) -> None:
        """The epoch has ended; returns once its figures are kept."""


class LocalLink:
    """For a training in a plain process: ``records`` keeps its figures, ``changes`` are obeyed,
    and each epoch is a line on standard error (or for ``say``)."""

    def __init__(self, plan: TrainingPlan, say: Callable[[str], None] | None = None) -> None:
        self.records: list[EpochRecord] = []
        self.changes: list[BatchChange] = []
        self._plan = plan
        self._effective: dict[str, int] = {}
        self._say = say or (lambda line: print(line, file=sys.stderr, flush=True))

    def started(self, attempt: str, resumed_after: int) -> None:
        """As of :class:`TrainingLink`."""
        if resumed_after:
            self._say(f"go on after epoch {resumed_after}")

    def begin(self, epoch: int) -> BatchDecision:
        """As of :class:`TrainingLink`."""
        self._effective = take_effect(self.changes, epoch, self._effective)
        return decide(self._plan, epoch, self.changes, self._effective)

    def ended(self, record: EpochRecord) -> None:
        """As of :class:`TrainingLink`."""
        self.records.append(record)
        self._say(record.line(self._plan.epochs))
