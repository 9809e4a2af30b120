"""What the values of a graph must be for a text to say them: types, forms and ranges.

A parsed graph has no others; one that was built in Python may. Each value that passes is read by
:func:`udgl.parse` as it is from what :func:`udgl.dumps` writes of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from udgl.diagnostics import Diagnostic, quote
from udgl.factors import LARGEST_BATCH, LARGEST_COUNT, LONGEST_TIME, LONGEST_WAIT
from udgl.graph import BatchStep, EarlyStop, Flow, FlowKind, Operator, ServingGraph, Training
from udgl.parser import terminal
from udgl.places import NEEDS as FORMS
from udgl.quantities import (
    format_duration,
    format_number,
    format_size,
    format_value,
    parse_duration,
    parse_number,
    parse_size,
    parse_value,
)

_Found = Iterator[Diagnostic]

_TEXTS = (
    ("version", "VERSION_TEXT"),
    ("image", "IMAGE_REFERENCE"),
    ("entrypoint", "PYTHON_NAME"),
    ("host", "LABEL"),
    ("input", "PAYLOAD_TYPE"),
    ("output", "PAYLOAD_TYPE"),
)


_CLOSED = re.compile(r"""(?:[^"]|"(?:[^"\\]|\\.)*")*""")
"""A condition in which every quote is closed: an open one would run on into the next case."""


def check_values(graph: ServingGraph) -> list[Diagnostic]:
    """All values of ``graph`` that no text says."""
    found = [*_check_entries(graph)]
    if _all_are(graph.operators, Operator):
        for operator in graph.operators:
            found += check_operator(operator)
    else:
        found.append(_wrong("the operators of a graph are not a tuple of Operator"))
    if _all_are(graph.flows, Flow):
        for flow in graph.flows:
            found += check_flow(flow)
    else:
        found.append(_wrong("the flows of a graph are not a tuple of Flow"))
    if not found:
        found += _check_lines(graph)
    return found


def check_operator(operator: Operator) -> _Found:
    """What is wrong with the values of one operator."""
    if not is_form(operator.name, "NAME"):
        yield name_wrong(operator.name, "an operator")
        return
    owner = f"operator {quote(operator.name)}"
    for word, form in _TEXTS:
        value = getattr(operator, word)
        absent = "" if word == "image" else None
        if (value != absent or word == "version") and not is_form(value, form):
            yield _wrong(f"{word} {shown(value)} of {owner} is not {FORMS[form][0]}", form)
    yield from _check_count("batch", operator.batch, 1, LARGEST_BATCH, owner, "U109")
    for word in ("stateful", "dynamic"):
        if type(getattr(operator, word)) is not bool:
            yield _wrong(f"{word} {shown(getattr(operator, word))} of {owner} is not a bool")
    for word, most in (
        ("wait", LONGEST_WAIT),
        ("latency", LONGEST_TIME),
        ("timeout", LONGEST_TIME),
    ):
        yield from _check_time(word, getattr(operator, word), most, owner)
    for word, least, most in (
        ("retries", 0, 100),
        ("replicas", 1, LARGEST_COUNT),
        ("backup", 0, 1),
        ("gpu", 0, 1024),
    ):
        value = getattr(operator, word)
        if value is not None or word != "backup":
            yield from _check_count(word, value, least, most, owner)
    yield from _check_number("cpu", operator.cpu, owner)
    if operator.memory is not None:
        yield from _check_size(operator.memory, owner)
    yield from _check_pairs("env", operator.env, owner)
    if isinstance(operator.training, Training):
        yield from _check_training(operator.training, operator.batch, owner)
    elif operator.training is not None:
        yield _wrong(f"training {shown(operator.training)} of {owner} is not a Training")


def check_flow(flow: Flow) -> _Found:
    """What is wrong with the values of one flow."""
    if not isinstance(flow.kind, FlowKind):
        yield _wrong(f"kind {shown(flow.kind)} of a flow is not a FlowKind")
        return
    for what, names in (("source", flow.sources), ("target", flow.targets)):
        if type(names) is not tuple or not names:
            yield _wrong(f"the {what}s of a {flow.kind.value} are a tuple of names, one at least")
            return
        for name in names:
            if not is_form(name, "NAME"):
                yield name_wrong(name, f"a {what} of a {flow.kind.value}")
                return
    source = quote(flow.sources[0])
    cases = len(flow.targets)
    if type(flow.conditions) is not tuple or len(flow.conditions) != (
        cases if flow.kind is FlowKind.SWITCH else 0
    ):
        yield _wrong(f"the {flow.kind.value} of {source} needs a condition for each target")
        return
    if type(flow.weights) is not tuple or len(flow.weights) != (
        cases if flow.kind is FlowKind.SPLIT else 0
    ):
        yield _wrong(f"the {flow.kind.value} of {source} needs a weight for each target")
        return
    for condition in flow.conditions:
        if condition is None:
            continue
        if not is_form(condition, "CONDITION") or not _CLOSED.fullmatch(condition):
            form = FORMS["CONDITION"]
            message = f"{shown(condition)} in the switch of {source} is not {form[0]}"
            yield Diagnostic("U018", message, flow.span, form[1])
    for target, weight in zip(flow.targets, flow.weights, strict=False):
        if type(weight) is not int or not 1 <= weight <= 99:
            message = f"weight {shown(weight)} of {quote(target)} is not a whole number, 1 to 99"
            yield Diagnostic("U125", message, flow.span)


def is_form(value: object, name: str) -> bool:
    """Whether ``value`` is a text that the grammar's terminal ``name`` reads as it is."""
    if not isinstance(value, str) or value != value.strip() or "\r" in value:
        return False
    match = terminal(name).match(f"{value}\n")
    return match is not None and match.end() == len(value) and _encodable(value)


def name_wrong(name: object, what: str) -> Diagnostic:
    """The finding that ``name`` is no name; ``what`` is what it was to name."""
    return Diagnostic("U014", f"{shown(name)} cannot name {what}", None, FORMS["NAME"][1])


def _all_are(parts: object, kind: type) -> bool:
    return type(parts) is tuple and all(isinstance(part, kind) for part in parts)


def _check_entries(graph: ServingGraph) -> _Found:
    if graph.name != "" and not is_form(graph.name, "NAME"):
        yield name_wrong(graph.name, "a graph")
    if graph.version != "" and not is_form(graph.version, "VERSION_TEXT"):
        yield _wrong(f"version {shown(graph.version)} of the graph is no version", "VERSION_TEXT")
    for word in ("description", "owner", "schedule"):
        value = getattr(graph, word)
        if value is not None and not is_form(value, "TEXT"):
            hint = "one line without '#', with no white space around it"
            yield Diagnostic("U013", f"{word} {shown(value)} is no such text", None, hint)
    for word, values in (("tags", graph.tags), ("platforms", graph.platforms)):
        if type(values) is not tuple or len(set(map(str, values))) < len(values):
            yield _wrong(f"{word} {shown(values)} is not a tuple of texts, each once")
            continue
        for value in values:
            if not is_form(value, "TEXT") or "," in value:
                hint = "one line without '#' and ',', with no white space around it"
                yield Diagnostic("U013", f"{shown(value)} in {word} is no word", None, hint)
    if graph.engine is not None and not is_form(graph.engine, "NAME"):
        yield name_wrong(graph.engine, "an engine")


def _check_lines(graph: ServingGraph) -> _Found:
    """That no two flows are what a text says as one."""
    seen: set[tuple[FlowKind, str]] = set()
    for flow in graph.flows:
        if flow.kind is FlowKind.DISTRIBUTE:
            continue
        joins = flow.kind is FlowKind.REDUCE
        key = flow.kind, (flow.targets if joins else flow.sources)[0]
        if key in seen:
            message = f"{quote(key[1])} has two flows of the kind {flow.kind.value}"
            yield Diagnostic("U115", message, flow.span, "make one flow of them")
        seen.add(key)


def _check_training(training: Training, batch: int, owner: str) -> _Found:
    if not is_form(training.function, "PYTHON_NAME"):
        message = f"{shown(training.function)} cannot train {owner}"
        yield _wrong(message, "PYTHON_NAME")
    yield from _check_count("epochs", training.epochs, 1, LARGEST_COUNT, owner)
    steps = training.schedule
    if not _all_are(steps, BatchStep):
        yield _wrong(f"the schedule of {owner} is not a tuple of BatchStep")
    elif steps[:1] != (BatchStep(1, batch),):
        message = f"the schedule of {owner} does not start with its batch"
        yield _wrong_hint(message, f"the first step is BatchStep(1, {batch})")
    else:
        for step in steps:
            yield from _check_count("epoch", step.epoch, 1, LARGEST_COUNT, owner)
            yield from _check_count("batch", step.batch, 1, LARGEST_BATCH, owner, "U109")
    yield from _check_number("learning-rate", training.learning_rate, owner)
    stop = training.early_stop
    if isinstance(stop, EarlyStop):
        yield from _check_count("the patience", stop.patience, 1, LARGEST_COUNT, owner)
        metric = stop.metric
        if (
            not isinstance(metric, str)
            or [metric] != metric.split()
            or not is_form(f"{metric} 1", "EARLY_STOP")
        ):
            yield _wrong(f"{shown(metric)} of {owner} cannot be a metric's name")
    elif stop is not None:
        yield _wrong(f"early_stop {shown(stop)} of {owner} is not an EarlyStop")
    if training.dataset is not None and not _is_value(training.dataset):
        yield _wrong(f"dataset {shown(training.dataset)} of {owner} is not a text")
    yield from _check_pairs("params", training.params, owner)


def _check_pairs(word: str, pairs: object, owner: str) -> _Found:
    if type(pairs) is not tuple or not all(type(p) is tuple and len(p) == 2 for p in pairs):
        yield _wrong(f"{word} of {owner} is not a tuple of pairs (name, value)")
        return
    names = set()
    for name, value in pairs:
        if not isinstance(name, str) or not is_form(f"{name}=", "PAIR") or "=" in name:
            hint = "a name has letters, digits, '_', '-' and '.', and starts with a letter or '_'"
            yield _wrong_hint(f"{shown(name)} in {word} of {owner} is no name", hint)
        elif not _is_value(value):
            yield _wrong(f"{name} in {word} of {owner} is not a text: {shown(value)}")
        elif name in names:
            yield Diagnostic("U133", f"{quote(name)} is given twice in {word} of {owner}")
        else:
            names.add(name)


def _check_count(
    word: str, value: object, least: int, most: int, owner: str, code: str = "U125"
) -> _Found:
    if type(value) is not int:
        yield _wrong(f"{word} {shown(value)} of {owner} is not a whole number")
    elif not least <= value <= most:
        message = f"{word} {shown(value)} of {owner} is out of range"
        yield Diagnostic(code, message, None, f"{least} to {most}")


def _check_time(word: str, value: object, most: float, owner: str) -> _Found:
    if value is None and word != "wait":
        return
    if type(value) not in (int, float):
        yield _wrong(f"{word} {shown(value)} of {owner} is not a number of seconds")
    # Written so that NaN fails too.
    elif not (0 <= value <= most and (value > 0 or word == "wait")):  # type: ignore[operator]
        least = "0" if word == "wait" else "above 0"
        message = f"{word} {shown(value)} of {owner} is out of range"
        yield Diagnostic("U125", message, None, f"{least} to {most:g} seconds")
    else:
        yield from _check_same(word, value, format_duration, parse_duration, owner)


def _check_number(word: str, value: object, owner: str) -> _Found:
    if value is None:
        return
    if type(value) not in (int, float):
        yield _wrong(f"{word} {shown(value)} of {owner} is not a number")
    elif not 0 < value < 1e300:  # type: ignore[operator]
        message = f"{word} {shown(value)} of {owner} is out of range"
        yield Diagnostic("U125", message, None, "above 0")
    else:
        yield from _check_same(word, value, format_number, parse_number, owner)


def _check_size(value: object, owner: str) -> _Found:
    if type(value) is not int:
        yield _wrong(f"memory {shown(value)} of {owner} is not a whole number of bytes")
    elif not 1 <= value <= 10**27:
        message = f"memory {shown(value)} of {owner} is out of range"
        yield Diagnostic("U125", message, None, "at least 1 byte")
    else:
        yield from _check_same("memory", value, format_size, parse_size, owner)


def _check_same(
    word: str, value: Any, write: Callable[[Any], str], read: Callable[[str], Any], owner: str
) -> _Found:
    """That the number does not have more digits than are read."""
    if read(write(value)) != value:
        message = f"{word} {shown(value)} of {owner} has more digits than can be written"
        yield Diagnostic("U125", message, None, "round it")


def _is_value(value: object) -> bool:
    return (
        isinstance(value, str) and _encodable(value) and parse_value(format_value(value)) == value
    )


def _encodable(value: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in value)


def shown(value: object) -> str:
    """A value of any kind as a message tells it."""
    if type(value) is int and abs(value) > 10**30:
        return "as large as this"
    return quote(value) if type(value) is str else quote(repr(value))[1:-1]


def _wrong(message: str, form: str = "") -> Diagnostic:
    return Diagnostic("U013", message, None, FORMS[form][1] if form else None)


def _wrong_hint(message: str, hint: str) -> Diagnostic:
    return Diagnostic("U013", message, None, hint)
