"""From what lark reads to a :class:`ServingGraph`, with what only the text can tell reported.

:class:`Shape` turns each rule of the grammar into a value as soon as it is read, so that the words
of a large file need not all be kept: an entry or a factor into ``[keyword, value]``, an operator
into a declaration, a flow line into an edge, any other section into a list that starts with its
keyword. What could not be read is a token of the type ERROR. :func:`assemble` makes the graph.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lark import Transformer
from lark.lexer import Token

from udgl.diagnostics import Diagnostic, quote
from udgl.gaps import Gaps
from udgl.graph import Flow, FlowKind, Operator, ServingGraph, Span

LARGEST_BATCH = 999_999_999
"""The largest batch limit; EARG's own readers take no more digits."""


class _Declaration(NamedTuple):
    """An operator as declared; None where its name could not be read."""

    operator: Operator | None
    whole: bool
    """Whether all of its factors could be read."""
    found: list[Diagnostic]


class _Edge(NamedTuple):
    """A flow line. ``spans`` has one for each source, then one for each target."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    spans: tuple[Span, ...]


class Shape(Transformer[Any, Any]):
    """Called by lark for each rule that it has read, with the parts that are not filtered out."""

    def operator(self, parts: list[Any]) -> _Declaration:
        return _operator(parts)

    def edge(self, parts: list[Any]) -> _Edge | Token:
        if len(parts) == 1:
            error: Token = parts[0]
            return error
        sources, _, targets = parts
        return _Edge(
            tuple(map(str, sources)), tuple(map(str, targets)), tuple(map(_span, sources + targets))
        )

    def _as_list(self, parts: list[Any]) -> list[Any]:
        return parts

    entry = factor = sources = targets = meta = flow = block = _as_list

    def start(self, parts: list[Any]) -> list[Any]:
        return [part for part in parts if type(part) is not Token]


def assemble(sections: list[Any], source: str, gaps: Gaps) -> tuple[ServingGraph, list[Diagnostic]]:
    """The graph that ``sections`` say as far as they could be read, and what is wrong with their
    order and repetitions. Adds to ``gaps`` the sections with entries or factors that are missing.
    """
    found: list[Diagnostic] = []
    meta: dict[str, Token] = {}
    meta_seen = False
    operators: list[Operator] = []
    edges: list[tuple[FlowKind, _Edge]] = []
    in_flow = False
    for section in sections:
        if type(section) is _Declaration:
            in_flow = False
            found += section.found
            if section.operator is not None:
                operators.append(section.operator)
                if not section.whole:
                    gaps.operators.add(section.operator.name)
            continue
        keyword = section[0]
        kind = keyword.type
        if kind == "META":
            in_flow = False
            if meta_seen:
                found.append(Diagnostic("U103", "a second meta section", _span(keyword)))
            meta_seen = True
            if not _pairs(section[1:], meta, keyword, found):
                gaps.meta = True
        elif kind == "FLOW":
            in_flow = True
            strays = [edge for edge in section if type(edge) is _Edge]
            if strays:
                message = "a flow line outside of a block"
                found.append(Diagnostic("U017", message, strays[0].spans[0], _ABOVE_EDGE))
                # Which kind was meant is not known; these edges are used all the same.
                gaps.kinds = True
                edges.extend((FlowKind.DISTRIBUTE, edge) for edge in strays)
        else:
            if not in_flow:
                message = f"{quote(keyword)} outside of a flow"
                found.append(Diagnostic("U017", message, _span(keyword), _ABOVE_BLOCK))
                in_flow = True
            flow_kind = FlowKind.REDUCE if kind == "REDUCE" else FlowKind.DISTRIBUTE
            edges.extend((flow_kind, edge) for edge in section if type(edge) is _Edge)
    return _graph(meta, operators, _flows(edges), source), found


_ABOVE_EDGE = "put 'distribute' or 'reduce' above it"
_ABOVE_BLOCK = "put 'logical flow' above it"


def _span(token: Token) -> Span:
    assert token.line is not None
    assert token.column is not None
    return Span(token.line, token.column, token.column + len(token))


def _pairs(
    pairs: list[Any], values: dict[str, Token], owner: Token, found: list[Diagnostic]
) -> bool:
    """Collect ``[keyword, value]`` pairs into ``values``, by the keyword's terminal (a misspelt
    keyword has the terminal that was meant); False where one could not be read."""
    whole = True
    for pair in pairs:
        if len(pair) == 1:
            whole = False
            continue
        key, value = pair
        if key.type in values:
            found.append(
                Diagnostic("U104", f"{quote(key)} of {quote(owner)} is given twice", _span(key))
            )
        else:
            values[key.type] = value
    return whole


def _operator(section: list[Any]) -> _Declaration:
    name = section[1]
    found: list[Diagnostic] = []
    values: dict[str, Token] = {}
    whole = _pairs(section[2:], values, name, found)
    batch = _batch(values["KEY_BATCH"], found) if "KEY_BATCH" in values else 1
    if name.type == "ERROR":
        return _Declaration(None, whole, found)
    operator = Operator(
        str(name),
        str(values.get("KEY_VERSION", "1")),
        str(values.get("KEY_IMAGE", "")),
        batch,
        "KEY_STATEFUL" in values and values["KEY_STATEFUL"].lower() in ("yes", "true"),
        _span(name),
    )
    return _Declaration(operator, whole, found)


def _batch(token: Token, found: list[Diagnostic]) -> int:
    # Reading more digits than these would take time that grows with their square.
    batch = int(token) if len(token) <= 12 else LARGEST_BATCH + 1
    if 1 <= batch <= LARGEST_BATCH:
        return batch
    wrong = "is not at least 1" if batch < 1 or token.startswith("-") else "is too large"
    hint = "1 is no batching" if batch < 1 else f"the most is {LARGEST_BATCH}"
    found.append(Diagnostic("U109", f"batch {quote(token)} {wrong}", _span(token), hint))
    return 1


def _flows(edges: list[tuple[FlowKind, _Edge]]) -> tuple[Flow, ...]:
    """The edges as flows; reduce lines with the same target become one flow."""
    joins: dict[str, list[_Edge]] = {}
    for kind, edge in edges:
        if kind is FlowKind.REDUCE and len(edge.targets) == 1:
            joins.setdefault(edge.targets[0], []).append(edge)
    flows: list[Flow] = []
    for kind, edge in edges:
        lines = [edge]
        if kind is FlowKind.REDUCE and len(edge.targets) == 1:
            lines = joins.pop(edge.targets[0], [])
            if not lines:
                continue
        sources, targets, spans = edge.sources, edge.targets, edge.spans
        extent = Span(spans[0].line, spans[0].column, spans[-1].end_column)
        if len(lines) > 1:
            sources = tuple(source for line in lines for source in line.sources)
            spans = (*(span for line in lines for span in line.spans[:-1]), spans[-1])
        flows.append(Flow(kind, sources, targets, extent, spans))
    return tuple(flows)


def _graph(
    meta: dict[str, Token], operators: list[Operator], flows: tuple[Flow, ...], source: str
) -> ServingGraph:
    name, version = meta.get("KEY_NAME"), meta.get("KEY_VERSION")
    tags = str(meta.get("KEY_TAGS", "")).split(",")
    return ServingGraph(
        name=str(name or ""),
        version=str(version or ""),
        operators=tuple(operators),
        flows=flows,
        description=_text(meta, "KEY_DESCRIPTION"),
        owner=_text(meta, "KEY_OWNER"),
        tags=tuple(dict.fromkeys(tag.strip() for tag in tags if tag.strip())),
        schedule=_text(meta, "KEY_SCHEDULE"),
        source=source,
        span=_span(name) if name else None,
        version_span=_span(version) if version else None,
    )


def _text(meta: dict[str, Token], key: str) -> str | None:
    return str(meta[key]).rstrip() if key in meta else None
