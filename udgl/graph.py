"""The serving graph: what a UDGL file means, as frozen values."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import networkx

__all__ = [
    "BatchStep",
    "EarlyStop",
    "Flow",
    "FlowKind",
    "Operator",
    "ServingGraph",
    "Span",
    "Training",
]


def _readable(value: Any) -> str:
    """A ``repr`` that leaves out what is as it is without being given, and that ``eval`` reads
    after ``from udgl.graph import *``."""
    return f"{type(value).__name__}({', '.join(_arguments(value))})"


def _arguments(value: Any) -> list[str]:
    """The arguments that make ``value``, one of this module's: those without a default by place,
    the others by name, where they differ from it."""
    return [
        repr(given) if each.default is MISSING else f"{each.name}={given!r}"
        for each in fields(value)
        for given in (getattr(value, each.name),)
        if each.repr and (each.default is MISSING or given != each.default)
    ]


class FlowKind(Enum):
    """How requests travel along the edges of a flow."""

    DISTRIBUTE = "distribute"
    """Fan-out: every target gets the source's reply."""

    REDUCE = "reduce"
    """Join: the target gets the replies of all sources of one request, in the file's order."""

    SWITCH = "switch"
    """Choice by the reply: each request goes to the first target whose condition holds."""

    SPLIT = "split"
    """Choice by weight: each request goes to one target, in the given shares."""

    def __repr__(self) -> str:
        return f"FlowKind.{self.name}"


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
class BatchStep:
    """From epoch ``epoch`` (the first is 1) on, a training takes ``batch`` samples at once."""

    epoch: int
    batch: int


@dataclass(frozen=True, slots=True)
class EarlyStop:
    """Training ends where ``metric`` has not become better for ``patience`` epochs.

    Less is better of a metric with ``loss`` or ``error`` in its name, more of any other.
    """

    patience: int
    metric: str = "loss"

    @property
    def less_is_better(self) -> bool:
        """Whether a smaller value of the metric is the better one."""
        return any(word in self.metric.lower() for word in ("loss", "error"))


@dataclass(frozen=True, slots=True, repr=False)
class Training:
    """How an operator's model is trained before it serves.

    ``function`` is ``package.module:function``. ``schedule`` holds the batch size in samples by
    epoch: its first step is of epoch 1, the epochs rise. ``params`` are (name, value) pairs of
    text that the function gets.
    """

    function: str
    epochs: int = 1
    schedule: tuple[BatchStep, ...] = (BatchStep(1, 1),)
    learning_rate: float | None = None
    early_stop: EarlyStop | None = None
    dataset: str | None = None
    params: tuple[tuple[str, str], ...] = ()

    __repr__ = _readable

    def batch_at(self, epoch: int) -> int:
        """The batch size that the schedule says for ``epoch``, which counts from 1."""
        return [step.batch for step in self.schedule if step.epoch <= epoch][-1]


@dataclass(frozen=True, slots=True, repr=False)
class Operator:
    """A vertex of the graph as declared, with the values of ``defaults`` where it has none itself.

    ``span`` is where the name is declared, ``spans`` has (factor, span of its value) for each
    factor that the operator's own text gives; both take no part in comparisons.
    """

    name: str
    version: str
    image: str = ""
    """The container image that its model runs from; empty where there is an ``entrypoint``."""

    batch: int = 1
    """The batch limit in requests, at least 1; where it is ``dynamic``, the most it can become."""

    stateful: bool = False
    """Whether the model keeps state from request to request."""

    dynamic: bool = False
    """Whether the batch limit adapts to the load."""

    wait: float = 0.0
    """Seconds that a batch may wait to fill."""

    latency: float | None = None
    """Seconds that a batch may compute: the objective that a dynamic batch limit steers by."""

    timeout: float | None = None
    """Seconds that the model may take for one batch."""

    retries: int = 0
    """How often a batch that failed is computed again."""

    replicas: int = 1
    """Models that share the operator's requests."""

    backup: int | None = None
    """Backups of a stateful operator, 0 or 1; None is what the platform does by itself."""

    cpu: float | None = None
    """CPU cores of one model."""

    memory: int | None = None
    """Bytes of memory of one model."""

    gpu: int = 0
    """GPUs of one model."""

    host: str | None = None
    """Label of the hosts that it may be placed on."""

    env: tuple[tuple[str, str], ...] = ()
    """Environment variables of the model, (name, value)."""

    input: str | None = None
    """Type of a request: text, json, bytes, a media type such as ``audio/wav``, or a tensor such
    as ``fp32[3x224x224]``."""

    output: str | None = None
    """Type of a reply, as ``input``."""

    entrypoint: str | None = None
    """``package.module:Class``, a Python model in place of an image or, where processes run
    without containers, beside it."""

    training: Training | None = None
    """How it is trained before it serves."""

    span: Span | None = field(default=None, compare=False, repr=False)
    spans: tuple[tuple[str, Span], ...] = field(default=(), compare=False, repr=False)

    __repr__ = _readable

    def span_of(self, factor: str) -> Span | None:
        """Where the value of ``factor`` (the language's word, such as ``learning-rate``) stands,
        else where the operator is declared."""
        for name, span in self.spans:
            if name == factor:
                return span
        return self.span


