"""How nodes batch: changing it, and who has."""

from __future__ import annotations

from fastapi import APIRouter

from hogar_provider.plugins.api.access import CHANGES_DAG, SEES_DAG, User
from hogar_provider.plugins.api.audit import batch_changes
from hogar_provider.plugins.api.batch_change import change_batching
from hogar_provider.plugins.api.datamodels.batching import BatchChange, BatchChangeList
from hogar_provider.plugins.api.datamodels.nodes import BatchView
from hogar_provider.plugins.api.declared import find_declared
from hogar_provider.plugins.api.routes.nodes import Index
from hogar_provider.plugins.api.runtime import runtime

router = APIRouter(tags=["batching"])


@router.put("/dags/{dag_id}/nodes/{index}/batching", dependencies=CHANGES_DAG)
async def put_batching(dag_id: str, index: Index, change: BatchChange, user: User) -> BatchView:
    """Change how the node batches, from its next batch on. Airflow's audit log records it."""
    return await runtime.call(change_batching, dag_id, index, change, user, timeout=60.0)


@router.get("/dags/{dag_id}/batching/changes", dependencies=SEES_DAG)
async def get_batching_changes(dag_id: str) -> BatchChangeList:
    """Who changed how a node batches, from what and to what, and when; the newest first."""

    def work() -> BatchChangeList:
        find_declared(dag_id)
        return BatchChangeList(changes=batch_changes(dag_id))

    return await runtime.call(work)
