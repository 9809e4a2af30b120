"""The serving graph: what a UDGL file means, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import networkx


class FlowKind(Enum):
    """How requests travel along the edges of a flow."""

    DISTRIBUTE = "distribute"
    """Fan-out: every target gets the source's reply."""

    REDUCE = "reduce"
    """Join: the target gets the replies of all sources of one request, in the file's order."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where something stands in the source text.

    ``line`` and ``column`` are 1-based, ``end_column`` is one past the last character; columns
    count characters, not bytes. A span stays within one line.
    """

    line: int
    column: int
    end_column: int


@dataclass(frozen=True, slots=True)
class Operator:
    """A vertex of the graph as declared.

    ``batch`` is the batch limit in requests (at least 1). ``span`` is where the name is declared;
    it takes no part in comparisons.
    """

    name: str
    version: str
    image: str
    batch: int = 1
    stateful: bool = False
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Flow:
    """One source and one or more targets (distribute), or two or more sources and one target
    (reduce). The reduce lines of one target are one flow, which stands where the first one does.

    ``span`` is the (first) line's extent, ``name_spans`` has one span for each source and then one
    for each target; both take no part in comparisons.
    """

    kind: FlowKind
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    span: Span | None = field(default=None, compare=False, repr=False)
    name_spans: tuple[Span, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ServingGraph:
    """One UDGL file: name, version, operators and flows, in the file's order.

    ``source`` is the file's name for messages; it and the spans (of the name and the version in
    ``meta``) take no part in comparisons.
    """

    name: str
    version: str
    operators: tuple[Operator, ...]
    flows: tuple[Flow, ...] = ()
    description: str | None = None
    owner: str | None = None
    tags: tuple[str, ...] = ()
    schedule: str | None = None
    source: str = field(default="<graph>", compare=False, repr=False)
    span: Span | None = field(default=None, compare=False, repr=False)
    version_span: Span | None = field(default=None, compare=False, repr=False)

    def operator(self, name: str) -> Operator:
        """The operator called ``name``; raises KeyError."""
        for operator in self.operators:
            if operator.name == name:
                return operator
        raise KeyError(name)

    def edges(self) -> tuple[tuple[str, str], ...]:
        """Every (source, target) pair once, in the order the flows name them."""
        return tuple(
            dict.fromkeys((s, t) for flow in self.flows for s in flow.sources for t in flow.targets)
        )

    def entry(self) -> Operator:
        """The operator that nothing flows into. The graph must have passed the checks."""
        fed = {target for _, target in self.edges()}
        return next(operator for operator in self.operators if operator.name not in fed)

    def exits(self) -> tuple[Operator, ...]:
        """The operators that flow into nothing: their output is the graph's reply."""
        flowing = {source for source, _ in self.edges()}
        return tuple(o for o in self.operators if o.name not in flowing)

    def to_networkx(self) -> networkx.DiGraph[str]:
        """A new DiGraph: vertices are operator names (attribute ``operator``), edges carry
        ``kind`` (a :class:`FlowKind`)."""
        import networkx

        graph: networkx.DiGraph[str] = networkx.DiGraph(name=self.name, version=self.version)
        for operator in self.operators:
            graph.add_node(operator.name, operator=operator)
        for flow in self.flows:
            for source in flow.sources:
                for target in flow.targets:
                    graph.add_edge(source, target, kind=flow.kind)
        return graph
