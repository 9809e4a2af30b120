"""What a graph must be to make sense on any platform.

Every rule has a code of :data:`udgl.diagnostics.CODES`. All rules together take time linear in the
graph and recurse nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator

from udgl.choice_checks import check_choices, check_joins
from udgl.diagnostics import Diagnostic, listing, quote
from udgl.engines import check_engine
from udgl.factor_checks import check_factors
from udgl.gaps import Gaps
from udgl.graph import Flow, FlowKind, Operator, ServingGraph, Span
from udgl.suggestions import Suggestions


def check(graph: ServingGraph, gaps: Gaps | None = None) -> list[Diagnostic]:
    """All that is wrong with ``graph``, rule by rule; ``gaps`` is what the parser lost of it."""
    gaps = gaps or Gaps()
    found = [*_check_meta(graph, gaps), *_check_operators(graph, gaps)]
    names = {operator.name: operator for operator in graph.operators}
    meant, unknown = _resolve(graph, names)
    if not gaps.declarations:
        found += unknown
    if not gaps.kinds:
        found += _check_arity(graph)
        found += check_choices(graph, gaps)
        if not gaps.edges:
            found += check_joins(graph)
    found += check_factors(graph, gaps)
    found += check_engine(graph)
    edges, duplicates = _edges(graph, meant)
    found += duplicates
    found += (_cycle_diagnostic(cycle, edges, names) for cycle in _cycles(names, edges))
    # Where a name was not understood, or a line was not read, edges are missing.
    if names and not gaps.declarations and not gaps.edges and None not in meant.values():
        found += _check_shape(names, edges)
    return found


def _check_meta(graph: ServingGraph, gaps: Gaps) -> Iterator[Diagnostic]:
    if gaps.meta:
        return
    top = Span(1, 1, 1)
    if not graph.name and not graph.version:
        hint = "write 'meta' and below it 'name' and 'version', each with its value"
        yield Diagnostic("U101", "the graph has no name and no version", top, hint)
        return
    if not graph.name:
        hint = "write 'meta' and below it 'name' and a name"
        yield Diagnostic("U101", "the graph has no name", top, hint)
    if not graph.version:
        hint = "write 'version' and a version below 'meta'"
        yield Diagnostic("U102", "the graph has no version", graph.span or top, hint)


def _check_operators(graph: ServingGraph, gaps: Gaps) -> Iterator[Diagnostic]:
    if not graph.operators and not gaps.declarations and not gaps.edges:
        hint = "an operator starts with 'operator NAME'"
        yield Diagnostic("U105", "the graph has no operator", Span(1, 1, 1), hint)
    seen: dict[str, Operator] = {}
    for operator in graph.operators:
        name = operator.name
        lower = name.lower()
        first = seen.setdefault(lower, operator)
        if first is not operator:
            where = f" (first in line {first.span.line})" if first.span else ""
            if first.name == name:
                message = f"operator {quote(name)} is declared twice{where}"
                yield Diagnostic("U106", message, operator.span)
            else:
                message = f"{quote(name)} and {quote(first.name)}{where} differ only in case"
                hint = "platforms write names in small letters"
                yield Diagnostic("U107", message, operator.span, hint)
        if not operator.image and not operator.entrypoint and name not in gaps.operators:
            message = f"operator {quote(name)} has no image"
            hint = "add 'image' and its reference, or 'entrypoint' and package.module:Class"
            yield Diagnostic("U108", message, operator.span, hint)
        if operator.batch < 1:
            message = f"batch {operator.batch} of operator {quote(name)} is not at least 1"
            yield Diagnostic("U109", message, operator.span)


def _resolve(
    graph: ServingGraph, names: dict[str, Operator]
) -> tuple[dict[str, str | None], list[Diagnostic]]:
    """Each name in a flow that is not declared, with the operator that is probably meant."""
    meant: dict[str, str | None] = {}
    unknown: list[Diagnostic] = []
    suggestions = Suggestions(names)
    for flow in graph.flows:
        for position, name in enumerate((*flow.sources, *flow.targets)):
            if name in names:
                continue
            near = meant[name] = suggestions.near(name)
            hint = f"did you mean '{near}'?" if near else f"declare it: operator {name}"
            plain = name.rstrip("-")
            if plain != name and plain in names:
                # Of "A-->B", which is an arrow elsewhere, "A-" is the name.
                meant[name] = plain
                hint = f"the arrow is '->', without a '-' before it: {plain} ->"
            message = f"unknown operator {quote(name)} in {flow.kind.value}"
            unknown.append(Diagnostic("U110", message, _name_span(flow, position), hint))
    return meant, unknown


def _name_span(flow: Flow, position: int) -> Span | None:
    return flow.name_spans[position] if position < len(flow.name_spans) else flow.span


def _check_arity(graph: ServingGraph) -> Iterator[Diagnostic]:
    for flow in graph.flows:
        sources, targets = flow.sources, flow.targets
        if flow.kind is not FlowKind.REDUCE and len(sources) > 1:
            message = f"a {flow.kind.value} line has one source, found {len(sources)}"
            hint = "write a line for each source; for a join, write it under 'reduce'"
            yield Diagnostic("U112", message, _name_span(flow, 1), hint)
        if flow.kind is FlowKind.REDUCE and len(targets) > 1:
            message = f"a reduce line has one target, found {len(targets)}"
            hint = "write a line for each target"
            yield Diagnostic("U113", message, _name_span(flow, len(sources) + 1), hint)
        elif flow.kind is FlowKind.REDUCE and len(sources) < 2:
            message = f"reduce joins two or more sources, {quote(targets[0])} has only one"
            hint = "write it under 'distribute', or name the other sources"
            yield Diagnostic("U114", message, flow.span, hint)


_Edges = dict[str, dict[str, Span | None]]
"""Source to targets, each with where it was named; in the order of the flows."""


def _edges(graph: ServingGraph, meant: dict[str, str | None]) -> tuple[_Edges, list[Diagnostic]]:
    edges: _Edges = {}
    duplicates: list[Diagnostic] = []
    for flow in graph.flows:
        source_count = len(flow.sources)
        # A line with several sources and several targets has an error of its own; were all its
        # pairs followed, the time would be quadratic.
        targets = flow.targets if source_count == 1 else flow.targets[:1]
        cases: set[str] = set()
        for i, written_source in enumerate(flow.sources):
            source = meant.get(written_source, written_source)
            for j, written_target in enumerate(targets):
                target = meant.get(written_target, written_target)
                if source is None or target is None:
                    continue
                position = i if source_count > 1 else source_count + j
                span = _name_span(flow, position)
                out = edges.setdefault(source, {})
                # Several cases of a switch may lead to one target: that is how to say "or".
                if target in out and target not in cases:
                    message = f"the edge {quote(source)} → {quote(target)} is given twice"
                    duplicates.append(Diagnostic("U115", message, span, "delete one of them"))
                else:
                    out[target] = span
                    if flow.kind is FlowKind.SWITCH:
                        cases.add(target)
        if source_count > 1:
            # The other targets of such a line are used, all the same.
            for written_target in flow.targets[1:]:
                target = meant.get(written_target, written_target)
                source = meant.get(flow.sources[0], flow.sources[0])
                if source is not None and target is not None:
                    edges.setdefault(source, {}).setdefault(target, flow.span)
    return edges, duplicates


def _cycles(names: dict[str, Operator], edges: _Edges) -> list[list[str]]:
    """Cycles that share no operator, at least one of each strongly connected part.

    A depth-first walk meets a cycle where an edge leads back to an operator on the walk's path.
    """
    cycles: list[list[str]] = []
    finished: set[str] = set()
    for start in names:
        if start in finished:
            continue
        path = [start]
        depth = {start: 0}
        choices = [iter(edges.get(start, ()))]
        # Depths on the path of operators that are on a cycle already found.
        taken: list[int] = []
        while path:
            target = next(choices[-1], None)
            if target is None:
                choices.pop()
                name = path.pop()
                finished.add(name)
                del depth[name]
                if taken and taken[-1] == len(path):
                    taken.pop()
            elif target in depth:
                if not taken or taken[-1] < depth[target]:
                    cycles.append(path[depth[target] :])
                    taken.extend(range(depth[target], len(path)))
            elif target not in finished:
                depth[target] = len(path)
                path.append(target)
                choices.append(iter(edges.get(target, ())))
    return cycles


def _cycle_diagnostic(cycle: list[str], edges: _Edges, names: dict[str, Operator]) -> Diagnostic:
    first = cycle[0]
    span = edges[cycle[-1]][first] or names[first].span
    if len(cycle) == 1:
        return Diagnostic("U116", f"{quote(first)} flows into itself", span)
    shown = [quote(name) for name in cycle]
    if len(shown) > 8:
        shown = [*shown[:4], f"{len(shown) - 7} more", *shown[-3:]]
    hint = "a request would never leave the graph: remove one of these edges"
    return Diagnostic("U116", f"a cycle: {' → '.join([*shown, shown[0]])}", span, hint)


def _check_shape(names: dict[str, Operator], edges: _Edges) -> Iterator[Diagnostic]:
    """Every operator used, one entry that reaches all of them, at least one exit."""
    fed = {target for targets in edges.values() for target in targets}
    used = [n for n in names if n in fed or n in edges]
    if len(names) == 1 and not used:
        return
    for name, operator in names.items():
        if name not in fed and name not in edges:
            message = f"operator {quote(name)} is not used in any flow"
            hint = "name it in a flow line, or delete it"
            yield Diagnostic("U111", message, operator.span, hint)
    entries = [name for name in used if name not in fed]
    if used and not entries:
        message = "there is no entry: something flows into every operator"
        yield Diagnostic("U117", message, names[used[0]].span)
    if len(entries) > 1:
        message = f"a graph has one entry, into which nothing flows; found {len(entries)}"
        hint = f"one of these must come first: {listing(entries)}"
        yield Diagnostic("U118", message, names[entries[1]].span, hint)
    if len(entries) == 1:
        reached = {entries[0]}
        waiting = [entries[0]]
        while waiting:
            for target in edges.get(waiting.pop(), ()):
                if target not in reached:
                    reached.add(target)
                    waiting.append(target)
        cut_off = [name for name in used if name not in reached]
        if cut_off:
            message = f"no way leads from the entry {quote(entries[0])} to {listing(cut_off)}"
            yield Diagnostic("U119", message, names[cut_off[0]].span)
    if used and all(edges.get(name) for name in used):
        message = "there is no exit: every operator flows into something"
        yield Diagnostic("U120", message, names[used[-1]].span)
