"""What changes from one graph to another: what deploying the second in place of the first would do.

>>> print(difference(udgl.load("sentiment.udgl"), udgl.load("sentiment4.udgl")))
graph SentiAnalyzer: version 3 -> 4
~ operator Tokenizer: version 1 -> 2, batch 32 -> 64
+ operator Speller: version 1, image sent/speller:v1, batch 1, stateful No
+ distribute Tokenizer -> Speller

Graphs are compared by what they mean: how a file is laid out, and the order of operators and flows,
make no difference. The order of a join's sources does, as its model is handed their replies in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

from udgl.diagnostics import quote
from udgl.graph import Flow, FlowKind, Operator, ServingGraph
from udgl.writing import factor_texts


@dataclass(frozen=True, slots=True)
class Change:
    """One factor of an operator, or entry of ``meta``, that is another one now. ``before`` and
    ``after`` are its values as :mod:`udgl.graph` has them; None is none."""

    what: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.what} {_shown(self.before)} -> {_shown(self.after)}"

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
    """A flow as compared: one edge of a distribute, the whole of a reduce, with its sources in
    order."""

    kind: FlowKind
    sources: tuple[str, ...]
    targets: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind.value} {', '.join(self.sources)} -> {', '.join(self.targets)}"

    def as_json(self) -> dict[str, Any]:
        """The flow as JSON's values."""
        return {
            "kind": self.kind.value,
            "sources": list(self.sources),
            "targets": list(self.targets),
        }


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
                factors = (f"{word} {text}".lstrip() for word, text in factor_texts(operator))
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
                "added": [_operator_json(operator) for operator in self.added],
                "removed": [_operator_json(operator) for operator in self.removed],
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
    old_flows, new_flows = dict.fromkeys(_flows(old)), dict.fromkeys(_flows(new))
    return Difference(
        old.name,
        new.name,
        meta=_changes(_values(old), _values(new)),
        added=tuple(operator for name, operator in after.items() if name not in before),
        removed=tuple(operator for name, operator in before.items() if name not in after),
        changed=tuple(
            OperatorChange(name, changes)
            for name, operator in after.items()
            if name in before and (changes := _changes(_values(before[name]), _values(operator)))
        ),
        flows_added=tuple(flow for flow in new_flows if flow not in old_flows),
        flows_removed=tuple(flow for flow in old_flows if flow not in new_flows),
    )


def _values(one: Operator | ServingGraph) -> dict[str, Any]:
    """What counts of an operator besides its name, or of a graph besides its parts, by name: the
    fields that take part in comparisons."""
    apart = ("operators", "flows") if isinstance(one, ServingGraph) else ("name",)
    return {
        field.name: getattr(one, field.name)
        for field in fields(one)
        if field.compare and field.name not in apart
    }


def _changes(before: dict[str, Any], after: dict[str, Any]) -> tuple[Change, ...]:
    return tuple(
        Change(name, before[name], after[name]) for name in after if before[name] != after[name]
    )


def _flows(graph: ServingGraph) -> Iterator[FlowLine]:
    """Each edge of the distributes, and each other flow whole."""
    for flow in graph.flows:
        if flow.kind is FlowKind.DISTRIBUTE:
            yield from _edges(flow)
        else:
            yield FlowLine(flow.kind, flow.sources, flow.targets)


def _edges(flow: Flow) -> Iterator[FlowLine]:
    for source in flow.sources:
        for target in flow.targets:
            yield FlowLine(flow.kind, (source,), (target,))


def _shown(value: Any) -> str:
    """A value as a graph's author writes it."""
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, tuple):
        return "[" + ", ".join(_shown(part) for part in value) + "]"
    text = str(_plain(value))
    return text if text.isprintable() and " " not in text and text else quote(text)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Enum):
        return value.value
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def _operator_json(operator: Operator) -> dict[str, Any]:
    return {"name": operator.name} | {
        name: _plain(value) for name, value in _values(operator).items()
    }
