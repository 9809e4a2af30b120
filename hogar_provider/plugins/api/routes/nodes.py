"""A node's last minutes and its log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Query

from hogar_provider.plugins.api.access import SEES_DAG
from hogar_provider.plugins.api.agents import ask, engine_of
from hogar_provider.plugins.api.datamodels.history import (
    HistoryView,
    LatencyHistogram,
    SampleView,
    SizeHistogram,
    UsageSeriesView,
    UsageView,
)
from hogar_provider.plugins.api.datamodels.logs import LogView
from hogar_provider.plugins.api.declared import find_declared
from hogar_provider.plugins.api.errors import ApiError
from hogar_provider.plugins.api.runtime import runtime
from hogar_provider.plugins.api.window import report_of

if TYPE_CHECKING:
    from earg.client import AgentClient
    from earg.statistics import Histogram, Sample

router = APIRouter(tags=["nodes"], dependencies=SEES_DAG)

Index = Annotated[int, Path(ge=1, le=1_000_000, description="The node's place in the config")]


@router.get("/dags/{dag_id}/nodes/{index}/history")
async def get_history(
    dag_id: str, index: Index, seconds: Annotated[int, Query(ge=1, le=900)] = 900
) -> HistoryView:
    """One sample a second of the last ``seconds``, what its proxy has counted so far, and what its
    processes used."""
    return await runtime.call(_history, dag_id, index, seconds)


@router.get("/dags/{dag_id}/nodes/{index}/logs")
async def get_logs(
    dag_id: str,
    index: Annotated[int, Path(ge=0, le=1_000_000, description="0 is the frontend")],
    lines: Annotated[int, Query(ge=1, le=1000)] = 200,
    proxy: bool = False,
    backup: bool = False,
) -> LogView:
    """The last lines of the log of the node's model, or of its proxy, or of its backup's."""
    return await runtime.call(_logs, dag_id, index, lines, proxy, backup)


def _history(dag_id: str, index: int, seconds: int) -> HistoryView:
    declared = find_declared(dag_id)
    home = engine_of(declared.conn_id).home
    now = time.time()
    found = ask(home, lambda agent: agent.statistics(declared.name, seconds, index))
    report = report_of(found.nodes, index)
    if report is None:
        raise ApiError(404, "no_such_node", f"The deployed graph has no node {index}.")
    said = report.statistics
    if said is None and not report.history:
        raise ApiError(
            409, "node_does_not_answer", f"{report.name} tells nothing now: {report.reason}."
        )
    return HistoryView(
        # One that has been up for less than a second has no sample yet.
        end=report.history_end or now,
        samples=[_sample(one) for one in report.history],
        queue=None if said is None else _latencies(said.queue),
        compute=None if said is None else _latencies(said.compute),
        total=None if said is None else _latencies(said.total),
        batches=None
        if said is None
        else SizeHistogram(bounds=list(said.batches.bounds), counts=list(said.batches.counts)),
        usage=UsageView(
            times=[round(at, 2) for at in report.usage.times],
            series=[
                UsageSeriesView(
                    kind=one.kind, role=one.role, cpu=list(one.cpu), memory=list(one.memory)
                )
                for one in report.usage.series
            ],
        ),
    )


def _sample(one: Sample) -> SampleView:
    return SampleView(
        requests=one.requests,
        errors=one.errors,
        batches=one.batches,
        queued=one.queued,
        running=one.running,
        p50_ms=round(one.p50 * 1000, 3),
        p95_ms=round(one.p95 * 1000, 3),
        p99_ms=round(one.p99 * 1000, 3),
        queue_p95_ms=round(one.queue_p95 * 1000, 3),
        compute_p95_ms=round(one.compute_p95 * 1000, 3),
        sizes=list(one.sizes),
    )


def _latencies(histogram: Histogram) -> LatencyHistogram:
    return LatencyHistogram(
        bounds_ms=[round(bound * 1000, 4) for bound in histogram.bounds],
        counts=list(histogram.counts),
    )


def _logs(dag_id: str, index: int, lines: int, proxy: bool, backup: bool) -> LogView:
    declared = find_declared(dag_id)
    home = engine_of(declared.conn_id).home

    def question(agent: AgentClient) -> tuple[str, str]:
        text = agent.node_log(declared.name, index, lines, proxy=proxy, backup=backup)
        role = "backup" if backup else "primary"
        paths = [
            pair.proxy_log if proxy else pair.model_log
            for node in agent.graph(declared.name).nodes
            if node.index == index
            for pair in node.pairs
            if pair.role.value == role
        ]
        return text, paths[0] if paths else ""

    text, path = ask(home, question)
    return LogView(lines=text.splitlines(), path=path)
