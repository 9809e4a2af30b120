"""The edges of a graph, and how many requests a second flow along each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hogar_provider.plugins.api.datamodels.graphs import FlowView

if TYPE_CHECKING:
    from earg.config import StaticConfig
    from earg.extras import Extras


def flows_of(
    config: StaticConfig, extras: Extras | None, rates: Mapping[int, float | None]
) -> list[FlowView]:
    """Every edge of ``config``; ``rates`` are the nodes' requests a second by index.

    A distribute or reduce edge carries all that its source hands on. Of a split it carries its
    share, of a switch what its target takes; where a target has several inputs, nobody counts how
    much came along each, and the rate is None.
    """
    from earg.choosing import Split

    inputs: dict[int, int] = {}
    for edge in config.dist:
        for target in edge.targets:
            inputs[target] = inputs.get(target, 0) + 1
    flows = []
    for edge in config.dist:
        (source,) = edge.sources
        choice = None if extras is None else extras.choice_of(source)
        rate = rates.get(source)
        for target in edge.targets:
            if choice is None:
                flows.append(_flow(source, target, "distribute", "", rate))
            elif isinstance(choice, Split):
                percent = sum(one.percent for one in choice.shares if one.target == target)
                part = None if rate is None else rate * percent / 100
                flows.append(_flow(source, target, "split", f"{percent} %", part))
            else:
                cases = [
                    "otherwise" if case.condition is None else str(case.condition)
                    for case in choice.cases
                    if case.target == target
                ]
                part = rates.get(target) if inputs[target] == 1 else None
                flows.append(_flow(source, target, "switch", ", ".join(cases), part))
    flows += [
        _flow(source, target, "reduce", "", rates.get(source))
        for edge in config.reduce
        for source in edge.sources
        for target in edge.targets
    ]
    return flows


def _flow(source: int, target: int, kind: str, label: str, rate: float | None) -> FlowView:
    return FlowView(source=source, target=target, kind=kind, label=label, requests_per_second=rate)


def slowest_path(flows: list[FlowView], latencies: Mapping[int, float | None]) -> float | None:
    """The largest sum of the nodes' latencies along any path, in their unit: an upper estimate of
    the graph's own. None where no node has any. The flows must be free of cycles."""
    known = {index: value for index, value in latencies.items() if value is not None}
    if not known:
        return None
    into: dict[int, list[int]] = {}
    out: dict[int, list[int]] = {}
    for flow in flows:
        into.setdefault(flow.target, []).append(flow.source)
        out.setdefault(flow.source, []).append(flow.target)
    waits = {index: len(into.get(index, ())) for index in latencies}
    ready = [index for index, count in waits.items() if count == 0]
    sums: dict[int, float] = {}
    while ready:
        index = ready.pop()
        before = max((sums[source] for source in into.get(index, ())), default=0.0)
        sums[index] = before + known.get(index, 0.0)
        for target in out.get(index, ()):
            waits[target] -= 1
            if waits[target] == 0:
                ready.append(target)
    return round(max(sums.values(), default=0.0), 3)
