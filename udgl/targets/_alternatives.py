"""The ways that the splits of a graph leave a request: a graph without a split for each."""

from __future__ import annotations

import math
from dataclasses import dataclass

from udgl.graph import Flow, FlowKind, ServingGraph

MOST = 64
"""Alternatives that a graph may have: splits behind each other multiply them."""


class TooManyWaysError(Exception):
    """The splits of a graph leave more than :data:`MOST`; ``flow`` is one of them."""

    def __init__(self, flow: Flow) -> None:
        super().__init__(f"more than {MOST} alternatives")
        self.flow = flow


@dataclass(frozen=True, slots=True)
class Alternative:
    """One way. ``chosen`` has the target that each split (named by its source) chose, in the order
    in which a request comes to them; ``reached`` the operators that a request reaches, in the
    file's order; ``weight`` is its share, as a whole number without unit."""

    chosen: tuple[tuple[str, str], ...]
    reached: tuple[str, ...]
    weight: int


def alternatives(graph: ServingGraph) -> tuple[Alternative, ...]:
    """All of them, one where there is no split. A split chooses by weight alone, so that it makes
    no difference whether it chooses when a request comes to it or before. Raises
    :class:`TooManyWaysError`."""
    splits = [flow for flow in graph.flows if flow.kind is FlowKind.SPLIT]
    found: list[Alternative] = []
    waiting: list[tuple[dict[str, str], int]] = [({}, 1)]
    while waiting:
        chosen, weight = waiting.pop()
        reached = _reached(graph, chosen)
        undecided = (f for f in splits if f.sources[0] in reached and f.sources[0] not in chosen)
        open_ = next(undecided, None)
        if open_ is None:
            order = tuple(o.name for o in graph.operators if o.name in reached)
            found.append(Alternative(tuple(chosen.items()), order, weight))
        else:
            if len(found) + len(waiting) + len(open_.targets) > MOST:
                raise TooManyWaysError(open_)
            for target, share in reversed(list(zip(open_.targets, open_.weights, strict=True))):
                waiting.append(({**chosen, open_.sources[0]: target}, weight * share))
    # Those that have met fewer splits have been multiplied less often.
    deepest = max(len(one.chosen) for one in found)
    weights = [one.weight * 100 ** (deepest - len(one.chosen)) for one in found]
    # The percents of the file stay as they are where there is one split.
    divisor = math.gcd(*weights) if deepest > 1 else 1
    return tuple(
        Alternative(one.chosen, one.reached, weight // divisor)
        for one, weight in zip(found, weights, strict=True)
    )


def sources(graph: ServingGraph, one: Alternative) -> dict[str, tuple[list[str], list[str]]]:
    """For each operator that is reached, those that send it requests one by one, and those that a
    join waits for."""
    reached, chosen = set(one.reached), set(one.chosen)
    found: dict[str, tuple[list[str], list[str]]] = {name: ([], []) for name in one.reached}
    for flow in graph.flows:
        for target in dict.fromkeys(flow.targets):
            if target not in reached:
                continue
            if flow.kind is FlowKind.REDUCE:
                found[target][1].extend(flow.sources)
            elif flow.sources[0] in reached and (
                flow.kind is not FlowKind.SPLIT or (flow.sources[0], target) in chosen
            ):
                found[target][0].append(flow.sources[0])
    return found


def _reached(graph: ServingGraph, chosen: dict[str, str]) -> set[str]:
    """What a request reaches before a split that has not chosen."""
    reached: set[str] = set()
    waiting = [graph.entry().name]
    sending: dict[str, list[Flow]] = {}
    for flow in graph.flows:
        for source in flow.sources:
            sending.setdefault(source, []).append(flow)
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        for flow in sending.get(name, ()):
            if flow.kind is not FlowKind.SPLIT:
                waiting.extend(flow.targets)
            elif name in chosen:
                waiting.append(chosen[name])
    return reached
