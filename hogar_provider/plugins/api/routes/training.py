"""Trainings: their epochs, live and kept, and the batch size of those to come."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from hogar_provider.plugins.api.access import CHANGES_DAG, SEES_DAG, User
from hogar_provider.plugins.api.datamodels.training import (
    TrainingBatchChange,
    TrainingBatchChangeView,
    TrainingView,
)
from hogar_provider.plugins.api.runtime import runtime
from hogar_provider.plugins.api.training_view import change_training_batch, training_view

router = APIRouter(tags=["training"])

Runs = Annotated[int, Query(ge=1, le=50)]
Since = Annotated[float | None, Query(ge=0, lt=2**33, allow_inf_nan=False)]


@router.get("/dags/{dag_id}/training", dependencies=SEES_DAG)
async def get_trainings(dag_id: str, runs: Runs = 10, since: Since = None) -> TrainingView:
    """All operators that the graph trains, with their newest runs. ``since`` is the ``cursor`` of
    an earlier reply: then only what has changed, to be merged by run and epoch."""
    return await runtime.call(training_view, dag_id, None, runs, since)


@router.get("/dags/{dag_id}/training/{operator}", dependencies=SEES_DAG)
async def get_training(
    dag_id: str, operator: str, runs: Runs = 10, since: Since = None
) -> TrainingView:
    """The same of one operator."""
    return await runtime.call(training_view, dag_id, operator, runs, since)


@router.put("/dags/{dag_id}/training/{operator}/batch", dependencies=CHANGES_DAG)
async def put_training_batch(
    dag_id: str, operator: str, change: TrainingBatchChange, user: User
) -> TrainingBatchChangeView:
    """Change the batch size of the next epoch, and of those after it, of a training that waits or
    runs. Airflow's audit log records it."""
    return await runtime.call(change_training_batch, dag_id, operator, change, user)
