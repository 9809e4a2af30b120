"""What happened to a graph."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from hogar_provider.plugins.api.access import SEES_DAG
from hogar_provider.plugins.api.agents import ask, engine_of
from hogar_provider.plugins.api.datamodels.events import EventList
from hogar_provider.plugins.api.declared import find_declared
from hogar_provider.plugins.api.graph_view import event_view
from hogar_provider.plugins.api.runtime import runtime

router = APIRouter(tags=["events"], dependencies=SEES_DAG)


@router.get("/dags/{dag_id}/events")
async def get_events(
    dag_id: str,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> EventList:
    """The newest events above number ``after``, ``limit`` at most, the oldest first."""
    return await runtime.call(_events, dag_id, after, limit)


def _events(dag_id: str, after: int, limit: int) -> EventList:
    declared = find_declared(dag_id)
    home = engine_of(declared.conn_id).home
    events = ask(home, lambda agent: agent.events(declared.name, after))
    return EventList(events=[event_view(one) for one in events[-limit:]])
