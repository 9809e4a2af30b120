"""Statistics for people (a table) and for programs (JSON)."""

from __future__ import annotations

import dataclasses
from typing import Any

from earg.statistics import GraphStatistics, Histogram, NodeReport, NodeStatistics
from earg.usage import cores_used

HEADER = (
    "NODE",
    "STATE",
    "REQUESTS",
    "REQ/S",
    "ERRORS",
    "ERR/S",
    "QUEUED",
    "RUNNING",
    "LEAVING",
    "P50",
    "P95",
    "P99",
    "QUEUE P95",
    "COMPUTE P95",
    "BATCH",
    "LIMIT",
    "EXITS",
    "CPU",
    "MEMORY",
    "",
)


def table(now: GraphStatistics, before: GraphStatistics | None = None) -> list[tuple[str, ...]]:
    """A header and a row for each node.

    Latencies, the mean batch size and the CPU share are over the time since ``before``, or since
    the processes started where it is None; rates are over the last seconds in any case. CPU and
    memory are of all processes of the node, 100 % is one core.
    """
    earlier = {node.name: node for node in before.nodes} if before is not None else {}
    return [HEADER, *(_row(node, earlier.get(node.name)) for node in now.nodes)]


def _row(node: NodeReport, before: NodeReport | None) -> tuple[str, ...]:
    cores = cores_used(node.processes, before.processes if before else ())
    memory = sum(one.memory for one in node.processes)
    usage = (
        str(node.exits),
        "-" if cores is None else f"{cores:.0%}",
        f"{memory / 2**20:.0f} MiB" if node.processes else "-",
    )
    counted = node.statistics
    if counted is None:
        return (node.name, node.state.value, *["-"] * 14, *usage, node.reason)
    earlier = before.statistics if before is not None else None
    queue, compute, total, batches = _histograms(counted, earlier)
    return (
        node.name,
        node.state.value,
        str(counted.requests),
        f"{counted.requests_per_second:.1f}",
        str(counted.errors),
        f"{counted.errors_per_second:.1f}",
        str(counted.queued),
        str(counted.running),
        str(counted.leaving),
        *(duration(total.percentile(share)) for share in (0.5, 0.95, 0.99)),
        duration(queue.percentile(0.95)),
        duration(compute.percentile(0.95)),
        f"{batches.mean:.1f}",
        f"{_limit(counted)} ({counted.limit_set_by})",
        *usage,
        "",
    )


def _limit(counted: NodeStatistics) -> str:
    """The limit in force; of a dynamic one the most, too, and how long batches wait."""
    most = f"/{counted.batch_most}" if counted.batch_dynamic else ""
    wait = f" wait {duration(counted.batch_wait)}" if counted.batch_wait else ""
    return f"{counted.batch_limit}{most}{wait}"


def _histograms(now: NodeStatistics, before: NodeStatistics | None) -> list[Histogram]:
    histograms = [now.queue, now.compute, now.total, now.batches]
    # A proxy that is younger than the look before has nothing to do with what was seen then.
    if before is None or before.proxy != now.proxy or before.uptime > now.uptime:
        return histograms
    earlier = [before.queue, before.compute, before.total, before.batches]
    return [new.since(old) for new, old in zip(histograms, earlier, strict=True)]


def duration(seconds: float) -> str:
    """Seconds as people read them; '-' for none."""
    if seconds <= 0:
        return "-"
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.3g} s"


def as_json(graph: GraphStatistics) -> dict[str, Any]:
    """Everything, and of each histogram its count, mean and percentiles besides."""
    plain = dataclasses.asdict(graph)
    for node, report in zip(plain["nodes"], graph.nodes, strict=True):
        node["state"] = report.state.value
        counted = report.statistics
        if counted is None:
            continue
        for name in ("queue", "compute", "total", "batches"):
            histogram: Histogram = getattr(counted, name)
            node["statistics"][name] |= {
                "count": histogram.count,
                "mean": histogram.mean,
                "p50": histogram.percentile(0.5),
                "p95": histogram.percentile(0.95),
                "p99": histogram.percentile(0.99),
            }
    return plain
