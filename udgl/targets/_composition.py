"""Graphs as steps in series and in parallel, for platforms that compose services in that way.

A fan-out whose branches all meet in one join, or in no operator at all, is a part with branches; so
is a choice whose branches meet again, or do not. A graph of which that cannot be said (an edge that
leads from one branch into another, or past a join) has no such composition.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from udgl.diagnostics import listing, quote
from udgl.graph import Flow, FlowKind, ServingGraph, Span

DEEPEST = 100
"""Parts within parts are composed to this depth."""


class PartKind(Enum):
    """What happens to a request at a part."""

    ALL = "all"
    """Every branch gets it; the replies go on together."""

    SWITCH = "switch"
    """The first branch whose condition holds gets it."""

    SPLIT = "split"
    """One branch gets it, by weight."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A way through a part; ``steps`` is empty where the part's reply goes on as it is."""

    steps: tuple[Step, ...]
    condition: str | None = None
    weight: int | None = None


@dataclass(frozen=True, slots=True)
class Parallel:
    """Branches that start from the operator before; ``flow`` is the one that says so."""

    kind: PartKind
    branches: tuple[Branch, ...]
    flow: Flow


Step = str | Parallel
"""The name of an operator, or a part with branches."""


class CompositionError(Exception):
    """The graph has no such composition; ``message`` is a sentence, ``span`` where."""

    def __init__(self, message: str, span: Span | None) -> None:
        super().__init__(message)
        self.message = message
        self.span = span


def compose(graph: ServingGraph) -> tuple[Step, ...]:
    """The graph's steps in series, from its entry. Raises :class:`CompositionError`. Takes time in
    proportion to the graph, but for parts within parts."""
    return _Composer(graph).between(graph.entry().name, None)


class _Composer:
    def __init__(self, graph: ServingGraph) -> None:
        self._graph = graph
        self._out: dict[str, list[str]] = {operator.name: [] for operator in graph.operators}
        self._joins: dict[str, Flow] = {}
        self._sending: dict[str, Flow] = {}
        self._sent: dict[str, set[str]] = {}
        for source, target in graph.edges():
            self._out[source].append(target)
        for flow in graph.flows:
            if flow.kind is FlowKind.REDUCE:
                self._joins[flow.targets[0]] = flow
            else:
                self._sending.setdefault(flow.sources[0], flow)
                for target in flow.targets:
                    self._sent.setdefault(flow.sources[0], set()).add(target)
        self._meeting = self._find_meetings()
        self._meetings = set(self._meeting.values())
        self._seen: set[str] = set()
        self._depth = 0

    def between(self, start: str, stop: str | None) -> tuple[Step, ...]:
        """The steps from ``start`` up to ``stop``, which is not one of them."""
        steps: list[Step] = []
        name: str | None = start
        while name is not None and name != stop:
            if name in self._seen:
                operator = self._graph.operator(name)
                message = f"{quote(name)} gets requests along ways that do not meet in one join"
                raise CompositionError(message, operator.span)
            self._seen.add(name)
            steps.append(name)
            targets = self._out[name]
            if len(targets) <= 1 and not self._chooses(name):
                self._check_series(name, targets)
                name = targets[0] if targets else None
                continue
            meeting = self._meeting.get(name)
            steps.append(self._parallel(name, meeting))
            name = meeting
        return tuple(steps)

    def _chooses(self, name: str) -> bool:
        flow = self._sending.get(name)
        return flow is not None and flow.kind in (FlowKind.SWITCH, FlowKind.SPLIT)

    def _check_series(self, name: str, targets: list[str]) -> None:
        for target in targets:
            join = self._joins.get(target)
            if join is not None and target not in self._meetings:
                message = f"the sources of {quote(target)} do not start at one operator"
                raise CompositionError(message, join.span)

    def _parallel(self, name: str, meeting: str | None) -> Parallel:
        flow = self._sending.get(name)
        targets = self._out[name]
        if flow is None or set(targets) - self._sent[name]:
            message = (
                f"{quote(name)} flows into {listing(targets)}, and into a join as well; "
                "there it would have to pass its own reply on"
            )
            raise CompositionError(message, self._graph.operator(name).span)
        kind = _KINDS[flow.kind]
        join = self._joins.get(meeting) if meeting is not None else None
        branches = []
        if kind is PartKind.ALL:
            for target in targets:
                if target == meeting:
                    message = f"{quote(name)} flows into {quote(target)} past what is before it"
                    raise CompositionError(message, flow.span)
                branches.append(Branch(self._within(target, meeting)))
            if meeting is not None and (join is None or len(join.sources) != len(targets)):
                message = (
                    f"{quote(meeting)} gets the replies of what {quote(name)} distributes to, "
                    "but not as one join"
                )
                raise CompositionError(message, self._graph.operator(meeting).span)
            if join is not None:
                branches = self._in_order(branches, join)
            return Parallel(kind, tuple(branches), flow)
        if join is not None:
            message = f"the join {quote(join.targets[0])} would wait for branches of a {kind.value}"
            raise CompositionError(message, join.span)
        # Cases with the same target are ways to the same steps.
        steps = {target: self._branch(target, meeting) for target in dict.fromkeys(flow.targets)}
        for number, target in enumerate(flow.targets):
            condition = flow.conditions[number] if flow.conditions else None
            weight = flow.weights[number] if flow.weights else None
            branches.append(Branch(steps[target], condition, weight))
        return Parallel(kind, tuple(branches), flow)

    def _branch(self, target: str, meeting: str | None) -> tuple[Step, ...]:
        return () if target == meeting else self._within(target, meeting)

    def _within(self, target: str, meeting: str | None) -> tuple[Step, ...]:
        self._depth += 1
        if self._depth > DEEPEST:
            message = f"parts within parts are more than {DEEPEST} deep here"
            raise CompositionError(message, self._graph.operator(target).span)
        steps = self.between(target, meeting)
        self._depth -= 1
        return steps

    @staticmethod
    def _in_order(branches: list[Branch], join: Flow) -> list[Branch]:
        """The branches in the order in which the join names their last operators."""
        position = {source: number for number, source in enumerate(join.sources)}

        def last(branch: Branch) -> int:
            step = branch.steps[-1]
            return position.get(step, len(position)) if isinstance(step, str) else len(position)

        return sorted(branches, key=last)

    def _find_meetings(self) -> dict[str, str]:
        """For each operator the first one that all ways from it to an exit lead through: its
        immediate post-dominator."""
        import networkx

        # No name: names start with a letter.
        exit_ = ""
        turned: networkx.DiGraph[str] = networkx.DiGraph()
        turned.add_nodes_from(self._out)
        for name, targets in self._out.items():
            for target in targets or [exit_]:
                turned.add_edge(target, name)
        found = networkx.immediate_dominators(turned, exit_)
        return {
            name: meeting
            for name, meeting in found.items()
            if exit_ not in (name, meeting) and meeting != name
        }


_KINDS = {
    FlowKind.DISTRIBUTE: PartKind.ALL,
    FlowKind.SWITCH: PartKind.SWITCH,
    FlowKind.SPLIT: PartKind.SPLIT,
}
