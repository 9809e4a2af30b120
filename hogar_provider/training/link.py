"""The task's side of a training: keeps its figures in Airflow's task state, and reads there what
people change."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from earg.training.batch import BatchDecision, decide, read_changes, take_effect
from earg.training.plan import TrainingPlan
from earg.training.record import EpochRecord
from hogar_provider.training.state import (
    CHANGES,
    FAILED,
    MOST_MESSAGE,
    SUMMARY,
    TRAINED,
    TRAINING,
    Summary,
    epoch_key,
    is_kept,
    read_summary,
)


class TaskState(Protocol):
    """Airflow's ``context["task_state_store"]``, with the retention bound; values are JSON."""

    def get(self, key: str) -> Any:
        """The value, or None."""

    def set(self, key: str, value: Any) -> None:
        """Keep it."""

    def delete(self, key: str) -> None:
        """Forget it."""


class Mirror(Protocol):
    """Somebody else who keeps the figures, too; raises nothing."""

    run: str

    def ended(self, record: EpochRecord) -> None:
        """An epoch has ended."""

    def close(self, state: str) -> None:
        """The training has ended."""


class TaskStateLink:
    """As of :class:`earg.training.link.TrainingLink`; ``say`` gets a line an epoch.

    ``mirror`` is made once the training is known, of the id of a mirrored run to go on with or ''.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        state: TaskState,
        try_number: int,
        say: Callable[[str], None],
        mirror: Callable[[str], Mirror | None] | None = None,
    ) -> None:
        self._plan = plan
        self._state = state
        self._try = try_number
        self._say = say
        self._make_mirror = mirror
        self._mirror: Mirror | None = None
        self._summary = Summary(TRAINING)

    def started(self, attempt: str, resumed_after: int) -> None:
        """Begin the summary anew or go on with it; what is above ``resumed_after`` is forgotten."""
        before = read_summary(self._state.get(SUMMARY))
        goes_on = before is not None and before.attempt == attempt
        if before is not None:
            planned = int(before.plan.get("epochs", self._plan.epochs))
            first = resumed_after + 1 if goes_on else 1
            # One may be kept beyond the last that the summary tells of.
            for epoch in range(first, before.last_epoch + 2):
                if is_kept(epoch, planned):
                    self._state.delete(epoch_key(epoch))
        plan = {k: v for k, v in self._plan.as_json().items() if k != "folder"}
        now = time.time()
        if before is not None and goes_on:
            resumption = {"epoch": resumed_after, "at": now, "try_number": self._try}
            self._summary = replace(
                before,
                state=TRAINING,
                ended=None,
                ended_by=None,
                message="",
                plan=plan,
                epoch=resumed_after,
                last_epoch=resumed_after,
                resumed=(*before.resumed, resumption),
                effective={i: e for i, e in before.effective.items() if e <= resumed_after},
            )
            self._say(f"Go on after epoch {resumed_after} of {self._plan.epochs}.")
        else:
            self._summary = Summary(TRAINING, attempt, plan, begun=now)
        if self._make_mirror is not None:
            self._mirror = self._make_mirror(self._summary.mlflow_run)
            if self._mirror is not None:
                self._summary = replace(self._summary, mlflow_run=self._mirror.run)
        self._keep()

    def begin(self, epoch: int) -> BatchDecision:
        """As of the protocol."""
        changes = read_changes(self._state.get(CHANGES))
        before = self._summary.effective
        effective = take_effect(changes, epoch, before)
        decision = decide(self._plan, epoch, changes, effective)
        if decision.change is not None and decision.change not in before:
            self._say(
                f"Batch size {decision.batch} from epoch {epoch} on: set by {decision.set_by}."
            )
        self._summary = replace(self._summary, epoch=epoch, effective=effective)
        self._keep()
        return decision

    def ended(self, record: EpochRecord) -> None:
        """As of the protocol."""
        if is_kept(record.epoch, self._plan.epochs):
            self._state.set(epoch_key(record.epoch), record.as_json() | {"try_number": self._try})
        # It is stored with the next epoch's begin, or the end: a write less an epoch.
        self._summary = replace(self._summary, last_epoch=record.epoch)
        self._say(record.line(self._plan.epochs))
        if self._mirror is not None:
            self._mirror.ended(record)

    def trained(self, early: bool, best_epoch: int | None) -> None:
        """The training has ended well."""
        self._end(
            TRAINED, ended_by="early-stop" if early else "epochs", best_epoch=best_epoch, message=""
        )

    def failed(self, sentence: str) -> None:
        """The training has failed."""
        self._end(FAILED, message=sentence[:MOST_MESSAGE])

    def _end(self, state: str, **fields: Any) -> None:
        self._summary = replace(self._summary, state=state, ended=time.time(), **fields)
        self._keep()
        if self._mirror is not None:
            self._mirror.close(state)

    def _keep(self) -> None:
        self._state.set(SUMMARY, self._summary.as_json())
