"""Statistics as messages, and back."""

from __future__ import annotations

import math

from earg.protos import hogar_pb2
from earg.statistics import (
    EarlierCounts,
    GraphStatistics,
    Histogram,
    NodeReport,
    NodeStatistics,
    Sample,
)
from earg.status import NodeState
from earg.usage import ProcessUsage, UsageHistory, UsageSeries


def statistics_message(statistics: NodeStatistics) -> hogar_pb2.NodeStatistics:
    """The message of a node's statistics."""
    return hogar_pb2.NodeStatistics(
        proxy=statistics.proxy,
        uptime=statistics.uptime,
        queued=statistics.queued,
        running=statistics.running,
        leaving=statistics.leaving,
        requests=statistics.requests,
        errors=statistics.errors,
        requests_per_second=statistics.requests_per_second,
        errors_per_second=statistics.errors_per_second,
        queue=_histogram_message(statistics.queue),
        compute=_histogram_message(statistics.compute),
        total=_histogram_message(statistics.total),
        batches=_histogram_message(statistics.batches),
        batch_limit=statistics.batch_limit,
        limit_set_by=statistics.limit_set_by,
        history=[sample_message(sample) for sample in statistics.history],
        batch_most=statistics.batch_most,
        batch_dynamic=statistics.batch_dynamic,
        batch_wait=statistics.batch_wait,
        batch_objective=statistics.batch_objective,
        lag=statistics.lag,
        uncommitted=statistics.uncommitted,
    )


def sample_message(sample: Sample) -> hogar_pb2.Sample:
    """The message of one second."""
    return hogar_pb2.Sample(
        requests=sample.requests,
        errors=sample.errors,
        batches=sample.batches,
        queued=sample.queued,
        running=sample.running,
        p50=sample.p50,
        p95=sample.p95,
        p99=sample.p99,
        queue_p95=sample.queue_p95,
        compute_p95=sample.compute_p95,
        sizes=sample.sizes,
    )


def _histogram_message(histogram: Histogram) -> hogar_pb2.Histogram:
    return hogar_pb2.Histogram(
        bounds=histogram.bounds, counts=histogram.counts, total=histogram.total
    )


def read_statistics(message: hogar_pb2.NodeStatistics) -> NodeStatistics:
    """A node's statistics from their message."""
    return NodeStatistics(
        proxy=message.proxy,
        uptime=message.uptime,
        queued=message.queued,
        running=message.running,
        leaving=message.leaving,
        requests=message.requests,
        errors=message.errors,
        requests_per_second=message.requests_per_second,
        errors_per_second=message.errors_per_second,
        queue=_read_histogram(message.queue),
        compute=_read_histogram(message.compute),
        total=_read_histogram(message.total),
        batches=_read_histogram(message.batches),
        batch_limit=message.batch_limit,
        limit_set_by=message.limit_set_by,
        history=tuple(_read_sample(sample) for sample in message.history),
        batch_most=message.batch_most,
        batch_dynamic=message.batch_dynamic,
        batch_wait=message.batch_wait,
        batch_objective=message.batch_objective,
        lag=message.lag,
        uncommitted=message.uncommitted,
    )


def _read_sample(message: hogar_pb2.Sample) -> Sample:
    return Sample(
        requests=message.requests,
        errors=message.errors,
        batches=message.batches,
        queued=message.queued,
        running=message.running,
        p50=message.p50,
        p95=message.p95,
        p99=message.p99,
        queue_p95=message.queue_p95,
        compute_p95=message.compute_p95,
        sizes=tuple(message.sizes),
    )


def _read_histogram(message: hogar_pb2.Histogram) -> Histogram:
    return Histogram(tuple(message.bounds), tuple(message.counts), message.total)


def read_graph_statistics(message: hogar_pb2.GraphStatistics) -> GraphStatistics:
    """A graph's statistics from their message; raises ValueError for a state it does not know."""
    return GraphStatistics(
        message.name, message.version, tuple(_read_report(node) for node in message.nodes)
    )


def _read_report(message: hogar_pb2.NodeReport) -> NodeReport:
    known = message.HasField("statistics")
    return NodeReport(
        index=message.index,
        name=message.name,
        state=NodeState(message.state),
        exits=message.exits,
        statistics=read_statistics(message.statistics) if known else None,
        reason=message.reason,
        processes=tuple(
            ProcessUsage(
                pid=one.pid,
                kind=one.kind,
                role=one.role,
                cpu_seconds=one.cpu_seconds,
                age=one.age,
                memory=one.memory,
                container=one.container,
                cores=one.cores if one.HasField("cores") else None,
            )
            for one in message.processes
        ),
        earlier=tuple(_read_sample(sample) for sample in message.earlier),
        history_end=message.history_end,
        usage=_read_usage(message.usage),
        before=_read_before(message) if message.HasField("before") else None,
        cores=message.cores if message.HasField("cores") else None,
    )


def _read_before(message: hogar_pb2.NodeReport) -> EarlierCounts:
    now, before = message.statistics, message.before
    queue, compute, total, batches = (
        Histogram(tuple(after.bounds), tuple(then.counts), then.total)
        for after, then in (
            (now.queue, before.queue),
            (now.compute, before.compute),
            (now.total, before.total),
            (now.batches, before.batches),
        )
    )
    return EarlierCounts(before.proxy, before.uptime, queue, compute, total, batches)


def process_message(usage: ProcessUsage) -> hogar_pb2.ProcessUsage:
    """The message of what a process or a container uses."""
    return hogar_pb2.ProcessUsage(
        pid=usage.pid,
        kind=usage.kind,
        role=usage.role,
        cpu_seconds=usage.cpu_seconds,
        age=usage.age,
        memory=usage.memory,
        container=usage.container,
        cores=usage.cores,
    )


def usage_message(usage: UsageHistory) -> hogar_pb2.UsageHistory:
    """The message of what a node's processes used."""
    return hogar_pb2.UsageHistory(
        times=usage.times,
        series=[
            hogar_pb2.UsageSeries(
                kind=one.kind,
                role=one.role,
                cpu=[math.nan if value is None else value for value in one.cpu],
                memory=[math.nan if value is None else value for value in one.memory],
            )
            for one in usage.series
        ],
    )


def _read_usage(message: hogar_pb2.UsageHistory) -> UsageHistory:
    return UsageHistory(
        tuple(message.times),
        tuple(
            UsageSeries(
                one.kind,
                one.role,
                tuple(None if math.isnan(value) else value for value in one.cpu),
                tuple(None if math.isnan(value) else int(value) for value in one.memory),
            )
            for one in message.series
        ),
    )
