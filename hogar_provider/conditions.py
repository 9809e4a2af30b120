"""What the sensors wait for, as functions of what the agent tells of a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from earg.statistics import GraphStatistics, NodeReport, Sample
    from earg.status import GraphStatus


def unhealthy(graph: GraphStatus) -> list[str]:
    """Why a graph is not healthy, a sentence a node; empty where every node is ready (or busy) and
    the frontend runs. A node that is degraded serves, but it is not healthy."""
    from earg.status import NodeState

    found = [
        f"{node.name} is {node.state.value}" + (f": {node.reason}" if node.reason else "")
        for node in graph.nodes
        if node.state not in (NodeState.READY, NodeState.BUSY)
    ]
    missing = graph.operators - len(graph.nodes)
    if missing > 0:
        found.append(f"{missing} of {graph.operators} nodes are not deployed")
    if not graph.url:
        found.append("its frontend does not run: it is not wired, or it is being restarted")
    return found


def _greatest(value: Callable[[Sample], float]) -> Callable[[Sequence[Sample]], float | None]:
    return lambda samples: max(map(value, samples), default=None)


def _mean(value: Callable[[Sample], float]) -> Callable[[Sequence[Sample]], float | None]:
    return lambda samples: sum(map(value, samples)) / len(samples) if samples else None


def _worst(value: Callable[[Sample], float]) -> Callable[[Sequence[Sample]], float | None]:
    """Of seconds in which requests ended: the others have no latency."""
    return lambda samples: max((value(s) for s in samples if s.requests), default=None)


METRICS: dict[str, Callable[[Sequence[Sample]], float | None]] = {
    "p50": _worst(lambda second: second.p50),
    "p95": _worst(lambda second: second.p95),
    "p99": _worst(lambda second: second.p99),
    "requests_per_second": _mean(lambda second: second.requests),
    "errors_per_second": _mean(lambda second: second.errors),
    "queued": _greatest(lambda second: second.queued),
    "running": _greatest(lambda second: second.running),
}
"""Metric to its value over some seconds. ``p50``, ``p95`` and ``p99`` are the total latency at the
node in seconds, that of the worst second in which a request ended; the rates are means;
``queued`` and ``running`` are the most requests at the end of a second."""


def measure(report: NodeReport, metric: str, seconds: int) -> tuple[float | None, str]:
    """The metric's value over the last ``seconds`` complete seconds, and a sentence about it; None
    where there is no value yet."""
    if report.statistics is None:
        return None, f"{report.name} does not answer: {report.reason}"
    history = report.statistics.history[-seconds:]
    if len(history) < seconds:
        return None, f"{report.name} has counted for {len(history)} of {seconds} s"
    value = METRICS[metric](history)
    if value is None:
        return None, f"{report.name} has answered no request in the last {seconds} s"
    return value, f"{metric} of {report.name} over the last {seconds} s is {value:.6g}"


def report_of(statistics: GraphStatistics, node: str) -> NodeReport | None:
    """The report of the node of that name."""
    return next((report for report in statistics.nodes if report.name == node), None)


def holds(value: float | None, below: float | None, above: float | None) -> bool:
    """Whether there is a value within the bounds."""
    if value is None:
        return False
    return (below is None or value < below) and (above is None or value > above)
