"""Graphs written in Python.

>>> graph = (
...     udgl.GraphBuilder("canary", "1", owner="speech team")
...     .operator("Router", image="demo/router:v1", batch=32, wait="5ms")
...     .operator("v1", image="demo/model:v1", memory="2GB", env={"LANG": "en"})
...     .operator("v2", image="demo/model:v2", memory="2GB", env={"LANG": "en"})
...     .split("Router", {"v1": 90, "v2": 10})
...     .build()
... )
>>> print(udgl.dumps(graph))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from udgl.checks import check
from udgl.diagnostics import Diagnostic, Severity, UdglError, quote
from udgl.graph import BatchStep, EarlyStop, Flow, FlowKind, Operator, ServingGraph, Training
from udgl.parser import terminal
from udgl.quantities import parse_duration, parse_size
from udgl.value_checks import check_flow, check_operator, check_values, is_form, shown

Cases = Mapping[str, "str | None"] | Iterable[tuple[str, "str | None"]]
"""Of each target of a switch the condition on the source's reply; ``"otherwise"``, or None, for all
other requests. Pairs where a target has several cases."""


def checked(graph: ServingGraph) -> ServingGraph:
    """``graph`` itself, where it passes all checks of the language; then
    ``parse(dumps(graph)) == graph``.

    Raises :class:`udgl.UdglError` with all that is wrong. Warnings alone are no reason to.
    """
    found = check_values(graph)
    # What the graph means cannot be told of values that are none.
    found = found or [d for d in check(graph) if d.severity is Severity.ERROR]
    if found:
        raise UdglError(graph.source, [_as_built(d) for d in found])
    return graph


class GraphBuilder:
    """A graph that grows call by call; each call gives back the builder.

    A call raises :class:`udgl.UdglError` at once for a value of a wrong type or form; :meth:`build`
    raises it for all that is wrong with the graph as a whole, as a file's is told. Operators and
    flows are in the order of the calls; a flow may name operators that come later.
    """

    def __init__(
        self,
        name: str,
        version: str | int = "1",
        *,
        description: str | None = None,
        owner: str | None = None,
        tags: Iterable[str] = (),
        schedule: str | None = None,
        platforms: Iterable[str] = (),
        engine: str | None = None,
        source: str = "<graph>",
    ) -> None:
        """``source`` is what messages call the graph."""
        self._graph = ServingGraph(
            name,
            _version(version),
            (),
            description=description,
            owner=owner,
            tags=_texts("tags", tags, source),
            schedule=schedule,
            platforms=_texts("platforms", platforms, source),
            engine=engine,
            source=source,
        )
        self._raise(check_values(self._graph))
        self._operators: dict[str, Operator] = {}
        self._flows: list[Flow] = []

    def operator(
        self,
        name: str,
        image: str = "",
        *,
        version: str | int = "1",
        batch: int = 1,
        dynamic: bool = False,
        stateful: bool = False,
        wait: str | float = 0.0,
        latency: str | float | None = None,
        timeout: str | float | None = None,
        retries: int = 0,
        replicas: int = 1,
        backup: int | None = None,
        cpu: float | None = None,
        memory: str | int | None = None,
        gpu: int = 0,
        host: str | None = None,
        env: Mapping[str, str] | None = None,
        input: str | None = None,  # noqa: A002
        output: str | None = None,
        entrypoint: str | None = None,
        train: str | None = None,
        epochs: int | None = None,
        batch_steps: Mapping[int, int] | None = None,
        learning_rate: float | None = None,
        early_stop: int | str | EarlyStop | None = None,
        dataset: str | None = None,
        params: Mapping[str, str] | None = None,
    ) -> GraphBuilder:
        """Declare an operator. Times are seconds, or texts such as ``"5ms"``; memory is bytes, or a
        text such as ``"2GB"``; the rest is as in :class:`udgl.Operator`.

        ``train`` is ``package.module:function``; what follows it says how: ``batch_steps`` has, for
        each epoch from which on the batch size changes, the new one; ``early_stop`` is a number of
        epochs, or a text such as ``"accuracy 3"``.
        """
        if name in self._operators:
            self._raise([Diagnostic("U106", f"operator {quote(name)} is declared twice")])
        operator = Operator(
            name,
            _version(version),
            image,
            batch,
            stateful,
            dynamic,
            self._quantity("wait", wait, "DURATION"),
            self._quantity("latency", latency, "DURATION"),
            self._quantity("timeout", timeout, "DURATION"),
            retries,
            replicas,
            backup,
            cpu,
            self._quantity("memory", memory, "SIZE"),
            gpu,
            host,
            self._pairs("env", env),
            input,
            output,
            entrypoint,
        )
        how: dict[str, Any] = {
            "epochs": epochs,
            "learning_rate": learning_rate,
            "early_stop": self._early_stop(early_stop),
            "dataset": dataset,
            "params": self._pairs("params", params) or None,
            "schedule": self._steps(batch, batch_steps) if batch_steps else None,
        }
        given = {word: value for word, value in how.items() if value is not None}
        if train is not None:
            given.setdefault("schedule", (BatchStep(1, batch),))
            operator = replace(operator, training=Training(train, **given))
        elif given:
            words = ", ".join(given).replace("schedule", "batch_steps")
            message = f"operator {quote(str(name))} is not trained, but has {words}"
            hint = 'say train="package.module:function", or leave it out'
            self._raise([Diagnostic("U129", message, None, hint)])
        self._raise(check_operator(operator))
        self._operators[name] = operator
        return self

    def distribute(self, source: str, *targets: str) -> GraphBuilder:
        """Every target gets the reply of ``source``."""
        return self._flow(Flow(FlowKind.DISTRIBUTE, (source,), targets))

    def reduce(self, sources: Iterable[str], target: str) -> GraphBuilder:
        """``target`` gets the replies of all sources together, in this order; of several calls for
        one target, the sources of all of them."""
        return self._flow(
            Flow(FlowKind.REDUCE, _texts("sources", sources, self._graph.source), (target,))
        )

    def switch(self, source: str, cases: Cases) -> GraphBuilder:
        """Each request goes to the first target whose condition on the reply of ``source`` holds:
        ``.switch("Detector", {"Fatigue": 'label == "drowsy"', "Echo": "otherwise"})``. Several
        calls for one source are one switch."""
        pairs = self._cases(cases, "conditions")
        conditions = tuple(None if each == "otherwise" else each for _, each in pairs)
        targets = tuple(target for target, _ in pairs)
        return self._flow(Flow(FlowKind.SWITCH, (source,), targets, conditions))

    def split(self, source: str, weights: Mapping[str, int]) -> GraphBuilder:
        """Each request goes to one target; ``weights`` has the percent of each, which sum to 100.
        Several calls for one source are one split."""
        pairs = self._cases(weights, "weights")
        targets = tuple(target for target, _ in pairs)
        shares = tuple(weight for _, weight in pairs)
        return self._flow(Flow(FlowKind.SPLIT, (source,), targets, weights=shares))

    def build(self) -> ServingGraph:
        """The graph; raises :class:`udgl.UdglError` with all that is wrong with it."""
        flows: dict[object, Flow] = {}
        for flow in self._flows:
            # As the lines of a file: those of one join, switch or split are one flow.
            key: object = flow.kind, flow.sources
            if flow.kind is FlowKind.DISTRIBUTE:
                key = len(flows)
            elif flow.kind is FlowKind.REDUCE:
                key = flow.kind, flow.targets
            first = flows.get(key)
            if first is None:
                flows[key] = flow
            elif flow.kind is FlowKind.REDUCE:
                flows[key] = replace(first, sources=first.sources + flow.sources)
            else:
                flows[key] = replace(
                    first,
                    targets=first.targets + flow.targets,
                    conditions=first.conditions + flow.conditions,
                    weights=first.weights + flow.weights,
                )
        graph = replace(
            self._graph, operators=tuple(self._operators.values()), flows=tuple(flows.values())
        )
        return checked(graph)

    def _flow(self, flow: Flow) -> GraphBuilder:
        self._raise(check_flow(flow))
        self._flows.append(flow)
        return self

    def _raise(self, found: Iterable[Diagnostic]) -> None:
        diagnostics = list(found)
        if diagnostics:
            raise UdglError(self._graph.source, diagnostics)

    def _quantity(self, word: str, value: Any, form: str) -> Any:
        """The number that a text such as ``"5ms"`` says; anything else as it is."""
        if not isinstance(value, str):
            return value
        number = None
        if is_form(value, form):
            number = parse_duration(value) if form == "DURATION" else parse_size(value)
        if number is None:
            hint = "such as 5ms, 1.5s, 2m or 1h" if form == "DURATION" else "such as 512MiB or 2GB"
            what = "a time" if form == "DURATION" else "an amount of memory"
            message = f"{word} {quote(value)} is not {what}"
            self._raise([Diagnostic("U013", message, None, hint)])
        return number

    def _pairs(self, word: str, values: Any) -> Any:
        if values is None:
            return ()
        if not isinstance(values, Mapping):
            message = f"{word} is not a mapping of names to texts: {shown(values)}"
            self._raise([Diagnostic("U013", message)])
        return tuple(values.items())

    def _cases(self, cases: Any, word: str) -> list[Any]:
        pairs = list(cases.items()) if isinstance(cases, Mapping) else cases
        if not isinstance(pairs, Iterable) or isinstance(pairs, str):
            pairs = [None]
        pairs = list(pairs)
        if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
            message = f"not a mapping of targets to {word}: {shown(cases)}"
            self._raise([Diagnostic("U013", message)])
        return pairs

    def _steps(self, batch: Any, steps: Any) -> tuple[BatchStep, ...]:
        pairs = self._pairs("batch_steps", steps)
        return (BatchStep(1, batch), *(BatchStep(epoch, size) for epoch, size in pairs))

    def _early_stop(self, value: Any) -> Any:
        if isinstance(value, str) and terminal("EARLY_STOP").match(f"{value}\n"):
            *metric, patience = value.split()
            return EarlyStop(int(patience[:12]), *metric)
        if isinstance(value, str):
            message = f"early_stop {quote(value)} is no number of epochs, with or without a metric"
            self._raise([Diagnostic("U013", message, None, "such as 3, or 'accuracy 3'")])
        return EarlyStop(value) if type(value) is int else value


def _version(version: Any) -> Any:
    return str(version) if type(version) is int else version


def _texts(word: str, values: Any, source: str) -> tuple[str, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        message = f"{word} is not a list of texts: {shown(values)}"
        raise UdglError(source, [Diagnostic("U013", message, None, "put it into a list")])
    return tuple(values)


def _as_built(diagnostic: Diagnostic) -> Diagnostic:
    """The finding as it is told of a graph without a text: it has no line, and nothing to write
    below a section's word."""
    hint = diagnostic.hint
    if diagnostic.code in _HINTS:
        hint = _HINTS[diagnostic.code]
    return replace(diagnostic, span=None, hint=hint)


_HINTS = {
    "U101": "a graph's first argument is its name",
    "U102": "a graph's second argument is its version",
    "U105": "declare one with .operator(name, image)",
    "U108": 'say image="repository/name:tag", or entrypoint="package.module:Class"',
    "U111": "name it in a flow, or leave it out",
    "U112": "one .distribute for each source; for a join, .reduce(sources, target)",
    "U113": "one .reduce for each target",
    "U114": "use .distribute, or name the other sources",
    "U115": None,
    "U121": "use .distribute, or add the other cases",
    "U137": None,
}
"""Code to the hint of a graph that was built in Python, where that of a text says how to write."""
