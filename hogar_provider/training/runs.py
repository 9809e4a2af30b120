"""The trainings of an operator, as Airflow's database tells them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from earg.training.batch import BatchChange, BatchDecision, decide, read_changes, take_effect
from earg.training.errors import TrainingError
from earg.training.plan import TrainingPlan, read_plan
from earg.training.record import EpochRecord, read_record
from hogar_provider.training.plans import train_task
from hogar_provider.training.state import (
    CHANGES,
    EPOCH,
    FAILED,
    MOST_EPOCHS,
    NO_TASK_STATE,
    SUMMARY,
    TRAINED,
    TRAINING,
    UNCHANGED,
    Summary,
    has_task_state,
    read_summary,
)

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

WAITING = "waiting"
"""The state of a training that has not begun, or waits for its next try."""

OVERLAP = 5.0
"""Seconds that are told twice: the clocks of those who write the rows may differ."""

MOST_RUNS = 50
"""Runs that are told at once."""

_OVER = {"success": TRAINED, "failed": FAILED, "upstream_failed": FAILED, "removed": FAILED}


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """One run's training. ``plan`` is the one it follows, ``records`` are (record, try) pairs, the
    oldest first; ``last_epoch`` is the last one whose figures are kept. Times are in seconds since
    1970."""

    run_id: str
    run_at: float | None
    state: str
    task_state: str | None
    try_number: int
    plan: TrainingPlan
    summary: Summary
    last_epoch: int
    changes: tuple[BatchChange, ...]
    records: tuple[tuple[EpochRecord, int], ...]

    @property
    def live(self) -> bool:
        """Whether its batch size can be changed: it waits or trains, and has an epoch to come."""
        return self.state in (WAITING, TRAINING) and self.next_epoch <= self.plan.epochs

    @property
    def next_epoch(self) -> int:
        """The epoch that begins next."""
        begun = self.summary.epoch if self.state == TRAINING else self.last_epoch
        return begun + 1

    def decision(self, epoch: int) -> BatchDecision:
        """The batch size that ``epoch``, which is to come, has as things stand."""
        effective: Mapping[str, int] = self.summary.effective
        for one in range(self.next_epoch, epoch + 1):
            effective = take_effect(self.changes, one, effective)
        return decide(self.plan, epoch, self.changes, effective)


def trained_operators(text: str) -> tuple[TrainingPlan, ...]:
    """The plans of the operators that the graph of a UDGL ``text`` trains; none where it is no
    UDGL."""
    import udgl
    from hogar_provider.training.plans import training_plan

    try:
        graph = udgl.parse(text)
    except udgl.UdglError:
        return ()
    plans = (training_plan(operator) for operator in graph.operators)
    return tuple(plan for plan in plans if plan is not None)


def training_runs(
    session: Session,
    dag_id: str,
    plan: TrainingPlan,
    most: int = 10,
    since: float | None = None,
    run_id: str | None = None,
) -> list[TrainingRun]:
    """The newest runs of an operator's training, ``most`` at most, the newest first; those that
    were only played through are left out. ``plan`` is the declared one.

    With ``since`` only runs that have changed since that time, and of them only the records that
    have; with ``run_id`` only that run.
    """
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import and_, select

    task = train_task(plan.operator)
    query = (
        select(
            DagRun.run_id,
            DagRun.queued_at,
            DagRun.run_after,
            DagRun.state.label("run_state"),
            TaskInstance.state,
            TaskInstance.try_number,
            TaskInstance.updated_at,
        )
        .join(
            TaskInstance,
            and_(TaskInstance.dag_id == DagRun.dag_id, TaskInstance.run_id == DagRun.run_id),
        )
        .where(DagRun.dag_id == dag_id, TaskInstance.task_id == task)
        .order_by(DagRun.id.desc())
        # Some of them may be left out.
        .limit(most + MOST_RUNS)
    )
    if run_id is not None:
        query = query.where(DagRun.run_id == run_id)
    tasks = session.execute(query).all()
    names = [row.run_id for row in tasks]
    rows: dict[str, dict[str, Any]] = {name: {} for name in names}
    changed: dict[str, float] = {}
    for name, key, value, updated_at in _stored(session, dag_id, task, names, since):
        rows[name][key] = value
        changed[name] = max(changed.get(name, 0.0), updated_at.timestamp())
    found = []
    for row in tasks:
        made = _run(row, rows[row.run_id], plan)
        if made is None:
            continue
        updated = max(changed.get(row.run_id, 0.0), _seconds(row.updated_at) or 0.0)
        found.append((made, updated))
    newest = found[:most]
    if since is not None:
        newest = [(one, at) for one, at in newest if at > since or one.live]
    if since is not None:
        return [_with_last(session, dag_id, task, one) for one, _ in newest]
    return [one for one, _ in newest]


def _stored(
    session: Session, dag_id: str, task: str, run_ids: Sequence[str], since: float | None
) -> Sequence[Any]:
    """What these runs have in the task state: rows of run id, key, value and time."""
    if not has_task_state():
        return ()
    from airflow.models.task_state_store import TaskStateStoreModel as Row
    from sqlalchemy import or_, select

    wanted = select(Row.run_id, Row.key, Row.value, Row.updated_at).where(
        Row.dag_id == dag_id, Row.task_id == task, Row.run_id.in_(run_ids)
    )
    if since is not None:
        moment = datetime.fromtimestamp(since, UTC)
        wanted = wanted.where(or_(Row.key.in_((SUMMARY, CHANGES)), Row.updated_at > moment))
    return session.execute(wanted).all()


def cursor() -> float:
    """What to give as ``since`` the next time; taken before the look."""
    return time.time() - OVERLAP


def _run(row: Any, stored: Mapping[str, str], declared: TrainingPlan) -> TrainingRun | None:
    summary = read_summary(_value(stored.get(SUMMARY)))
    task_state = None if row.state is None else str(getattr(row.state, "value", row.state))
    run_state = str(getattr(row.run_state, "value", row.run_state))
    state = _state(task_state, run_state, summary)
    if summary is None and not has_task_state():
        summary = Summary(state, message=NO_TASK_STATE)
    if summary is None:
        if state not in (WAITING, TRAINING, FAILED) or (state == FAILED and task_state is None):
            return None
        summary = Summary(state)
    records = []
    for key in sorted(key for key in stored if key.startswith(EPOCH)):
        value = _value(stored[key])
        try:
            records.append((read_record(value), int(value.get("try_number", 1))))
        except (TrainingError, AttributeError, TypeError, ValueError):
            continue
    return TrainingRun(
        run_id=row.run_id,
        run_at=_seconds(row.queued_at or row.run_after),
        state=state,
        task_state=task_state,
        try_number=row.try_number or 0,
        plan=_plan(summary, declared),
        summary=summary,
        last_epoch=max([summary.last_epoch, *(one.epoch for one, _ in records)]),
        changes=read_changes(_value(stored.get(CHANGES))),
        records=tuple(records[-MOST_EPOCHS:]),
    )


def _with_last(session: Session, dag_id: str, task: str, run: TrainingRun) -> TrainingRun:
    """With its last epoch right although only the newest records were looked at: the summary tells
    of an epoch's figures only when the next one begins."""
    if not has_task_state():
        return run
    from airflow.models.task_state_store import TaskStateStoreModel as Row
    from sqlalchemy import func, select

    key = session.scalar(
        select(func.max(Row.key)).where(
            Row.dag_id == dag_id,
            Row.task_id == task,
            Row.run_id == run.run_id,
            Row.key.startswith(EPOCH),
        )
    )
    last = int(key.removeprefix(EPOCH)) if key else 0
    return replace(run, last_epoch=max(run.last_epoch, last))


def _state(task_state: str | None, run_state: str, summary: Summary | None) -> str:
    if task_state == "running":
        return TRAINING
    if task_state == "skipped":
        # One that had trained, and was cleared since, still has its figures.
        return TRAINED if summary is not None and summary.state == TRAINED else UNCHANGED
    if task_state in _OVER:
        return _OVER[task_state]
    return WAITING if run_state in ("running", "queued") else FAILED


def _plan(summary: Summary, declared: TrainingPlan) -> TrainingPlan:
    try:
        return read_plan(summary.plan)
    except TrainingError:
        return declared


def _value(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return None


def _seconds(moment: Any) -> float | None:
    return None if moment is None else float(moment.timestamp())


def metric_names(runs: Sequence[TrainingRun]) -> list[str]:
    """The names of all figures, in the order in which they first appear."""
    names: dict[str, None] = {}
    for run in runs:
        for record, _ in run.records:
            names.update(dict.fromkeys(record.metrics))
    return list(names)
