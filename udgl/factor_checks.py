"""What the factors of each operator must be, and how those of neighbours have to agree."""

from __future__ import annotations

from collections.abc import Iterator

from udgl.diagnostics import Diagnostic, Severity, quote
from udgl.gaps import Gaps
from udgl.graph import FlowKind, Operator, ServingGraph, Span


def check_factors(graph: ServingGraph, gaps: Gaps) -> Iterator[Diagnostic]:
    """All that is wrong with the operators' factors; warnings come with it. Of an operator with a
    factor that could not be read, only what no other factor may change."""
    types: dict[str, Operator] = {}
    # A latency of the defaults says something where it does so of any operator.
    told = {o.span_of("latency") for o in graph.operators if o.dynamic and o.latency}
    for operator in graph.operators:
        if operator.input or operator.output:
            types[operator.name] = operator
        if operator.stateful or operator.backup:
            yield from _check_state(operator, whole=operator.name not in gaps.operators)
        if operator.name in gaps.operators:
            continue
        if operator.latency is not None and not operator.dynamic:
            span = operator.span_of("latency")
            if span is None or span not in told:
                told.add(span)
                yield _no_steering(operator, span)
        if operator.training is not None:
            yield from _check_training(operator)
    if types:
        yield from _check_types(graph, types)
    if graph.platforms:
        yield from _check_platforms(graph)


def _check_state(operator: Operator, *, whole: bool) -> Iterator[Diagnostic]:
    name = quote(operator.name)
    if operator.stateful and operator.replicas > 1:
        message = f"{name} is stateful and cannot have {operator.replicas} replicas"
        hint = "each replica would know a part of the requests only: "
        hint += f"say 'replicas 1' in operator {operator.name}"
        yield Diagnostic("U126", message, operator.span_of("replicas"), hint)
    if operator.backup and not operator.stateful and whole:
        message = f"{name} keeps no state and needs no backup"
        hint = "for more than one model say 'replicas 2'; if it keeps state say 'stateful Yes'"
        yield Diagnostic("U127", message, operator.span_of("backup"), hint)
    if operator.stateful and operator.retries:
        message = f"{name} is stateful: a batch that failed may have changed its state already"
        hint = f"say 'retries 0' in operator {operator.name}"
        yield Diagnostic("U128", message, operator.span_of("retries"), hint)


def _no_steering(operator: Operator, span: Span | None) -> Diagnostic:
    message = f"latency says nothing of {quote(operator.name)}, whose batch limit does not adapt"
    hint = f"write 'batch dynamic {operator.batch}', or delete it"
    return Diagnostic("U131", message, span, hint, Severity.WARNING)


def _check_training(operator: Operator) -> Iterator[Diagnostic]:
    training = operator.training
    assert training is not None
    spans = [span for word, span in operator.spans if word == "step"]
    before = 0
    for number, step in enumerate(training.schedule):
        at: Span | None = spans[number - 1] if 0 < number <= len(spans) else operator.span
        if step.epoch <= before:
            message = f"the step of epoch {step.epoch} does not come after that of epoch {before}"
            hint = "the epochs of a batch schedule rise; the first batch is that of epoch 1"
            yield Diagnostic("U130", message, at, hint)
        elif step.epoch > training.epochs:
            message = f"epoch {step.epoch} is after the last, which is {training.epochs}"
            yield Diagnostic("U130", message, at, "raise 'epochs', or delete the step")
        before = max(before, step.epoch)
    stop = training.early_stop
    if stop is not None and stop.patience >= training.epochs:
        message = f"{training.epochs} epochs are over before {stop.patience} without a better value"
        hint = "raise 'epochs', or delete 'early-stop'"
        span = operator.span_of("early-stop")
        yield Diagnostic("U131", message, span, hint, Severity.WARNING)


def _check_types(graph: ServingGraph, types: dict[str, Operator]) -> Iterator[Diagnostic]:
    for flow in graph.flows:
        # A join is handed a list, whatever its sources reply.
        if flow.kind is FlowKind.REDUCE or len(flow.sources) != 1:
            continue
        source = types.get(flow.sources[0])
        if source is None or source.output is None:
            continue
        for number, name in enumerate(flow.targets):
            target = types.get(name)
            if target is None or target.input is None or _fits(source.output, target.input):
                continue
            span = flow.name_spans[1 + number] if len(flow.name_spans) > 1 + number else flow.span
            message = (
                f"{quote(source.name)} replies {source.output}, "
                f"but {quote(target.name)} takes {target.input}"
            )
            yield Diagnostic("U132", message, span, "make the two the same, or delete one")


def _fits(output: str, needed: str) -> bool:
    """Whether a reply of the type ``output`` is a request of the type ``needed``."""
    if output == needed or (needed.endswith("/*") and output.startswith(needed[:-1])):
        return True
    element, _, shape = output.partition("[")
    needed_element, _, needed_shape = needed.partition("[")
    if element != needed_element:
        return False
    if not shape or not needed_shape:
        # One of the two says nothing of the shape.
        return True
    lengths, needed_lengths = shape[:-1].split("x"), needed_shape[:-1].split("x")
    return len(lengths) == len(needed_lengths) and all(
        one == other or "?" in (one, other)
        for one, other in zip(lengths, needed_lengths, strict=True)
    )


def _check_platforms(graph: ServingGraph) -> Iterator[Diagnostic]:
    if not graph.platforms:
        # To look for other packages' targets takes longer than to check a graph.
        return
    from udgl.suggestions import Suggestions
    from udgl.targets import target_names

    names = target_names()
    for platform in graph.platforms:
        if platform not in names:
            near = Suggestions(names).near(platform)
            hint = f"did you mean '{near}'?" if near else f"there are {', '.join(names)}"
            message = f"there is no platform {quote(platform)}"
            yield Diagnostic("U136", message, graph.span_of("platform"), hint)
