"""Using and stopping a graph: a test request, draining, taking it down."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from hogar_provider.plugins.api.access import CHANGES_DAG, User
from hogar_provider.plugins.api.agents import ask, engine_of
from hogar_provider.plugins.api.audit import record
from hogar_provider.plugins.api.datamodels.sending import TestReply, TestRequest
from hogar_provider.plugins.api.datamodels.stopping import Down, DrainOrder, DrainResult
from hogar_provider.plugins.api.declared import find_declared
from hogar_provider.plugins.api.runtime import runtime
from hogar_provider.plugins.api.sending import SEND_TIMEOUT, send

router = APIRouter(tags=["operation"], dependencies=CHANGES_DAG)

STOP_TIMEOUT = 75.0
"""Seconds for stopping processes, beyond the time to drain."""


@router.post("/dags/{dag_id}/send")
async def post_send(dag_id: str, asked: TestRequest, user: User) -> TestReply:
    """Send one request to the graph's own frontend; the frontend's errors are replies, too."""

    def work() -> TestReply:
        reply = send(dag_id, asked)
        record("hogar_send", dag_id, user, status=reply.status, traceparent=reply.traceparent)
        return reply

    return await runtime.call(work, timeout=SEND_TIMEOUT + 20)


@router.post("/dags/{dag_id}/drain")
async def post_drain(dag_id: str, order: DrainOrder, user: User) -> DrainResult:
    """Take no new requests, wait until those in the graph are answered, and stop it."""

    def work() -> DrainResult:
        return _drain(dag_id, order, user)

    return await runtime.call(work, timeout=order.timeout_s + STOP_TIMEOUT)


@router.post("/dags/{dag_id}/down")
async def post_down(dag_id: str, user: User) -> Down:
    """Stop the graph at once; requests in it fail."""

    def work() -> Down:
        declared = find_declared(dag_id)
        home = engine_of(declared.conn_id).home
        record("hogar_down", dag_id, user, graph=declared.name)
        ask(home, lambda agent: agent.down(declared.name))
        return Down()

    return await runtime.call(work, timeout=STOP_TIMEOUT)


def _drain(dag_id: str, order: DrainOrder, user: Any) -> DrainResult:
    from earg.client import AgentClient, UndrainedError

    declared = find_declared(dag_id)
    home = engine_of(declared.conn_id).home
    # Before it begins: whoever looks why a graph takes no requests finds it there.
    record("hogar_drain", dag_id, user, graph=declared.name, **order.model_dump())

    def question(agent: AgentClient) -> DrainResult:
        try:
            left = agent.drain(declared.name, order.timeout_s, order.force)
        except UndrainedError as error:
            return DrainResult(stopped=False, left=error.left)
        return DrainResult(stopped=True, left=left)

    return ask(home, question)
