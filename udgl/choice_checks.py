"""What the switches and splits of a graph must be."""

from __future__ import annotations

from collections.abc import Iterator

from udgl.diagnostics import Diagnostic, Severity, quote
from udgl.graph import Flow, FlowKind, ServingGraph, Span

_CHOICES = (FlowKind.SWITCH, FlowKind.SPLIT)


def check_choices(graph: ServingGraph) -> Iterator[Diagnostic]:
    """All that is wrong with the flows that choose."""
    sending: dict[str, Flow] = {}
    for flow in graph.flows:
        if flow.kind is FlowKind.REDUCE or len(flow.sources) != 1:
            continue
        source = flow.sources[0]
        first = sending.setdefault(source, flow)
        if first is not flow and (flow.kind in _CHOICES or first.kind in _CHOICES):
            message = (
                f"{quote(source)} has a {first.kind.value} and a {flow.kind.value}; "
                "it can choose in one way only"
            )
            hint = "name all of its targets in one of them, or put an operator between"
            yield Diagnostic("U124", message, _source_span(flow), hint)
        if flow.kind in _CHOICES and len(flow.targets) < 2:
            message = f"a {flow.kind.value} has two or more cases, that of {quote(source)} has one"
            hint = "write it under 'distribute', or add the other cases"
            yield Diagnostic("U121", message, flow.span, hint)
        if flow.kind is FlowKind.SWITCH:
            yield from _check_conditions(flow)
        elif flow.kind is FlowKind.SPLIT and 0 not in flow.weights and len(flow.targets) > 1:
            total = sum(flow.weights)
            if total != 100:
                message = f"the weights of {quote(source)} sum to {total} %, not to 100 %"
                yield Diagnostic("U123", message, _case_span(flow, len(flow.weights) - 1))


def _check_conditions(flow: Flow) -> Iterator[Diagnostic]:
    # The floor below has the one definition of what a condition is; it is loaded where one is met.
    from earg.condition import ConditionError, parse_condition

    seen: set[str] = set()
    otherwise = False
    for number, condition in enumerate(flow.conditions):
        span = _case_span(flow, number)
        if otherwise:
            message = "this case can never be taken: 'otherwise' stands before it"
            yield Diagnostic("U122", message, span, "'otherwise' is the last case")
            return
        if condition is None:
            otherwise = True
            continue
        try:
            text = str(parse_condition(condition))
        except ConditionError as error:
            hint = 'a condition reads: label == "drowsy" and score >= 0.5'
            yield Diagnostic("U018", error.message, _within(span, error.column), hint)
            continue
        if text in seen:
            message = "this case can never be taken: the same condition stands before it"
            yield Diagnostic("U122", message, span)
        seen.add(text)
    if not otherwise and not seen:
        return
    if not otherwise:
        message = f"a request whose reply of {quote(flow.sources[0])} meets no condition fails"
        hint = "add a case with 'otherwise'"
        yield Diagnostic("U137", message, _source_span(flow), hint, Severity.NOTE)


def _source_span(flow: Flow) -> Span | None:
    return flow.name_spans[0] if flow.name_spans else flow.span


def _case_span(flow: Flow, number: int) -> Span | None:
    return flow.case_spans[number] if number < len(flow.case_spans) else flow.span


def _within(span: Span | None, column: int) -> Span | None:
    """The part of ``span`` from its 1-based ``column`` on."""
    if span is None or column < 1:
        return span
    start = min(span.column + column - 1, span.end_column)
    return Span(span.line, start, max(span.end_column, start + 1))
