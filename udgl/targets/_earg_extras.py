"""What a graph says beyond EARG's config, as :mod:`earg.extras` has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from earg.choosing import Case, ChoiceError, Share, Split, Switch
from earg.condition import ConditionError, parse_condition
from earg.config import ConfigError, StaticConfig
from earg.extras import Extras, ExtrasError, NodeExtras, duration, write_extras
from earg.guards import GuardError, GuardFault
from udgl.diagnostics import Diagnostic, quote
from udgl.graph import Flow, FlowKind, Operator, ServingGraph, Span
from udgl.quantities import format_duration, format_number, format_size
from udgl.targets._yaml_text import text

_TIMES = ("wait", "latency", "timeout")

_CODES = {
    GuardFault.COMPUTED_TWICE: "EARG101",
    GuardFault.ANSWERED_TWICE: "EARG103",
    GuardFault.WAITS: "EARG105",
    GuardFault.TOO_MANY: "EARG100",
}


def to_extras(graph: ServingGraph, config: StaticConfig) -> tuple[Extras, list[Diagnostic]]:
    """The extras of ``graph``, whose EARG config is ``config``, and what is wrong with them: they
    are of use where that is nothing."""
    found: list[Diagnostic] = []
    index = {node.name: at for at, node in enumerate(config.nodes, start=1)}
    nodes = []
    for operator in graph.operators:
        own = _node_extras(operator, found)
        if own is not None:
            nodes.append((index[operator.name], own))
    switches, splits = [], []
    for flow in graph.flows:
        try:
            if flow.kind is FlowKind.SWITCH:
                switches.append(_switch(flow, index))
            elif flow.kind is FlowKind.SPLIT:
                splits.append(_split(flow, index))
        except ChoiceError as error:
            message = f"EARG cannot follow this {flow.kind.value}: {error}"
            found.append(Diagnostic("EARG106", message, flow.span))
        except ConditionError as error:
            message = f"EARG cannot express this graph: {error.message}"
            found.append(Diagnostic("EARG100", message, flow.span))
    if found:
        return Extras(), found
    try:
        extras = Extras(tuple(nodes), tuple(switches), tuple(splits))
        # It checks them, and that their text is no longer than the engine takes.
        write_extras(extras, config)
    except (ExtrasError, ConfigError) as error:
        cause = error.__cause__
        if isinstance(cause, GuardError):
            return Extras(), [_of_guards(cause, graph, config)]
        return Extras(), [Diagnostic("EARG100", f"EARG cannot express this graph: {error}")]
    return extras, []


def values_of(operator: Operator) -> dict[str, Any]:
    """The values of :class:`earg.extras.NodeExtras` that the operator says, by their names."""
    values: dict[str, Any] = {}
    if operator.replicas != 1:
        values["replicas"] = operator.replicas
    for word in _TIMES:
        seconds = getattr(operator, word)
        if seconds or (seconds is not None and word != "wait"):
            values[word] = seconds
    if operator.retries:
        values["retries"] = operator.retries
    if operator.stateful and operator.backup == 0:
        values["backup"] = 0
    for word in ("cpu", "memory", "host"):
        if getattr(operator, word) is not None:
            values[word] = getattr(operator, word)
    if operator.gpu:
        values["gpu"] = operator.gpu
    if operator.env:
        values["env"] = operator.env
    return values


def _node_extras(operator: Operator, found: list[Diagnostic]) -> NodeExtras | None:
    values = values_of(operator)
    if not values:
        return None
    try:
        return NodeExtras(**values)
    except ExtrasError:
        pass
    for word, value in values.items():
        try:
            NodeExtras(**{word: value})
        except ExtrasError as error:
            message = f"EARG's engine does not take this of {quote(operator.name)}: {error}"
            found.append(Diagnostic("EARG106", message, operator.span_of(word)))
    return None


def _switch(flow: Flow, index: dict[str, int]) -> Switch:
    cases = zip(flow.targets, flow.conditions, strict=True)
    return Switch(
        index[flow.sources[0]],
        tuple(
            Case(index[target], None if condition is None else parse_condition(condition))
            for target, condition in cases
        ),
    )


def _split(flow: Flow, index: dict[str, int]) -> Split:
    shares = zip(flow.targets, flow.weights, strict=True)
    return Split(
        index[flow.sources[0]], tuple(Share(index[target], weight) for target, weight in shares)
    )


def _of_guards(error: GuardError, graph: ServingGraph, config: StaticConfig) -> Diagnostic:
    names = [node.name for node in config.nodes]
    span = graph.span
    if error.node:
        name = names[error.node - 1]
        span = graph.operator(name).span
        if error.fault is not GuardFault.ANSWERED_TWICE:
            source = names[error.source - 1] if error.source else None
            span = _input_span(graph, name, source) or span
    else:
        choices = (f for f in graph.flows if f.kind in (FlowKind.SWITCH, FlowKind.SPLIT))
        span = next((flow.span for flow in choices), span)
    return Diagnostic(_CODES[error.fault], error.reason, span, error.hint)


def _input_span(graph: ServingGraph, name: str, source: str | None) -> Span | None:
    """Where a flow names operator ``name`` as a target, of ``source`` if that is given."""
    for flow in graph.flows:
        if name in flow.targets and (source is None or source in flow.sources):
            at = len(flow.sources) + flow.targets.index(name)
            return flow.name_spans[at] if at < len(flow.name_spans) else flow.span
    return None


# --- the file -----------------------------------------------------------------------------------


def extras_text(graph: ServingGraph, head: str) -> str:
    """The extras file, as :func:`earg.extras.read_extras` reads it, after the comment ``head``;
    what stands in a file's ``defaults`` is said of each operator that has it."""
    lines = [head]
    nodes = [line for operator in graph.operators for line in _node_lines(operator)]
    if nodes:
        lines += ["nodes:", *nodes]
    for kind, of in ((FlowKind.SWITCH, _switch_lines), (FlowKind.SPLIT, _split_lines)):
        flows = [flow for flow in graph.flows if flow.kind is kind]
        if flows:
            if len(lines) > 1:
                lines.append("")
            lines.append(f"{kind.value}:")
            lines += [line for flow in flows for line in of(flow)]
    return "\n".join(lines) + "\n"


