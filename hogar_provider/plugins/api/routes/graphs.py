"""Graphs: the list, one as it is, and one live."""

from __future__ import annotations

from typing import Annotated

from airflow.api_fastapi.app import get_auth_manager
from fastapi import APIRouter, Header, Query
from fastapi.responses import Response, StreamingResponse

from hogar_provider.plugins.api.access import SEES, SEES_DAG, User, may_read_all_dags
from hogar_provider.plugins.api.datamodels.graphs import GraphList, GraphView
from hogar_provider.plugins.api.declared import find_declared
from hogar_provider.plugins.api.errors import ApiError, error_reply
from hogar_provider.plugins.api.listing import current, list_graphs
from hogar_provider.plugins.api.runtime import runtime
from hogar_provider.plugins.api.streams import graph_events, streams

router = APIRouter(tags=["graphs"])


@router.get("/graphs", dependencies=SEES)
async def get_graphs(user: User) -> GraphList:
    """The deployed graphs whose DAG the user may read, and those of no DAG for who may read all."""

    listed = await runtime.call(current, key="graphs")

    def work() -> GraphList:
        readable = get_auth_manager().get_authorized_dag_ids(user=user, method="GET")
        return list_graphs(listed, readable, may_read_all_dags(user))

    return await runtime.call(work)


@router.get("/dags/{dag_id}/graph", dependencies=SEES_DAG, response_model=GraphView)
async def get_graph(
    dag_id: str,
    quiet: Annotated[
        bool, Query(description="Answer 200, not 404, with the error of a DAG that is no graph")
    ] = False,
) -> Response:
    """The graph as it is now, or as declared where it is not deployed."""
    try:
        frame = await runtime.frame(dag_id)
    except ApiError as error:
        # Airflow shows the tab on every DAG, and a browser logs each 404 as an error.
        if quiet and error.code == "not_a_hogar_graph":
            return error_reply(200, error.code, error.message)
        raise
    # The frame is JSON already, checked against the model when it was made.
    return Response(frame.data, media_type="application/json")


@router.get(
    "/dags/{dag_id}/stream",
    dependencies=SEES_DAG,
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "Server-sent events"}},
)
async def stream_graph(
    dag_id: str,
    user: User,
    after: Annotated[int | None, Query(ge=0, description="Events above this number")] = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    """Server-sent events: ``graph`` with a graph view about once a second, ``events`` with new
    ones, at first with those of the last minute. It ends within a minute; EventSource connects
    again and misses no event."""
    name = str(user.get_id())
    streams.admit(name)
    # What is no HOGAR graph is answered before the stream begins: EventSource would try for ever.
    await runtime.call(find_declared, dag_id)
    if last_event_id is not None and last_event_id.isdigit():
        after = int(last_event_id)
    return StreamingResponse(
        graph_events(runtime, dag_id, name, after),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
