"""How a target says what it cannot express: never silently, always at the line that says it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from udgl.constructs import CONSTRUCTS
from udgl.diagnostics import Diagnostic, Severity
from udgl.graph import ServingGraph


@dataclass(frozen=True, slots=True)
class Limit:
    """What a target makes of a construct that it cannot express, or not as a whole.

    ``message`` goes on after who uses it ("operator 'A'"): it is a verb phrase such as "has a
    batch limit; Kubernetes knows none". An error is what would make the graph do something else;
    a warning is what is left to the platform; a note is what has no meaning there.
    """

    code: str
    severity: Severity
    message: str
    hint: str | None = None


def in_order(found: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """The findings in the order of the file."""
    return tuple(
        sorted(found, key=lambda d: (d.span.line, d.span.column) if d.span is not None else (0, 0))
    )


def limits(graph: ServingGraph, known: Mapping[str, Limit]) -> Iterator[Diagnostic]:
    """A diagnostic for each use in ``graph`` of a construct that has a limit; ``known`` is by the
    names of :data:`udgl.constructs.CONSTRUCTS`."""
    for construct in CONSTRUCTS:
        limit = known.get(construct.name)
        if limit is None:
            continue
        for subject, span in construct.uses(graph):
            message = f"{subject} {limit.message}"
            yield Diagnostic(limit.code, message, span, limit.hint, limit.severity)
