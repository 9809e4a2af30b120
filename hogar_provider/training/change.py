"""Changing the batch size of a training while it runs."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from earg.training.batch import LARGEST_BATCH, MOST_CHANGES, BatchChange
from earg.training.plan import TrainingPlan
from hogar_provider.training.plans import train_task
from hogar_provider.training.runs import MOST_RUNS, TrainingRun, training_runs
from hogar_provider.training.state import CHANGES, NO_TASK_STATE, has_task_state

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

EVENT = "hogar_training_batch"
"""The audit log's event."""


class BatchChangeError(RuntimeError):
    """A change that cannot be made. ``status`` is HTTP's, ``code`` a word for programs."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class BatchOrder:
    """What somebody wants: ``batch`` samples, or the schedule's again where it is None, from
    ``from_epoch`` on (None: the next one), in that one ``only`` or in all that follow. ``run_id``
    None is the newest run that waits or trains."""

    batch: int | None
    from_epoch: int | None = None
    only: bool = False
    run_id: str | None = None


def change_batch(
    session: Session, dag_id: str, plan: TrainingPlan, order: BatchOrder, who: str
) -> BatchChange:
    """Make the change and its record in the audit log, both or none, once ``session`` commits.
    ``plan`` is the declared one. Raises :class:`BatchChangeError`.

    The task reads it when its next epoch begins; it holds from then on at the earliest.
    """
    if not has_task_state():
        raise BatchChangeError(409, "no_task_state", NO_TASK_STATE)
    from airflow.models.log import Log
    from airflow.models.taskinstance import TaskInstance
    from airflow.state import get_state_backend
    from sqlalchemy import select

    try:
        from airflow._shared.state import TaskScope
    except ImportError:
        from airflow.sdk.state import TaskScope

    if order.batch is not None and not 1 <= order.batch <= LARGEST_BATCH:
        raise BatchChangeError(
            422, "invalid_request", f"A batch size is 1 to {LARGEST_BATCH}, not {order.batch}."
        )
    task = train_task(plan.operator)
    run = _live_run(session, dag_id, plan, order.run_id)
    # Two people at once: the second waits, and sees what the first has set.
    session.execute(
        select(TaskInstance.id)
        .where(
            TaskInstance.dag_id == dag_id,
            TaskInstance.run_id == run.run_id,
            TaskInstance.task_id == task,
        )
        .with_for_update()
    ).all()
    run = _live_run(session, dag_id, plan, run.run_id)
    epoch = run.next_epoch if order.from_epoch is None else order.from_epoch
    if epoch > run.plan.epochs:
        raise BatchChangeError(
            422, "invalid_request", f"The last epoch is {run.plan.epochs}, so there is no {epoch}."
        )
    if epoch < run.next_epoch:
        raise BatchChangeError(
            409,
            "epoch_has_begun",
            f"Epoch {epoch} has begun already; the next is {run.next_epoch}.",
        )
    if len(run.changes) >= MOST_CHANGES:
        raise BatchChangeError(
            409, "too_many_changes", f"A run takes {MOST_CHANGES} changes; it has had them."
        )
    change = BatchChange(
        id=uuid.uuid4().hex[:16],
        at=round(time.time(), 3),
        who=who[:256],
        before=run.decision(epoch).batch,
        batch=order.batch,
        from_epoch=epoch,
        only=order.only,
    )
    entries = [one.as_json() for one in (*run.changes, change)]
    get_state_backend().set(
        TaskScope(dag_id=dag_id, run_id=run.run_id, task_id=task),
        CHANGES,
        json.dumps(entries),
        session=session,
    )
    session.add(
        Log(
            event=EVENT,
            owner=who,
            owner_display_name=who,
            dag_id=dag_id,
            run_id=run.run_id,
            task_id=task,
            extra=json.dumps({"operator": plan.operator, **change.as_json()}),
        )
    )
    return change


def _live_run(session: Session, dag_id: str, plan: TrainingPlan, run_id: str | None) -> TrainingRun:
    runs = training_runs(session, dag_id, plan, MOST_RUNS, run_id=run_id)
    found = next((run for run in runs if run.live), None)
    if found is not None:
        return found
    if run_id is not None and not runs:
        raise BatchChangeError(404, "no_such_run", f"{plan.operator} has no training {run_id}.")
    which = f"Run {run_id}" if run_id is not None else f"No run of {plan.operator}"
    verb = "has no epoch to come" if run_id is not None else "trains, or waits to"
    raise BatchChangeError(
        409,
        "not_training",
        f"{which} {verb}: the batch size of its next training is the graph's own, see its file.",
    )
