"""Graphs as EARG static configs, with what EARG's engine takes beside them.

EARG expresses less than UDGL: every node but the first has exactly one dist input or exactly one
reduce input, and there is one exit. Its published proxies answer anything else wrongly or not at
all, so the rest is an error here, with the rewrite that fits where there is one. Source: EARG's
public release and runs of it; the format itself is in :mod:`earg.config`. What the config cannot
say stands in a second file (:mod:`earg.extras`): with choices in it a node may have several dist
inputs and a graph several exits, as long as each request comes along one of them. A third maps
images to the Python classes that the graph names (:mod:`earg.images`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from earg.config import ConfigError, Edge, NodeSpec, StaticConfig, check_static, write_static
from udgl.diagnostics import Diagnostic, Severity, UdglError, listing, quote
from udgl.engines import UNHEEDED_HINT, unheeded
from udgl.graph import Flow, FlowKind, Operator, ServingGraph
from udgl.targets import Compilation, OutputFile
from udgl.targets._earg_images import Images, assign_images, images_text
from udgl.targets._limits import Limit, in_order, limits

if TYPE_CHECKING:
    from earg.choosing import Choice
    from earg.extras import Extras

DESCRIPTION = "EARG's static config, with its extras and images where the graph needs them"

WRITES = "{name}-{version}.earg, and where need be .extras.yaml and .images.yaml"

CODES: dict[str, str] = {
    "EARG100": "EARG cannot express the graph, for the reason given.",
    "EARG101": "An operator has several distribute inputs, and a request comes along several.",
    "EARG102": "An operator has both distribute and reduce inputs.",
    "EARG103": "The graph has several exits, and a request reaches several.",
    "EARG104": "A '-' in the graph's name or version becomes '_' (a warning).",
    "EARG105": "A join would wait for ever for the other way of a switch or split.",
    "EARG106": "A value, or a switch, is beyond what EARG's engine takes.",
    "EARG107": "The local engine does not heed a factor; others do (a warning).",
    "EARG108": "One image would stand for several classes (a warning where it can be helped).",
    "EARG109": "What EARG's files have no place for (a note).",
}

_LIMITS = {
    **{
        word: Limit("EARG109", Severity.NOTE, "has no place in EARG's files; its DAG has it")
        for word in ("description", "owner", "tags", "schedule")
    },
    **{
        word: Limit("EARG109", Severity.NOTE, f"has a type of {word}; EARG's payloads have none")
        for word in ("input", "output")
    },
    "train": Limit(
        "EARG109", Severity.NOTE, "is trained by its DAG, before EARG is handed the model"
    ),
}


@dataclass(frozen=True, slots=True)
class Lowered:
    """A graph in EARG's own terms.

    ``extras`` is None where the graph needs none. ``classes`` has, by image, the entrypoint and
    the operator that gives it. ``diagnostics`` are warnings.
    """

    config: StaticConfig
    extras: Extras | None
    classes: Images
    diagnostics: tuple[Diagnostic, ...]

    @property
    def text(self) -> str:
        """The text of the config."""
        return write_static(self.config, choices=self.extras is not None)

    @property
    def extras_text(self) -> str:
        """The canonical text of the extras, one line of JSON; empty where there are none."""
        if self.extras is None:
            return ""
        from earg.extras import write_extras

        return write_extras(self.extras, self.config)


def compile_graph(graph: ServingGraph) -> Compilation:
    """The file ``{name}-{version}.earg``, with ``-`` in name and version written ``_``; beside it
    ``{name}-{version}.extras.yaml`` where the config cannot say all, and
    ``{name}-{version}.images.yaml`` where operators have entrypoints.

    Raises :class:`UdglError` where EARG cannot express ``graph``.
    """
    lowered = lower(graph)
    name, version = deployed_name(graph)
    files = [OutputFile(f"{name}-{version}.earg", lowered.text)]
    source = "" if graph.source.startswith("<") else PurePath(graph.source).name
    lines = f"; the lines are those of {source}" if source and graph.span else ""
    if lowered.extras is not None:
        from udgl.targets._earg_extras import extras_text

        head = f"# Extras of {graph.name} {graph.version}, beside its EARG config{lines}.\n"
        files.append(OutputFile(f"{name}-{version}.extras.yaml", extras_text(graph, head)))
    if lowered.classes:
        head = f"# The Python classes of {graph.name} {graph.version}, by image{lines}.\n"
        text = images_text(graph, lowered.classes, head)
        files.append(OutputFile(f"{name}-{version}.images.yaml", text))
    said = (*_renamings(graph), *lowered.diagnostics, *limits(graph, _LIMITS))
    return Compilation(tuple(files), in_order(said))


def deployed_name(graph: ServingGraph) -> tuple[str, str]:
    """Name and version as EARG knows them: its daemon splits ``name-version`` at the ``-``."""
    return graph.name.replace("-", "_"), graph.version.replace("-", "_")


def to_static(graph: ServingGraph) -> StaticConfig:
    """The config of :func:`lower`."""
    return lower(graph).config


def lower(graph: ServingGraph) -> Lowered:
    """The graph as EARG sees it: the entry first, else operators and edges in the file's order.

    The lines of a source are one dist edge, and those of a join one reduce edge. Raises
    :class:`UdglError` where EARG cannot express it.
    """
    image_of, classes, told = assign_images(graph)
    found = [*_check(graph), *(d for d in told if d.severity is Severity.ERROR)]
    if found:
        raise UdglError(graph.source, _in_order(found))
    config = _config(graph, image_of)
    extras = None
    if _needs_extras(graph):
        from udgl.targets._earg_extras import to_extras

        made, found = to_extras(graph, config)
        if found:
            raise UdglError(graph.source, _in_order(found))
        extras = made or None
    else:
        try:
            check_static(config)
        except ConfigError as error:
            raise UdglError(graph.source, [_impossible(error.message)]) from None
    return Lowered(config, extras, classes, tuple(_in_order([*told, *_unheeded(graph)])))


def _config(graph: ServingGraph, image_of: dict[str, str]) -> StaticConfig:
    fed = {target for flow in graph.flows for target in flow.targets}
    entry = next((o for o in graph.operators if o.name not in fed), None)
    first = [] if entry is None else [entry]
    operators = [*first, *(o for o in graph.operators if o is not entry)]
    index = {operator.name: i for i, operator in enumerate(operators, start=1)}
    dist: dict[int, list[int]] = {}
    reduce: dict[int, list[int]] = {}
    try:
        for flow in graph.flows:
            sources, targets = [index[s] for s in flow.sources], [index[t] for t in flow.targets]
            if flow.kind is FlowKind.REDUCE:
                for target in targets:
                    reduce.setdefault(target, []).extend(sources)
            else:
                if flow.kind is FlowKind.SWITCH:
                    # Several cases may lead to one target.
                    targets = list(dict.fromkeys(targets))
                for source in sources:
                    dist.setdefault(source, []).extend(targets)
    except KeyError as error:
        reason = f"a flow names {quote(error.args[0])}, which is not declared"
        raise UdglError(graph.source, [_impossible(reason)]) from None
    return StaticConfig(
        tuple(_node(operator, image_of[operator.name]) for operator in operators),
        tuple(Edge((source,), tuple(targets)) for source, targets in dist.items()),
        tuple(Edge(tuple(sources), (target,)) for target, sources in reduce.items()),
    )


def _needs_extras(graph: ServingGraph) -> bool:
    return any(flow.kind in _CHOICES for flow in graph.flows) or any(
        o.replicas != 1
        or o.wait
        or o.latency is not None
        or o.timeout is not None
        or o.retries
        or o.env
        or o.cpu is not None
        or o.memory is not None
        or o.gpu
        or o.host is not None
        or (o.stateful and o.backup == 0)
        for o in graph.operators
    )


_CHOICES = (FlowKind.SWITCH, FlowKind.SPLIT)


def _in_order(found: list[Diagnostic]) -> list[Diagnostic]:
    """As they stand in the file."""
    return sorted(found, key=lambda d: (d.span.line, d.span.column) if d.span else (0, 0))


def from_static(
    name: str, version: str, config: StaticConfig, extras: Extras | None = None
) -> ServingGraph:
    """The graph that a config and its extras say: what :func:`lower` makes these of, without what
    EARG does not know of it (its owner, its tags, ...)."""
    names = [node.name for node in config.nodes]
    operators = []
    for index, node in enumerate(config.nodes, start=1):
        operator = Operator(
            node.name,
            node.version,
            node.image,
            abs(node.batch) or 1,
            node.stateful,
            dynamic=node.batch < 0,
        )
        if extras is not None:
            own = extras.of(index)
            operator = replace(
                operator,
                wait=own.wait,
                latency=own.latency,
                timeout=own.timeout,
                retries=own.retries,
                replicas=own.replicas,
                backup=None if own.backup or not node.stateful else 0,
                env=own.env,
                cpu=own.cpu,
                memory=own.memory,
                gpu=own.gpu,
                host=own.host,
            )
        operators.append(operator)
    flows = []
    for edge in config.dist:
        (source,) = edge.sources
        choice = None if extras is None else extras.choice_of(source)
        targets = tuple(names[index - 1] for index in edge.targets)
        flows.append(_flow(names, names[source - 1], targets, choice))
    for edge in config.reduce:
        sources = tuple(names[index - 1] for index in edge.sources)
        flows.append(Flow(FlowKind.REDUCE, sources, (names[edge.targets[0] - 1],)))
    return ServingGraph(name, version, tuple(operators), tuple(flows))


def _flow(names: list[str], source: str, targets: tuple[str, ...], choice: Choice | None) -> Flow:
    if choice is None:
        return Flow(FlowKind.DISTRIBUTE, (source,), targets)
    from earg.choosing import Switch

    if isinstance(choice, Switch):
        return Flow(
            FlowKind.SWITCH,
            (source,),
            tuple(names[case.target - 1] for case in choice.cases),
            conditions=tuple(
                None if case.condition is None else str(case.condition) for case in choice.cases
            ),
        )
    return Flow(
        FlowKind.SPLIT,
        (source,),
        tuple(names[share.target - 1] for share in choice.shares),
        weights=tuple(share.percent for share in choice.shares),
    )


def _node(operator: Operator, image: str) -> NodeSpec:
    return NodeSpec(
        name=operator.name,
        version=operator.version,
        image=image,
        stateful=operator.stateful,
        batch=-operator.batch if operator.dynamic else operator.batch,
    )


def _impossible(reason: str) -> Diagnostic:
    """For graphs that were built in Python, and that no check of the language has seen."""
    return Diagnostic("EARG100", f"EARG cannot express this graph: {reason}")


def _check(graph: ServingGraph) -> Iterator[Diagnostic]:
    spread: dict[str, list[str]] = {}
    joined: dict[str, list[str]] = {}
    flowing: set[str] = set()
    # With choices it depends on them how many of its inputs a request comes along.
    chooses = any(flow.kind in _CHOICES for flow in graph.flows)
    for flow in graph.flows:
        flowing.update(flow.sources)
        into = joined if flow.kind is FlowKind.REDUCE else spread
        for target in flow.targets:
            into.setdefault(target, []).extend(flow.sources)
    for operator in graph.operators:
        name = operator.name
        one_by_one, together = spread.get(name, []), joined.get(name, [])
        if one_by_one and together:
            message = (
                f"{quote(name)} has distribute inputs ({listing(one_by_one)}) and reduce inputs "
                f"({listing(together)}); in EARG it can have one kind only"
            )
            hint = _as_reduce([*one_by_one, *together], name)
            yield Diagnostic("EARG102", message, operator.span, hint)
        elif len(one_by_one) > 1 and not chooses:
            message = (
                f"{quote(name)} has {len(one_by_one)} distribute inputs ({listing(one_by_one)}); "
                "in EARG it can have one"
            )
            yield Diagnostic("EARG101", message, operator.span, _as_reduce(one_by_one, name))
    exits = [operator for operator in graph.operators if operator.name not in flowing]
    if len(exits) > 1 and not chooses:
        names = [operator.name for operator in exits]
        message = f"EARG answers from one exit; this graph has {len(exits)}: {listing(names)}"
        hint = "join them: declare one more operator, say Reply, and write under reduce: "
        hint += f"{listing(names)} → Reply"
        yield Diagnostic("EARG103", message, exits[1].span, hint)


def _as_reduce(sources: list[str], target: str) -> str:
    line = f"{listing(dict.fromkeys(sources))} → {target}"
    return f"if {target} is to get all replies of a request together, write under reduce: {line}"


def _renamings(graph: ServingGraph) -> Iterator[Diagnostic]:
    for what, written, deployed, span in (
        ("name", graph.name, deployed_name(graph)[0], graph.span),
        ("version", graph.version, deployed_name(graph)[1], graph.version_span),
    ):
        if written != deployed:
            message = f"the graph's {what} {quote(written)} is {quote(deployed)} in EARG"
            hint = "EARG splits name-version at the '-'"
            yield Diagnostic("EARG104", message, span, hint, Severity.WARNING)


def _unheeded(graph: ServingGraph) -> Iterator[Diagnostic]:
    if graph.engine not in (None, "local"):
        return
    for word, span, names in unheeded(graph):
        message = f"the local engine does not heed the {word} of {listing(names)}"
        yield Diagnostic("EARG107", message, span, UNHEEDED_HINT, Severity.WARNING)
