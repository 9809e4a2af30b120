"""What a drawing shows of a graph, whatever its form: words of its operators, and its edges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from unicodedata import combining, east_asian_width

from udgl.graph import FlowKind, Operator, ServingGraph

STATEFUL_MARK = "◆"


@dataclass(frozen=True, slots=True)
class DrawnEdge:
    """One edge between operators.

    ``label`` is the condition or the weight by which it is taken, and of a join the place, from 1,
    that the source's reply has among those that the target gets; empty where there is none.
    """

    source: str
    target: str
    kind: FlowKind
    label: str = ""


def drawn_edges(graph: ServingGraph) -> tuple[DrawnEdge, ...]:
    """All edges, in the file's order. Cases of a switch that lead to one target are one."""
    return tuple(edge for flow in _flows(graph) for edge in flow)


def _flows(graph: ServingGraph) -> Iterator[Iterator[DrawnEdge]]:
    for flow in graph.flows:
        if flow.kind is FlowKind.REDUCE:
            yield (
                DrawnEdge(source, target, flow.kind, str(place))
                for target in flow.targets
                for place, source in enumerate(flow.sources, start=1)
            )
            continue
        labels: dict[str, list[str]] = {}
        for number, target in enumerate(flow.targets):
            label = ""
            if flow.kind is FlowKind.SWITCH:
                label = flow.conditions[number] or "otherwise"
            elif flow.kind is FlowKind.SPLIT:
                label = f"{flow.weights[number]}%"
            labels.setdefault(target, []).append(label)
        for source in flow.sources:
            yield (
                DrawnEdge(source, target, flow.kind, " or ".join(filter(None, several)))
                for target, several in labels.items()
            )


def batch_words(operator: Operator) -> str:
    """The batch limit: ``batch 32``, ``batch dynamic 64``."""
    return f"batch dynamic {operator.batch}" if operator.dynamic else f"batch {operator.batch}"


def operator_words(operator: Operator) -> str:
    """Version, batch limit and state in one line: ``version 2 · batch 32 · ◆ stateful``."""
    words = [f"version {operator.version}", batch_words(operator)]
    if operator.replicas > 1:
        words.append(f"replicas {operator.replicas}")
    if operator.stateful:
        words.append(f"{STATEFUL_MARK} stateful")
    return " · ".join(words)


def runs_from(operator: Operator) -> str:
    """The image, the entrypoint, or both."""
    return ", ".join(filter(None, (operator.image, operator.entrypoint)))


def title(graph: ServingGraph) -> str:
    """Name and version of the graph in a line."""
    return f"{graph.name}, version {graph.version}"


def columns(text: str) -> int:
    """How many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, most: int, sign: str = "…") -> str:
    """``text`` in at most ``most`` characters, ``sign`` at the end of what is cut."""
    return text if len(text) <= most else text[: most - len(sign)] + sign
