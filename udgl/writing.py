"""Graphs as canonical UDGL text.

``parse(dumps(graph)) == graph`` for every graph that passes the checks. The values of a file's
``defaults`` are written in each operator that has them.
"""

from __future__ import annotations

from collections.abc import Iterator

from udgl.diagnostics import UdglError
from udgl.graph import Flow, FlowKind, Operator, ServingGraph, Training
from udgl.quantities import (
    format_duration,
    format_number,
    format_pair,
    format_size,
    format_value,
)

Factor = tuple[str, str]
"""A factor's word and its value, as text."""


def dumps(graph: ServingGraph) -> str:
    """``graph`` as UDGL text, which ends with a line end.

    Raises :class:`udgl.UdglError` for values that no text says, such as a name with a space in a
    graph that was built in Python.
    """
    from udgl.value_checks import check_values

    found = check_values(graph)
    if found:
        raise UdglError(graph.source, found)
    return "\n".join(_lines(graph)) + "\n"


def factor_texts(operator: Operator) -> tuple[Factor, ...]:
    """The operator's factors in canonical order: version, image, batch limit and statefulness
    always, others where they say more than their absence does."""
    return tuple(factor for line in _factor_lines(operator) for factor in line)


def flow_text(flow: Flow) -> str:
    """The flow as one line."""
    targets: Iterator[str] = iter(flow.targets)
    if flow.kind is FlowKind.SWITCH:
        targets = (
            f"{target} otherwise" if condition is None else f"{target} when {condition}"
            for target, condition in zip(flow.targets, flow.conditions, strict=True)
        )
    elif flow.kind is FlowKind.SPLIT:
        targets = (
            f"{target} {weight}%" for target, weight in zip(flow.targets, flow.weights, strict=True)
        )
    return f"{', '.join(flow.sources)} → {', '.join(targets)}"


def entry_texts(graph: ServingGraph) -> tuple[Factor, ...]:
    """The entries of ``meta`` that the graph has, in canonical order."""
    entries = (
        ("name", graph.name),
        ("version", graph.version),
        ("description", graph.description or ""),
        ("owner", graph.owner or ""),
        ("tags", ", ".join(graph.tags)),
        ("schedule", graph.schedule or ""),
        ("platform", ", ".join(graph.platforms)),
        ("engine", graph.engine or ""),
    )
    return tuple((word, text) for word, text in entries if text)


def _lines(graph: ServingGraph) -> Iterator[str]:
    yield "meta"
    for word, text in entry_texts(graph):
        yield f"  {word} {text}"
    for operator in graph.operators:
        yield ""
        yield f"operator {operator.name}"
        for line in _factor_lines(operator):
            # A step of a batch schedule is its own word.
            yield "  " + ", ".join(f"{word} {text}".lstrip() for word, text in line)
    if graph.flows:
        yield ""
        yield "logical flow"
    kind: FlowKind | None = None
    for flow in graph.flows:
        if flow.kind is not kind:
            kind = flow.kind
            yield kind.value
        yield f"  {flow_text(flow)}"


def _factor_lines(operator: Operator) -> Iterator[tuple[Factor, ...]]:
    """The factors, by the lines that they are written in; a word is empty for a schedule's step."""
    for line in (
        _identity(operator),
        _batching(operator),
        _serving(operator),
        _resources(operator),
        tuple(("env", format_pair(*pair)) for pair in operator.env),
        _types(operator),
        *(() if operator.training is None else _training(operator.training)),
    ):
        if line:
            yield line


def _identity(operator: Operator) -> tuple[Factor, ...]:
    factors = [("version", operator.version)]
    if operator.image:
        factors.append(("image", operator.image))
    if operator.entrypoint is not None:
        factors.append(("entrypoint", operator.entrypoint))
    return tuple(factors)


def _batching(operator: Operator) -> tuple[Factor, ...]:
    limit = f"dynamic {operator.batch}" if operator.dynamic else str(operator.batch)
    factors = [("batch", limit)]
    if operator.training is not None:
        factors += (
            ("", f"{step.batch} from epoch {step.epoch}") for step in operator.training.schedule[1:]
        )
    factors.append(("stateful", "Yes" if operator.stateful else "No"))
    return tuple(factors)


def _serving(operator: Operator) -> tuple[Factor, ...]:
    factors = []
    if operator.wait:
        factors.append(("wait", format_duration(operator.wait)))
    for word, seconds in (("latency", operator.latency), ("timeout", operator.timeout)):
        if seconds is not None:
            factors.append((word, format_duration(seconds)))
    if operator.retries:
        factors.append(("retries", str(operator.retries)))
    if operator.replicas != 1:
        factors.append(("replicas", str(operator.replicas)))
    if operator.backup is not None:
        factors.append(("backup", str(operator.backup)))
    return tuple(factors)


def _resources(operator: Operator) -> tuple[Factor, ...]:
    factors = []
    if operator.cpu is not None:
        factors.append(("cpu", format_number(operator.cpu)))
    if operator.memory is not None:
        factors.append(("memory", format_size(operator.memory)))
    if operator.gpu:
        factors.append(("gpu", str(operator.gpu)))
    if operator.host is not None:
        factors.append(("host", operator.host))
    return tuple(factors)


def _types(operator: Operator) -> tuple[Factor, ...]:
    return tuple(
        (word, text)
        for word, text in (("input", operator.input), ("output", operator.output))
        if text is not None
    )


def _training(training: Training) -> Iterator[tuple[Factor, ...]]:
    factors = [("train", training.function), ("epochs", str(training.epochs))]
    if training.learning_rate is not None:
        factors.append(("learning-rate", format_number(training.learning_rate)))
    stop = training.early_stop
    if stop is not None:
        metric = "" if stop.metric == "loss" else f"{stop.metric} "
        factors.append(("early-stop", f"{metric}{stop.patience}"))
    if training.dataset is not None:
        factors.append(("dataset", format_value(training.dataset)))
    yield tuple(factors)
    yield tuple(("param", format_pair(*pair)) for pair in training.params)
