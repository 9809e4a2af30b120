"""Graphs in Mermaid (https://mermaid.js.org/syntax/flowchart.html), which Markdown pages show."""

from __future__ import annotations

from collections.abc import Iterator

from udgl.drawing.content import drawn_edges, operator_words, title
from udgl.graph import FlowKind, ServingGraph

_ARROWS = {FlowKind.DISTRIBUTE: "-->", FlowKind.SWITCH: "-.->", FlowKind.SPLIT: "==>"}

_PLAIN = frozenset(" ._-/:,=+%@·◆…")


def draw_mermaid(graph: ServingGraph) -> str:
    """The graph as a Mermaid flowchart from left to right: a box an operator, a round one where it
    is stateful, a circle where a join waits for all its sources (numbered in the order in which
    their replies are handed on), dotted edges of switches with their conditions, thick ones of
    splits with their weights."""
    return "\n".join(_lines(graph)) + "\n"


def _lines(graph: ServingGraph) -> Iterator[str]:
    yield "---"
    yield f'title: "{_titled(title(graph))}"'
    yield "---"
    yield "flowchart LR"
    # Names may be words of Mermaid itself ('end', 'graph'), so numbers stand for them.
    number = {operator.name: f"n{i}" for i, operator in enumerate(graph.operators, start=1)}
    for operator in graph.operators:
        label = f"<b>{_escaped(operator.name)}</b><br/>{_escaped(operator_words(operator))}"
        left, right = ("([", "])") if operator.stateful else ("[", "]")
        yield f'  {number[operator.name]}{left}"{label}"{right}'
    edges = drawn_edges(graph)
    targets = dict.fromkeys(edge.target for edge in edges if edge.kind is FlowKind.REDUCE)
    join = {target: f"j{number[target][1:]}" for target in targets}
    for name in join.values():
        yield f'  {name}(("+"))'
    for edge in edges:
        label = f'|"{_escaped(edge.label)}"|' if edge.label else ""
        if edge.kind is FlowKind.REDUCE:
            yield f"  {number[edge.source]} ---{label} {join[edge.target]}"
        else:
            yield f"  {number[edge.source]} {_ARROWS[edge.kind]}{label} {number[edge.target]}"
    for target, name in join.items():
        yield f"  {name} --> {number[target]}"


def _escaped(text: str) -> str:
    """``text`` within double quotes: what could mean anything to Mermaid, Markdown or HTML is
    written as its number."""
    return "".join(
        c if c.isalnum() or c in _PLAIN else f"#{ord(c)};" if c.isprintable() else " " for c in text
    )


def _titled(text: str) -> str:
    """``text`` within YAML's double quotes."""
    return (
        "".join(c if c.isprintable() else " " for c in text)
        .replace("\\", "\\\\")
        .replace('"', '\\"')
    )
