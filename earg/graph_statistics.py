"""What the agent tells of a graph's nodes: their proxies' statistics, and their processes."""

from __future__ import annotations

import asyncio
from typing import Protocol

import grpc
import grpc.aio

from earg.answered import answered
from earg.config import StaticConfig
from earg.deployed import DeployedNode, DeploymentError
from earg.pair import StartError
from earg.protos import hogar_pb2, hogar_pb2_grpc
from earg.sampling import NodeSamples, Sampling, processes_of
from earg.statistics import HISTORY_SECONDS
from earg.statistics_wire import process_message, usage_message
from earg.usage import ProcessUsage

STATISTICS_TIMEOUT = 1.0
"""Seconds for a proxy to tell its statistics."""


class Graph(Protocol):
    """What it needs of a graph."""

    name: str
    version: str

    @property
    def config(self) -> StaticConfig:
        """Its nodes."""

    def node(self, index: int) -> DeployedNode:
        """The node as deployed; raises :class:`DeploymentError`."""


async def graph_statistics(
    graph: Graph, history_seconds: int, sampling: Sampling, only: int = 0
) -> hogar_pb2.GraphStatistics:
    """All deployed nodes of ``graph``, by index; or the one whose index is ``only``."""
    nodes = []
    for index in [only] if only else range(1, len(graph.config.nodes) + 1):
        try:
            nodes.append(graph.node(index))
        except DeploymentError:
            continue
    seconds = min(history_seconds, HISTORY_SECONDS)
    reports = await asyncio.gather(
        *(_report(node, seconds, sampling.of(graph.name, node.index)) for node in nodes)
    )
    return hogar_pb2.GraphStatistics(name=graph.name, version=graph.version, nodes=reports)


async def _report(
    node: DeployedNode, history_seconds: int, samples: NodeSamples
) -> hogar_pb2.NodeReport:
    wanted = max(history_seconds, samples.history.wanted) if history_seconds else 0
    status, (statistics, reason), usages = await asyncio.gather(
        node.recent_status(),
        ask_primary(node, wanted),
        _used(node, samples),
    )
    report = hogar_pb2.NodeReport(
        index=node.index,
        name=node.spec.name,
        state=status.state.value,
        exits=node.exits,
        statistics=statistics,
        reason=reason,
        processes=map(process_message, usages),
        before=None if statistics is None else samples.counts.before(statistics),
        cores=samples.usage.cores(),
    )
    if history_seconds:
        if statistics is not None:
            samples.history.take(report.statistics)
        own = None if statistics is None else report.statistics
        earlier, report.history_end = samples.history.earlier(own, history_seconds)
        report.earlier.extend(earlier)
        report.usage.CopyFrom(usage_message(samples.usage.history(history_seconds)))
    return report


async def _used(node: DeployedNode, samples: NodeSamples) -> list[ProcessUsage]:
    containers = node.containers
    if containers is None:
        return await asyncio.to_thread(samples.usage.now, processes_of(node))
    # Of what is asked for now there may be no sample yet.
    samples.usage.take(containers)
    return [one.of(role.value) for role, one in containers]


async def ask_primary(
    node: DeployedNode, history_seconds: int
) -> tuple[hogar_pb2.NodeStatistics | None, str]:
    """What its proxy tells of itself, with so many samples; None where it does not, and why."""
    channel = node.pairs[0].proxy_channel
    if channel is None:
        return None, "its proxy does not run"
    stub = hogar_pb2_grpc.StatisticsStub(channel)
    request = hogar_pb2.StatsRequest(history_seconds=history_seconds)
    try:
        return await answered(stub.Stats(request, timeout=STATISTICS_TIMEOUT)), ""
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return None, "its proxy is an original, which keeps no statistics"
        return None, f"its proxy does not answer: {error.code().name}"
    except OSError as error:
        return None, f"its proxy does not answer: {error}"


async def set_batch_limit(node: DeployedNode, limit: hogar_pb2.BatchLimit) -> hogar_pb2.BatchLimit:
    """Set it on the node's primary; what was set before. Raises :class:`DeploymentError`."""
    try:
        return await node.set_batch_limit(limit)
    except StartError as error:
        raise DeploymentError(str(error)) from None
