"""Graphs as EARG static configs.

EARG expresses less than UDGL: every node but the first has exactly one dist input or exactly one
reduce input, and there is one exit. Its published proxies answer anything else wrongly or not at
all, so the rest is an error here, with the rewrite that fits where there is one. Source: EARG's
public release and runs of it; the format itself is in :mod:`earg.config`.
"""

from __future__ import annotations

from collections.abc import Iterator

from earg.config import ConfigError, Edge, NodeSpec, StaticConfig, check_static, write_static
from udgl.diagnostics import Diagnostic, Severity, UdglError, listing, quote
from udgl.graph import Flow, FlowKind, Operator, ServingGraph
from udgl.targets import Compilation, OutputFile

DESCRIPTION = "EARG's static config"

WRITES = "{name}-{version}.earg"

CODES: dict[str, str] = {
    "EARG100": "EARG cannot express the graph, for the reason given.",
    "EARG101": "An operator has several distribute inputs.",
    "EARG102": "An operator has both distribute and reduce inputs.",
    "EARG103": "The graph has several exits.",
    "EARG104": "A '-' in the graph's name or version becomes '_' (a warning).",
}


def compile_graph(graph: ServingGraph) -> Compilation:
    """The one file ``{name}-{version}.earg``, with ``-`` in name and version written ``_``.

    Raises :class:`UdglError` where EARG cannot express ``graph``.
    """
    text = write_static(to_static(graph))
    name, version = deployed_name(graph)
    return Compilation((OutputFile(f"{name}-{version}.earg", text),), tuple(_renamings(graph)))


def deployed_name(graph: ServingGraph) -> tuple[str, str]:
    """Name and version as EARG knows them: its daemon splits ``name-version`` at the ``-``."""
    return graph.name.replace("-", "_"), graph.version.replace("-", "_")


def to_static(graph: ServingGraph) -> StaticConfig:
    """The graph as EARG sees it: the entry first, else operators and edges in the file's order.

    The lines of a source are one dist edge, and those of a join one reduce edge. Raises
    :class:`UdglError` where EARG cannot express it.
    """
    found = list(_check(graph))
    if found:
        raise UdglError(graph.source, found)
    fed = {target for flow in graph.flows for target in flow.targets}
    entry = next((o for o in graph.operators if o.name not in fed), None)
    first = [] if entry is None else [entry]
    operators = [*first, *(o for o in graph.operators if o is not entry)]
    index = {operator.name: i for i, operator in enumerate(operators, start=1)}
    try:
        dist: dict[int, list[int]] = {}
        reduce: dict[int, list[int]] = {}
        for flow in graph.flows:
            sources, targets = [index[s] for s in flow.sources], [index[t] for t in flow.targets]
            if flow.kind is FlowKind.DISTRIBUTE:
                for source in sources:
                    dist.setdefault(source, []).extend(targets)
            else:
                for target in targets:
                    reduce.setdefault(target, []).extend(sources)
        config = StaticConfig(
            tuple(_node(operator) for operator in operators),
            tuple(Edge((source,), tuple(targets)) for source, targets in dist.items()),
            tuple(Edge(tuple(sources), (target,)) for target, sources in reduce.items()),
        )
        check_static(config)
    except KeyError as error:
        reason = f"a flow names {quote(error.args[0])}, which is not declared"
        raise UdglError(graph.source, [_impossible(reason)]) from None
    except ConfigError as error:
        raise UdglError(graph.source, [_impossible(error.message)]) from None
    return config


def from_static(name: str, version: str, config: StaticConfig) -> ServingGraph:
    """The graph that a config says: what :func:`to_static` makes this config of, without what EARG
    does not know of it (its owner, its tags, ...)."""
    names = [node.name for node in config.nodes]
    kinds = ((FlowKind.DISTRIBUTE, config.dist), (FlowKind.REDUCE, config.reduce))
    return ServingGraph(
        name,
        version,
        tuple(
            Operator(node.name, node.version, node.image, node.batch, node.stateful)
            for node in config.nodes
        ),
        tuple(
            Flow(
                kind,
                tuple(names[index - 1] for index in edge.sources),
                tuple(names[index - 1] for index in edge.targets),
            )
            for kind, edges in kinds
            for edge in edges
        ),
    )


def _node(operator: Operator) -> NodeSpec:
    return NodeSpec(
        name=operator.name,
        version=operator.version,
        image=operator.image,
        stateful=operator.stateful,
        batch=operator.batch,
    )


def _impossible(reason: str) -> Diagnostic:
    """For graphs that were built in Python, and that no check of the language has seen."""
    return Diagnostic("EARG100", f"EARG cannot express this graph: {reason}")


def _check(graph: ServingGraph) -> Iterator[Diagnostic]:
    spread: dict[str, list[str]] = {}
    joined: dict[str, list[str]] = {}
    flowing: set[str] = set()
    for flow in graph.flows:
        flowing.update(flow.sources)
        into = spread if flow.kind is FlowKind.DISTRIBUTE else joined
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
        elif len(one_by_one) > 1:
            message = (
                f"{quote(name)} has {len(one_by_one)} distribute inputs ({listing(one_by_one)}); "
                "in EARG it can have one"
            )
            yield Diagnostic("EARG101", message, operator.span, _as_reduce(one_by_one, name))
    exits = [operator for operator in graph.operators if operator.name not in flowing]
    if len(exits) > 1:
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
