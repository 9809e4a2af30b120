"""The trainings of a graph as the API shows them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from earg.training.batch import BatchChange
from earg.training.plan import TrainingPlan
from earg.training.record import EpochRecord
from hogar_provider.plugins.api.datamodels.training import (
    EarlyStopView,
    EpochView,
    NextBatch,
    ResumptionView,
    ScheduleStep,
    TrainedOperatorView,
    TrainingBatchChange,
    TrainingBatchChangeView,
    TrainingRunView,
    TrainingView,
)
from hogar_provider.plugins.api.declared import find_declared
from hogar_provider.plugins.api.errors import ApiError
from hogar_provider.training.plans import train_task

if TYPE_CHECKING:
    from hogar_provider.training.runs import TrainingRun

POLL_TRAINING, POLL_IDLE = 1000, 10_000
"""Milliseconds after which to ask again: while something waits or trains, and else."""


def training_view(
    dag_id: str, operator: str | None, most: int, since: float | None
) -> TrainingView:
    """The trainings of one operator of the DAG's graph, or of all; blocks."""
    from airflow.utils.session import create_session

    from hogar_provider.training.runs import cursor, metric_names, training_runs

    plans = _plans(find_declared(dag_id).udgl)
    if operator is not None:
        plans = (_plan_of(dag_id, operator),)
    at = cursor()
    views, live = [], False
    with create_session() as session:
        for plan in plans:
            runs = training_runs(session, dag_id, plan, most, since)
            live = live or any(run.live or run.state == "training" for run in runs)
            views.append(_operator_view(plan, runs, metric_names(runs)))
    return TrainingView(
        cursor=f"{at:.6f}", poll_ms=POLL_TRAINING if live else POLL_IDLE, operators=views
    )


def change_training_batch(
    dag_id: str, operator: str, change: TrainingBatchChange, user: Any
) -> TrainingBatchChangeView:
    """Change the batch size of what waits or trains; raises :class:`ApiError`. Blocks."""
    from airflow.utils.session import create_session
    from sqlalchemy.exc import SQLAlchemyError

    from hogar_provider.training.change import BatchChangeError, BatchOrder, change_batch

    plan = _plan_of(dag_id, operator)
    order = BatchOrder(change.batch, change.from_epoch, change.only, change.run_id)
    try:
        with create_session() as session:
            made = change_batch(session, dag_id, plan, order, user.get_name())
    except BatchChangeError as error:
        raise ApiError(error.status, error.code, str(error)) from None
    except SQLAlchemyError as error:
        raise ApiError(
            503,
            "no_audit_log",
            "Nothing was changed: Airflow's database does not take the change and its record. "
            "Try again when the database can be written.",
        ) from error
    return change_view(made, None)


@lru_cache(maxsize=64)
def _plans(text: str) -> tuple[TrainingPlan, ...]:
    from hogar_provider.training.runs import trained_operators

    return trained_operators(text)


def _plan_of(dag_id: str, operator: str) -> TrainingPlan:
    plans = _plans(find_declared(dag_id).udgl)
    found = next((plan for plan in plans if plan.operator == operator), None)
    if found is None:
        trained = ", ".join(plan.operator for plan in plans) or "none"
        raise ApiError(
            404,
            "not_trained",
            f"The graph trains no operator called {operator}; it trains {trained}.",
        )
    return found


def _operator_view(
    plan: TrainingPlan, runs: list[TrainingRun], metrics: list[str]
) -> TrainedOperatorView:
    stop = plan.early_stop
    return TrainedOperatorView(
        operator=plan.operator,
        task_id=train_task(plan.operator),
        function=plan.function,
        epochs=plan.epochs,
        schedule=_schedule(plan),
        learning_rate=plan.learning_rate,
        early_stop=None
        if stop is None
        else EarlyStopView(
            metric=stop.metric, patience=stop.patience, less_is_better=stop.less_is_better
        ),
        dataset=plan.dataset,
        params=dict(plan.params),
        metrics=metrics,
        runs=[run_view(run) for run in runs],
    )


def run_view(run: TrainingRun) -> TrainingRunView:
    """A run as the API shows it."""
    summary = run.summary
    following = None
    if run.live:
        decision = run.decision(run.next_epoch)
        following = NextBatch(epoch=run.next_epoch, batch=decision.batch, set_by=decision.set_by)
    return TrainingRunView(
        run_id=run.run_id,
        run_at=run.run_at,
        state=run.state,
        task_state=run.task_state,
        try_number=run.try_number,
        attempt=summary.attempt or None,
        begun=summary.begun,
        ended=summary.ended,
        epoch=summary.epoch or None,
        epochs_planned=run.plan.epochs,
        last_epoch=run.last_epoch or None,
        schedule=_schedule(run.plan),
        learning_rate=run.plan.learning_rate,
        params=dict(run.plan.params),
        resumed=[ResumptionView.model_validate(one) for one in summary.resumed],
        ended_by=summary.ended_by,
        best_epoch=summary.best_epoch,
        message=summary.message,
        next_batch=following,
        changes=[change_view(one, summary.effective.get(one.id)) for one in run.changes],
        epochs=[_epoch_view(record, tried) for record, tried in run.records],
    )


def change_view(change: BatchChange, effective: int | None) -> TrainingBatchChangeView:
    """A change as the API shows it."""
    return TrainingBatchChangeView.model_validate(change.as_json() | {"effective_epoch": effective})


def _epoch_view(record: EpochRecord, tried: int) -> EpochView:
    speed = record.samples_per_second
    cores = record.cpu_seconds / record.duration if record.duration > 0 else None
    return EpochView(
        epoch=record.epoch,
        at=record.at,
        duration_s=record.duration,
        metrics=dict(record.metrics),
        samples=record.samples,
        samples_per_s=None if speed is None else round(speed, 3),
        batch=record.decision.batch,
        batch_set_by=record.decision.set_by,
        change=record.decision.change,
        cpu_s=record.cpu_seconds,
        cpu_cores=None if cores is None else round(cores, 3),
        memory_bytes=record.memory,
        checkpoint=record.checkpoint,
        try_number=tried,
    )


def _schedule(plan: TrainingPlan) -> list[ScheduleStep]:
    return [ScheduleStep(epoch=epoch, batch=batch) for epoch, batch in plan.schedule]