@dataclass(frozen=True, slots=True, repr=False)
class Flow:
    """One source and one or more targets (distribute, switch, split), or two or more sources and
    one target (reduce). The reduce lines of one target are one flow, and so are the switch lines
    and the split lines of one source; it stands where the first of them does.

    ``conditions`` has one for each target of a switch: the text of a condition on the source's
    reply (:mod:`earg.condition`), or None for ``otherwise``; a target may be named in several
    cases. ``weights`` has the percent of each target of a split. ``span`` is the (first) line's
    extent, ``name_spans`` has one span for each source and then one for each target, and
    ``case_spans`` one for each condition or weight; these take no part in comparisons.
    """

    kind: FlowKind
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    conditions: tuple[str | None, ...] = ()
    weights: tuple[int, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)
    name_spans: tuple[Span, ...] = field(default=(), compare=False, repr=False)
    case_spans: tuple[Span, ...] = field(default=(), compare=False, repr=False)

    __repr__ = _readable


@dataclass(frozen=True, slots=True, repr=False)
class ServingGraph:
    """One UDGL file: name, version, operators and flows, in the file's order.

    ``platforms`` are the targets (:mod:`udgl.targets`) to compile to beside EARG, ``engine`` is
    what the nodes run on. ``source`` is the file's name for messages; it and the spans (of the name
    and the version in ``meta``) take no part in comparisons.
    """

    name: str
    version: str
    operators: tuple[Operator, ...]
    flows: tuple[Flow, ...] = ()
    description: str | None = None
    owner: str | None = None
    tags: tuple[str, ...] = ()
    schedule: str | None = None
    platforms: tuple[str, ...] = ()
    engine: str | None = None
    source: str = field(default="<graph>", compare=False, repr=False)
    span: Span | None = field(default=None, compare=False, repr=False)
    version_span: Span | None = field(default=None, compare=False, repr=False)
    spans: tuple[tuple[str, Span], ...] = field(default=(), compare=False, repr=False)

    def __repr__(self) -> str:
        # A line for each operator and flow: a graph of some size could not be read otherwise.
        operators, flows = (
            "(" + "".join(f"\n        {part!r}," for part in parts) + ("\n    )" if parts else ")")
            for parts in (self.operators, self.flows)
        )
        more = _arguments(self)
        after = [text for text in more[3:] if not text.startswith("flows=")]
        lines = [*more[:2], operators, f"flows={flows}", *after]
        return "ServingGraph(" + "".join(f"\n    {line}," for line in lines) + "\n)"

    def span_of(self, entry: str) -> Span | None:
        """Where the value of the entry stands, else that of the graph's name."""
        return dict(self.spans).get(entry, self.span)

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
        """A new DiGraph: vertices are operator names (attribute ``operator``), edges carry ``kind``
        (a :class:`FlowKind`), those of a switch ``conditions`` (the texts of the cases that lead
        to the target, None for ``otherwise``), those of a split ``weight`` (percent)."""
        import networkx

        graph: networkx.DiGraph[str] = networkx.DiGraph(name=self.name, version=self.version)
        for operator in self.operators:
            graph.add_node(operator.name, operator=operator)
        for flow in self.flows:
            for source in flow.sources:
                for number, target in enumerate(flow.targets):
                    graph.add_edge(source, target, kind=flow.kind)
                    if flow.conditions:
                        edge = graph.edges[source, target]
                        edge["conditions"] = (
                            *edge.get("conditions", ()),
                            flow.conditions[number],
                        )
                    if flow.weights:
                        graph.edges[source, target]["weight"] = flow.weights[number]
        return graph
