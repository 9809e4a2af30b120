"""What changes from one graph to another: what deploying the second in place of the first would do.

>>> print(difference(udgl.load("sentiment.udgl"), udgl.load("sentiment4.udgl")))
graph SentiAnalyzer: version 3 -> 4
~ operator Tokenizer: version 1 -> 2, batch 32 -> dynamic 64, env LANG en -> de
+ operator Speller: version 1, image sent/speller:v1, batch 1, stateful No
- split Router -> v1 90%, v2 10%
+ split Router -> v1 50%, v2 50%

Graphs are compared by what they mean: how a file is laid out, and the order of operators and flows,
make no difference. The order of a join's sources does, as its model is handed their replies in it,
and so does the order of a switch's cases.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from udgl.diagnostics import quote
from udgl.graph import Flow, FlowKind, Operator, ServingGraph
from udgl.graph_json import flow_json, operator_json
from udgl.writing import factor_texts, flow_text

_ABSENT = {"wait": "0", "retries": "0", "replicas": "1", "gpu": "0"}
"""What a factor that is not written says, in words; of others it is none."""

_NUMBERS = (
    "batch",
    "retries",
    "replicas",
    "backup",
    "gpu",
    "wait",
    "latency",
    "timeout",
    "cpu",
    "memory",
)
"""The factors whose values are numbers: seconds, bytes, counts."""


@dataclass(frozen=True, slots=True)
class Change:
    """One factor of an operator, or entry of ``meta``, that is another one now.

    ``what`` is the language's word (of a variable ``env NAME``, of a parameter ``param NAME``).
    ``before`` and ``after`` are plain values: seconds, bytes, counts, text; None is none. A batch
    limit that is more than a number (dynamic, or a training's schedule) is text. ``words`` are the
    two as the language writes them.
    """

    what: str
    before: Any
    after: Any
    words: tuple[str, str]

    def __str__(self) -> str:
        return f"{self.what} {self.words[0]} -> {self.words[1]}"

    def as_json(self) -> dict[str, Any]:
        """The change as JSON's values."""
        return {"what": self.what, "before": _plain(self.before), "after": _plain(self.after)}


@dataclass(frozen=True, slots=True)
class OperatorChange:
    """An operator that both graphs have and that differs."""

    name: str
    changes: tuple[Change, ...]

    def __str__(self) -> str:
        return f"operator {self.name}: {', '.join(map(str, self.changes))}"


@dataclass(frozen=True, slots=True)
class FlowLine:
    """A flow as compared: one edge of a distribute; the whole of a reduce, with its sources in
    order, of a switch, with its cases in order, or of a split."""

    kind: FlowKind
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    conditions: tuple[str | None, ...] = ()
    weights: tuple[int, ...] = ()

    def __str__(self) -> str:
        # A name holds no arrow, a condition may.
        sources, _, targets = flow_text(self._flow()).partition(" → ")
        return f"{self.kind.value} {sources} -> {_safe(targets)}"

    def as_json(self) -> dict[str, Any]:
        """The flow as JSON's values."""
        return flow_json(self._flow())

    def _flow(self) -> Flow:
        return Flow(self.kind, self.sources, self.targets, self.conditions, self.weights)


@dataclass(frozen=True, slots=True)
class Difference:
    """What changes from the graph ``old`` to the graph ``new``; false where nothing does.

    ``meta`` are changes of the graph's own entries, ``changed`` operators of both, in the new
    graph's order. :func:`str` is for people: a line for each thing that changes.
    """

    old: str
    new: str
    meta: tuple[Change, ...] = ()
    added: tuple[Operator, ...] = ()
    removed: tuple[Operator, ...] = ()
    changed: tuple[OperatorChange, ...] = ()
    flows_added: tuple[FlowLine, ...] = ()
    flows_removed: tuple[FlowLine, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.meta or self.changed or self.topology)

    @property
    def topology(self) -> bool:
        """Whether operators or flows come or go, so that a deployed graph cannot be changed while
        it serves."""
        return bool(self.added or self.removed or self.flows_added or self.flows_removed)

    def __str__(self) -> str:
        return "\n".join(self._lines()) or f"graph {self.new}: no difference"

    def _lines(self) -> Iterator[str]:
        if self.meta:
            yield f"graph {self.new}: {', '.join(map(str, self.meta))}"
        for change in self.changed:
            yield f"~ {change}"
        for sign, operators in (("-", self.removed), ("+", self.added)):
            for operator in operators:
                factors = (
                    _safe(f"{word} {text}".lstrip()) for word, text in factor_texts(operator)
                )
                yield f"{sign} operator {operator.name}: {', '.join(factors)}"
        for sign, flows in (("-", self.flows_removed), ("+", self.flows_added)):
            for flow in flows:
                yield f"{sign} {flow}"

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON's values, for programs."""
        return {
            "old": self.old,
            "new": self.new,
            "meta": [change.as_json() for change in self.meta],
            "operators": {
                "added": [operator_json(operator) for operator in self.added],
                "removed": [operator_json(operator) for operator in self.removed],
                "changed": [
                    {"name": one.name, "changes": [change.as_json() for change in one.changes]}
                    for one in self.changed
                ],
            },
            "flows": {
                "added": [flow.as_json() for flow in self.flows_added],
                "removed": [flow.as_json() for flow in self.flows_removed],
            },
        }


def difference(old: ServingGraph, new: ServingGraph) -> Difference:
    """What changes from ``old`` to ``new``. Takes time in proportion to the graphs' size."""
    before = {operator.name: operator for operator in old.operators}
    after = {operator.name: operator for operator in new.operators}
    old_flows, new_flows = _flows(old), _flows(new)
    return Difference(
        old.name,
        new.name,
        meta=tuple(_entry_changes(old, new)),
        added=tuple(operator for name, operator in after.items() if name not in before),
        removed=tuple(operator for name, operator in before.items() if name not in after),
        changed=tuple(
            OperatorChange(name, changes)
            for name, operator in after.items()
            if name in before and (changes := tuple(_factor_changes(before[name], operator)))
        ),
        flows_added=tuple(flow for key, flow in new_flows.items() if key not in old_flows),
        flows_removed=tuple(flow for key, flow in old_flows.items() if key not in new_flows),
    )


def _entry_changes(old: ServingGraph, new: ServingGraph) -> Iterator[Change]:
    for word, before, after in (
        ("name", old.name, new.name),
        ("version", old.version, new.version),
        ("description", old.description, new.description),
        ("owner", old.owner, new.owner),
        ("tags", old.tags, new.tags),
        ("schedule", old.schedule, new.schedule),
        ("platform", old.platforms, new.platforms),
        ("engine", old.engine, new.engine),
    ):
        if before != after:
            yield Change(word, before, after, (_entry(before), _entry(after)))


def _factor_changes(old: Operator, new: Operator) -> Iterator[Change]:
    if old == new:
        return
    before, after = _factors(old), _factors(new)
    # The new one's order, and what it has no more at the end.
    for word in (*after, *(word for word in before if word not in after)):
        words = before.get(word, _absent(word)), after.get(word, _absent(word))
        if words[0] == words[1]:
            continue
        yield Change(
            word,
            _value(old, word, before),
            _value(new, word, after),
            (_safe(words[0]), _safe(words[1])),
        )


def _factors(operator: Operator) -> dict[str, str]:
    """The operator's factors by what is compared: each variable and parameter by its name, a batch
    schedule whole."""
    found: dict[str, str] = {}
    for word, text in factor_texts(operator):
        if not word:
            found["batch"] += f", {text}"
        elif word in ("env", "param"):
            name, _, value = text.partition("=")
            found[f"{word} {name}"] = value or '""'
        else:
            found[word] = text
    return found


def _absent(word: str) -> str:
    return _ABSENT.get(word, "none")


def _value(operator: Operator, word: str, words: dict[str, str]) -> Any:
    """The plain value of a factor."""
    if word in ("env", "param") or word.startswith(("env ", "param ")):
        kind, _, name = word.partition(" ")
        training = operator.training
        pairs = operator.env if kind == "env" else () if training is None else training.params
        return dict(pairs).get(name)
    if word == "batch" and not words["batch"].isdecimal():
        return words["batch"]
    if word in _NUMBERS:
        return getattr(operator, word)
    if word == "stateful":
        return operator.stateful
    training = operator.training
    if training is not None and word == "epochs":
        return training.epochs
    if training is not None and word == "learning-rate":
        return training.learning_rate
    if training is not None and word == "dataset":
        return training.dataset
    return words.get(word)


def _flows(graph: ServingGraph) -> dict[FlowLine, FlowLine]:
    """What is compared of each edge of the distributes, and of each other flow whole, with how it
    is told."""
    found: dict[FlowLine, FlowLine] = {}
    for flow in graph.flows:
        if flow.kind is FlowKind.DISTRIBUTE:
            found.update((line, line) for line in _edges(flow))
        else:
            line = FlowLine(flow.kind, flow.sources, flow.targets, flow.conditions, flow.weights)
            found[_compared(line)] = line
    return found


def _edges(flow: Flow) -> Iterator[FlowLine]:
    for source in flow.sources:
        for target in flow.targets:
            yield FlowLine(flow.kind, (source,), (target,))


def _compared(line: FlowLine) -> FlowLine:
    """The line in the one form that all lines of its meaning have."""
    if line.kind is FlowKind.SWITCH:
        conditions = tuple(map(_canonical, line.conditions))
        return FlowLine(line.kind, line.sources, line.targets, conditions)
    if line.kind is FlowKind.SPLIT:
        shares = sorted(zip(line.targets, line.weights, strict=True))
        targets = tuple(target for target, _ in shares)
        return FlowLine(line.kind, line.sources, targets, (), tuple(w for _, w in shares))
    return line


def _canonical(condition: str | None) -> str | None:
    from earg.condition import ConditionError, parse_condition

    try:
        return None if condition is None else str(parse_condition(condition))
    except ConditionError:
        # Of a graph that was built in Python, and that no check has seen.
        return condition


def _entry(value: str | Iterable[str] | None) -> str:
    """An entry's value as a graph's author writes it."""
    if value is None or value == ():
        return "none"
    if isinstance(value, str):
        return value if value.isprintable() and " " not in value and value else quote(value)
    return f"[{', '.join(map(_entry, value))}]"


def _safe(text: str) -> str:
    """``text``, or what a terminal can show of it."""
    return text if text.isprintable() else quote(text)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
