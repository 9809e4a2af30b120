"""Requests on their way, and recorded ones."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from hogar_provider.plugins.api.access import SEES_DAG
from hogar_provider.plugins.api.agents import ask, engine_of
from hogar_provider.plugins.api.datamodels.requests import (
    HopView,
    PositionView,
    RequestList,
    RequestView,
    TraceList,
    TraceView,
)
from hogar_provider.plugins.api.declared import find_declared
from hogar_provider.plugins.api.runtime import runtime

router = APIRouter(tags=["requests"], dependencies=SEES_DAG)


@router.get("/dags/{dag_id}/requests")
async def get_requests(dag_id: str, most: Annotated[int, Query(ge=1, le=1000)] = 50) -> RequestList:
    """The requests that are in the graph, the oldest first, and where each is."""
    return await runtime.call(_requests, dag_id, most)


@router.get("/dags/{dag_id}/traces")
async def get_traces(dag_id: str, most: Annotated[int, Query(ge=1, le=200)] = 20) -> TraceList:
    """The newest requests whose way was recorded, with their time at each node."""
    return await runtime.call(_traces, dag_id, most)


def _requests(dag_id: str, most: int) -> RequestList:
    declared = find_declared(dag_id)
    home = engine_of(declared.conn_id).home
    graph = ask(home, lambda agent: agent.graph(declared.name))
    names = {node.index: node.name for node in graph.nodes}
    if not graph.url:
        return RequestList(total=0, requests=[])
    total, found = ask(home, lambda agent: agent.requests(declared.name, most))
    return RequestList(
        total=total,
        requests=[
            RequestView(
                id=one.id,
                ms=round(one.seconds * 1000, 3),
                attempt=one.attempt,
                positions=[
                    PositionView(
                        index=at.index,
                        node=names.get(at.index, f"node {at.index}"),
                        stage=at.stage,
                        ms=round(at.seconds * 1000, 3),
                    )
                    for at in one.positions
                ],
            )
            for one in found
        ],
    )


def _traces(dag_id: str, most: int) -> TraceList:
    declared = find_declared(dag_id)
    home = engine_of(declared.conn_id).home
    if not ask(home, lambda agent: agent.graph(declared.name)).url:
        return TraceList(traces=[])
    found = ask(home, lambda agent: agent.traces(declared.name, most))
    return TraceList(
        traces=[
            TraceView(
                request=one.request,
                trace_id=one.trace_id,
                at=one.start,
                duration_ms=round(one.duration * 1000, 3),
                error=one.error,
                hops=[
                    HopView(
                        index=hop.index,
                        node=hop.node,
                        start_ms=round((hop.start - one.start) * 1000, 3),
                        queue_ms=round(hop.queue * 1000, 3),
                        compute_ms=round(hop.compute * 1000, 3),
                        leave_ms=round(hop.leave * 1000, 3),
                        batch=hop.batch,
                        replica=hop.replica,
                    )
                    for hop in one.hops
                ],
            )
            for one in found
        ]
    )