def _node_lines(operator: Operator) -> Iterator[str]:
    values = values_of(operator)
    if not values:
        return
    yield f"  {text(operator.name)}:"
    for word, value in values.items():
        lines = sorted({span.line for name, span in operator.spans if name == word})
        remark = f"  # line{'s'[: len(lines) - 1]} {', '.join(map(str, lines))}" if lines else ""
        if word == "env":
            yield f"    env:{remark}"
            for name, variable in value:
                yield f"      {text(name)}: {text(variable)}"
        else:
            yield f"    {word}: {_written(word, value)}{remark}"


def _written(word: str, value: Any) -> str:
    """A node's value as the file says it."""
    if word in _TIMES:
        return _time(value)
    if word == "cpu":
        return format_number(value)
    if word == "memory":
        return format_size(value)
    return text(value) if word == "host" else str(value)


def _time(seconds: float) -> str:
    """The time with a unit, where it can be said so exactly."""
    written = format_duration(seconds)
    try:
        return written if duration("", written) == seconds else repr(float(seconds))
    except ExtrasError:
        return repr(float(seconds))


def _switch_lines(flow: Flow) -> Iterator[str]:
    yield f"  {text(flow.sources[0])}:"
    for at, (target, condition) in enumerate(zip(flow.targets, flow.conditions, strict=True)):
        when = "" if condition is None else f", when: {text(condition)}"
        yield f"    - {{to: {text(target)}{when}}}{_case_remark(flow, at)}"


def _split_lines(flow: Flow) -> Iterator[str]:
    yield f"  {text(flow.sources[0])}:"
    for at, (target, weight) in enumerate(zip(flow.targets, flow.weights, strict=True)):
        yield f"    {text(target)}: {weight}{_case_remark(flow, at)}"


def _case_remark(flow: Flow, at: int) -> str:
    position = len(flow.sources) + at
    span = flow.name_spans[position] if position < len(flow.name_spans) else flow.span
    return f"  # line {span.line}" if span else ""
