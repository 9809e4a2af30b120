"""What the switches and splits of a graph must be."""

from __future__ import annotations

import re
from collections.abc import Iterator

from udgl.diagnostics import Diagnostic, Severity, quote
from udgl.gaps import Gaps
from udgl.graph import Flow, FlowKind, ServingGraph, Span

_CHOICES = (FlowKind.SWITCH, FlowKind.SPLIT)

_WITHOUT_KEYS = {
    "text": "text has no keys: write reply == \"yes\"; for keys say 'output json'",
    "bytes": "bytes have neither keys nor a value to compare: say 'output json', or 'output text'",
}
"""Types of replies in which no key can be found, each with a hint."""

_SIGNS = {"\u2265": ">=", "\u2264": "<=", "\u2260": "!=", "eq": "==", "like": "contains"}

_CASE = re.compile(r"[A-Za-z0-9_.-]\s+(?:when\s|otherwise\s*$)")

_WORD = re.compile(r"\S{1,60}")


def check_choices(graph: ServingGraph, gaps: Gaps) -> Iterator[Diagnostic]:
    """All that is wrong with the flows that choose."""
    outputs = {o.name: o.output for o in graph.operators if o.output in _WITHOUT_KEYS}
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
        if flow.kind in _CHOICES and len(flow.targets) < 2 and not gaps.choices:
            message = f"a {flow.kind.value} has two or more cases, that of {quote(source)} has one"
            hint = "write it under 'distribute', or add the other cases"
            yield Diagnostic("U121", message, flow.span, hint)
        if flow.kind is FlowKind.SWITCH:
            yield from _check_conditions(flow, outputs.get(source), gaps)
        elif (
            flow.kind is FlowKind.SPLIT
            and 0 not in flow.weights
            and len(flow.targets) > 1
            and not gaps.choices
        ):
            total = sum(flow.weights)
            if total != 100:
                message = f"the weights of {quote(source)} sum to {total} %, not to 100 %"
                last = flow.weights[-1] + 100 - total
                hint = "write other weights"
                if 1 <= last <= 99:
                    hint = f"write '{flow.targets[-1]} {last}%', or change the others"
                span = _case_span(flow, len(flow.weights) - 1)
                yield Diagnostic("U123", message, span, hint)


def check_joins(graph: ServingGraph) -> Iterator[Diagnostic]:
    """Joins that would wait for ever, as two of their sources never get the same request.

    Told where an alternative that nothing else leads to is joined with another one of its choice,
    or with what chooses. What takes more than two steps to see is for the platform to tell.
    """
    chosen: dict[str, Flow] = {}
    feeders: dict[str, set[str]] = {}
    for flow in graph.flows:
        for target in flow.targets:
            feeders.setdefault(target, set()).update(flow.sources)
        if flow.kind in _CHOICES and len(flow.sources) == 1 and len(set(flow.targets)) > 1:
            chosen.update((target, flow) for target in flow.targets)
    if not chosen:
        return
    for flow in graph.flows:
        if flow.kind is not FlowKind.REDUCE or len(flow.targets) != 1:
            continue
        joined = dict.fromkeys(flow.sources)
        first: dict[str, str] = {}
        for number, source in enumerate(flow.sources):
            choice = chosen.get(source)
            if choice is None or len(feeders[source]) > 1:
                continue
            chooser = choice.sources[0]
            other = first.setdefault(chooser, source)
            if other == source and chooser not in joined:
                continue
            span = flow.name_spans[number] if flow.name_spans else flow.span
            target = flow.targets[0]
            if other != source:
                message = f"a request reaches {quote(other)} or {quote(source)}, never both: "
                hint = f"let them meet under 'distribute': {other} -> {target}, and on a line of "
                hint += f"its own {source} -> {target}"
            else:
                message = f"a request that reaches {quote(chooser)} may never reach "
                message += f"{quote(source)}: "
                hint = "let the alternatives meet in one operator before the join"
            message += f"the join {quote(target)} would wait for ever"
            yield Diagnostic("U139", message, span, hint, Severity.WARNING)
            break


def _check_conditions(flow: Flow, output: str | None, gaps: Gaps) -> Iterator[Diagnostic]:
    # The floor below has the one definition of what a condition is; it is loaded where one is met.
    from earg.condition import Condition, ConditionError, parse_condition

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
            parsed = parse_condition(condition)
        except ConditionError as error:
            # Where a comma is missing, other cases were read as a part of it.
            gaps.edges = gaps.choices = True
            message, hint = _told(error.message, condition, error.column)
            at = _within(span, condition, error.column)
            yield Diagnostic("U018", message, at, hint)
            continue
        text = str(parsed)
        further: Condition | None = parsed
        while output is not None and further is not None:
            if further.path or output == "bytes":
                message = f"{quote(flow.sources[0])} replies {output}, of which this never holds"
                hint = _WITHOUT_KEYS[output]
                yield Diagnostic("U138", message, span, hint, Severity.WARNING)
                break
            further = further.also
        if text in seen:
            message = "this case can never be taken: the same condition stands before it"
            yield Diagnostic("U122", message, span, "delete it, or change its condition")
        seen.add(text)
    if not otherwise and seen and not gaps.choices and len(flow.targets) > 1:
        message = f"a request whose reply of {quote(flow.sources[0])} meets no condition fails"
        hint = "add a case with 'otherwise'"
        yield Diagnostic("U137", message, _source_span(flow), hint, Severity.NOTE)


def _told(message: str, condition: str, column: int) -> tuple[str, str]:
    """The message and the hint for what is wrong at the 1-based ``column`` of ``condition``."""
    message, _, hint = message.partition("; ")
    found = _WORD.match(condition, max(column - 1, 0))
    word = found[0] if found else ""
    if word.lower() in ("true", "false", "none", "nil"):
        hint = f"write {word.lower() if word[0] in 'tTfF' else 'null'}"
    elif word[:1] in ("'", "\u201c", "\u2018") and len(word) > 2:
        inner = word.strip("'\u201c\u201d\u2018\u2019")
        hint = f'write "{inner}"'
    elif message.startswith("expected 'and'") and _CASE.search(condition, column - 1):
        hint = f"write a comma before '{word}'"
    elif word[:1] == "(":
        message, hint = "a condition has no parentheses", "delete them"
    elif "Unterminated" in message:
        message, hint = "the text has no closing double quote", f'such as {word.rstrip(",")}"'
    elif word in _SIGNS:
        hint = f"use '{_SIGNS[word]}'"
    return message, hint or 'a condition reads: label == "drowsy" and score >= 0.5'


def _source_span(flow: Flow) -> Span | None:
    return flow.name_spans[0] if flow.name_spans else flow.span


def _case_span(flow: Flow, number: int) -> Span | None:
    return flow.case_spans[number] if number < len(flow.case_spans) else flow.span


def _within(span: Span | None, text: str, column: int) -> Span | None:
    """The word at the 1-based ``column`` of ``span``, whose words are ``text``."""
    if span is None or column < 1:
        return span
    start = min(span.column + column - 1, span.end_column)
    word = _WORD.match(text, column - 1)
    return Span(span.line, start, start + (len(word[0]) if word else 1))
