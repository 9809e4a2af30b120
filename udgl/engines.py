"""What the nodes of a graph can run on, as ``engine`` names it."""

from __future__ import annotations

from collections.abc import Iterator

from udgl.diagnostics import Diagnostic, Severity, listing, quote
from udgl.graph import ServingGraph, Span

ENGINES = {
    "local": "processes of the agent on this machine",
    "docker": "containers on one or several Docker hosts",
    "kubernetes": "pods of a Kubernetes cluster",
}
"""Name to meaning."""

SHARES = ("cpu", "memory", "gpu", "host")
"""Factors that give a model its share of a machine, or say which: for engines with containers."""


def check_engine(graph: ServingGraph) -> Iterator[Diagnostic]:
    """All that is wrong with the engine that ``graph`` names."""
    if graph.engine is None:
        return
    if graph.engine not in ENGINES:
        from udgl.suggestions import Suggestions

        near = Suggestions(ENGINES).near(graph.engine)
        hint = f"did you mean '{near}'?" if near else f"there are {', '.join(ENGINES)}"
        message = f"there is no engine {quote(graph.engine)}"
        yield Diagnostic("U140", message, graph.span_of("engine"), hint)
    elif graph.engine == "local":
        for word, span, names in unheeded(graph):
            message = f"the local engine does not heed the {word} of {listing(names)}"
            yield Diagnostic("U141", message, span, UNHEEDED_HINT, Severity.WARNING)
    else:
        for operator in graph.operators:
            if operator.entrypoint and not operator.image:
                message = f"operator {quote(operator.name)} has no image"
                hint = f"the {graph.engine} engine runs images: add the one that has the class"
                yield Diagnostic("U108", message, operator.span_of("entrypoint"), hint)


UNHEEDED_HINT = (
    "its models run as processes that share the machine; the engines docker and kubernetes heed it"
)


def unheeded(graph: ServingGraph) -> Iterator[tuple[str, Span | None, list[str]]]:
    """What the local engine has no means to grant: the factor, where it stands, and the operators
    that have it from there. What stands in defaults is told once."""
    for word in SHARES:
        said: dict[Span | None, list[str]] = {}
        for operator in graph.operators:
            if getattr(operator, word):
                said.setdefault(operator.span_of(word), []).append(operator.name)
        for span, names in said.items():
            yield word, span, names
