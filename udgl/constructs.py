"""What a graph can say, construct by construct: for targets to tell which of it they cannot.

A construct has two small graphs that differ in it alone, so that tests can see what each target
makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from udgl.diagnostics import quote
from udgl.graph import FlowKind, Operator, ServingGraph, Span

Use = tuple[str, Span | None]
"""Who uses a construct (as messages call it), and where."""


@dataclass(frozen=True, slots=True)
class Construct:
    """One thing that a graph can say. ``uses`` finds it; ``without`` and ``example`` are graphs
    that differ in it alone."""

    name: str
    uses: Callable[[ServingGraph], Iterator[Use]]
    example: str
    without: str


def _factor(
    word: str, given: Callable[[Operator], bool]
) -> Callable[[ServingGraph], Iterator[Use]]:
    def uses(graph: ServingGraph) -> Iterator[Use]:
        for operator in graph.operators:
            if given(operator):
                yield f"operator {quote(operator.name)}", operator.span_of(word)

    return uses


def _flows(kind: FlowKind) -> Callable[[ServingGraph], Iterator[Use]]:
    def uses(graph: ServingGraph) -> Iterator[Use]:
        for flow in graph.flows:
            if flow.kind is kind:
                yield f"the {kind.value} of {quote(flow.sources[0])}", flow.span

    return uses


def _fan_out(graph: ServingGraph) -> Iterator[Use]:
    seen: set[str] = set()
    for flow in graph.flows:
        if flow.kind is not FlowKind.DISTRIBUTE:
            continue
        source = flow.sources[0]
        if len(flow.targets) > 1 or source in seen:
            yield f"the distribute of {quote(source)}", flow.span
        seen.add(source)


def _exits(graph: ServingGraph) -> Iterator[Use]:
    """Exits that answer a request beside another one; where requests are never copied, each of
    them reaches one exit alone."""
    if not any(_fan_out(graph)):
        return
    for operator in graph.exits()[1:]:
        yield f"the exit {quote(operator.name)}", operator.span


def _several_inputs(graph: ServingGraph) -> Iterator[Use]:
    """Operators that get requests along several distribute, switch or split edges, or along one of
    these and a reduce."""
    edges: dict[str, int] = {}
    for flow in graph.flows:
        for target in dict.fromkeys(flow.targets):
            edges[target] = edges.get(target, 0) + 1
    for operator in graph.operators:
        if edges.get(operator.name, 0) > 1:
            yield f"operator {quote(operator.name)}", operator.span


def _meta(entry: str) -> Callable[[ServingGraph], Iterator[Use]]:
    def uses(graph: ServingGraph) -> Iterator[Use]:
        if getattr(graph, {"platform": "platforms"}.get(entry, entry)):
            yield f"the graph's {entry}", graph.span_of(entry)

    return uses


def _graph(operators: str, flows: str = "", meta: str = "") -> str:
    text = f"meta\nname Probe\nversion 1\n{meta}\n{operators}\n"
    return text + (f"logical flow\n{flows}\n" if flows else "")


_ABCD = "\n".join(f"operator {name}\nimage team/{name.lower()}:1" for name in "ABCD")
_ABC = "\n".join(f"operator {name}\nimage team/{name.lower()}:1" for name in "ABC")
_AB = "\n".join(f"operator {name}\nimage team/{name.lower()}:1" for name in "AB")


def _of_factor(
    word: str, value: str, given: Callable[[Operator], bool], more: str = ""
) -> Construct:
    """A factor of the second of two operators; ``more`` are factors that it needs."""
    flow = "distribute\nA -> B"
    return Construct(
        word,
        _factor(word, given),
        _graph(f"{_AB}\n{more}\n{word} {value}", flow),
        _graph(f"{_AB}\n{more}", flow),
    )


CONSTRUCTS: tuple[Construct, ...] = (
    Construct(
        "distribute to several",
        _fan_out,
        _graph(_ABCD, "distribute\nA -> B, C\nreduce\nB, C -> D"),
        _graph(_ABCD, "distribute\nA -> B\nB -> C\nC -> D"),
    ),
    Construct(
        "reduce",
        _flows(FlowKind.REDUCE),
        _graph(_ABCD, "distribute\nA -> B, C\nreduce\nB, C -> D"),
        _graph(_ABCD, "distribute\nA -> B\nB -> C\nC -> D"),
    ),
    Construct(
        "switch",
        _flows(FlowKind.SWITCH),
        _graph(_ABC, 'switch\nA -> B when label == "x" and score >= 0.5, C otherwise'),
        _graph(_ABC, "distribute\nA -> B\nB -> C"),
    ),
    Construct(
        "split",
        _flows(FlowKind.SPLIT),
        _graph(_ABC, "split\nA -> B 90%, C 10%"),
        _graph(_ABC, "distribute\nA -> B\nB -> C"),
    ),
    Construct(
        "several exits",
        _exits,
        _graph(_ABC, "distribute\nA -> B, C"),
        _graph(_ABC, "distribute\nA -> B\nB -> C"),
    ),
    Construct(
        "several inputs",
        _several_inputs,
        _graph(_ABCD, "distribute\nA -> B, C\nB -> D\nC -> D"),
        _graph(_ABCD, "distribute\nA -> B, C\nB -> D"),
    ),
    _of_factor("version", "7", lambda o: o.version != "1"),
    _of_factor("batch", "32", lambda o: o.batch != 1),
    _of_factor("batch dynamic", "32", lambda o: o.dynamic),
    _of_factor("stateful", "Yes", lambda o: o.stateful),
    _of_factor("wait", "5ms", lambda o: bool(o.wait), "batch 8"),
    _of_factor("latency", "50ms", lambda o: o.latency is not None, "batch dynamic 8"),
    _of_factor("timeout", "2s", lambda o: o.timeout is not None),
    _of_factor("retries", "2", lambda o: bool(o.retries)),
    _of_factor("replicas", "3", lambda o: o.replicas != 1),
    Construct(
        "backup",
        _factor("backup", lambda o: bool(o.backup)),
        _graph(f"{_AB}\nstateful Yes\nbackup 1", "distribute\nA -> B"),
        _graph(f"{_AB}\nstateful Yes\nbackup 0", "distribute\nA -> B"),
    ),
    _of_factor("cpu", "0.5", lambda o: o.cpu is not None),
    _of_factor("memory", "512MiB", lambda o: o.memory is not None),
    _of_factor("gpu", "1", lambda o: bool(o.gpu)),
    _of_factor("host", "gpu-box", lambda o: o.host is not None),
    _of_factor("env", "LANG=en", lambda o: bool(o.env)),
    _of_factor("input", "fp32[3x224x224]", lambda o: o.input is not None),
    _of_factor("output", "fp32[10]", lambda o: o.output is not None),
    _of_factor("entrypoint", "models.b:B", lambda o: o.entrypoint is not None),
    _of_factor("train", "models.b:train, epochs 3", lambda o: o.training is not None),
    Construct(
        "description",
        _meta("description"),
        _graph(_AB, "distribute\nA -> B", "description What it does"),
        _graph(_AB, "distribute\nA -> B"),
    ),
    Construct(
        "owner",
        _meta("owner"),
        _graph(_AB, "distribute\nA -> B", "owner speech team"),
        _graph(_AB, "distribute\nA -> B"),
    ),
    Construct(
        "tags",
        _meta("tags"),
        _graph(_AB, "distribute\nA -> B", "tags speech, nlp"),
        _graph(_AB, "distribute\nA -> B"),
    ),
    Construct(
        "schedule",
        _meta("schedule"),
        _graph(_AB, "distribute\nA -> B", "schedule @daily"),
        _graph(_AB, "distribute\nA -> B"),
    ),
)
"""In the order of the manual. ``platform`` and ``engine`` say where a graph is compiled to and run,
and are no matter of a target."""
