"""Graphs in DOT, the language of Graphviz (https://graphviz.org/doc/info/lang.html)."""

from __future__ import annotations

from collections.abc import Iterator

from udgl.drawing.content import drawn_edges, operator_words, runs_from, title
from udgl.graph import FlowKind, ServingGraph

_STYLES = {FlowKind.SWITCH: "dashed", FlowKind.SPLIT: "dotted"}


def draw_dot(graph: ServingGraph) -> str:
    """The graph in DOT, from left to right: a box an operator, a black dot where a join waits for
    all its sources (numbered in the order in which their replies are handed on), dashed edges of
    switches with their conditions, dotted ones of splits with their weights."""
    return "\n".join(_lines(graph)) + "\n"


def _lines(graph: ServingGraph) -> Iterator[str]:
    yield f"digraph {_quoted(graph.name)} {{"
    yield f"  graph [rankdir=LR, label={_quoted(title(graph))}, labelloc=t, fontname=Helvetica]"
    yield "  node [shape=box, style=rounded, fontname=Helvetica]"
    yield "  edge [fontname=Helvetica, fontsize=10]"
    yield ""
    for operator in graph.operators:
        label = f"{_escaped(operator.name)}\\n{_escaped(operator_words(operator))}"
        attributes = [f'label="{label}"', f"tooltip={_quoted(runs_from(operator))}"]
        if operator.stateful:
            attributes.append("peripheries=2")
        yield f"  {_quoted(operator.name)} [{', '.join(attributes)}]"
    edges = drawn_edges(graph)
    joins = dict.fromkeys(edge.target for edge in edges if edge.kind is FlowKind.REDUCE)
    for target in joins:
        tooltip = _quoted(f"{target} gets the replies of all together")
        yield f"  {_join(target)} [shape=point, width=0.12, tooltip={tooltip}]"
    yield ""
    for edge in edges:
        source = _quoted(edge.source)
        if edge.kind is FlowKind.REDUCE:
            place = f"label={_quoted(edge.label)}, dir=none"
            yield f"  {source} -> {_join(edge.target)} [{place}]"
            continue
        attributes = []
        if edge.label:
            attributes.append(f"label={_quoted(edge.label)}")
        if edge.kind in _STYLES:
            attributes.append(f"style={_STYLES[edge.kind]}")
        said = f" [{', '.join(attributes)}]" if attributes else ""
        yield f"  {source} -> {_quoted(edge.target)}{said}"
    for target in joins:
        yield f"  {_join(target)} -> {_quoted(target)}"
    yield "}"


def _join(target: str) -> str:
    # No operator's name begins so.
    return _quoted(f"+{target}")


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    """``text`` within double quotes; a backslash would begin one of DOT's own escapes, and an
    ampersand an HTML entity."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
