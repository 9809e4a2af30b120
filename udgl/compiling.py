"""Compiling a graph to a target, whosever it is, with what every user of a target has to check."""

from __future__ import annotations

from pathlib import PurePosixPath

from udgl.diagnostics import Severity, UdglError
from udgl.graph import ServingGraph
from udgl.targets import Compilation, TargetError, distribution_of, target


def compile_to(name: str, graph: ServingGraph) -> Compilation:
    """What the target ``name`` makes of ``graph``.

    Raises KeyError where there is no such target, :class:`UdglError` where it cannot express the
    graph, and :class:`TargetError` where another distribution's target fails or would write outside
    of its folder.
    """
    platform, whose = target(name), distribution_of(name)
    try:
        found = platform.compile_graph(graph)
    except UdglError:
        raise
    except Exception as error:
        if whose is None:
            raise
        raise TargetError(
            f"the target {name!r} of {whose} failed: {type(error).__name__}: {error}"
        ) from error
    if any(diagnostic.severity is Severity.ERROR for diagnostic in found.diagnostics):
        raise UdglError(graph.source, found.diagnostics)
    for file in found.files:
        if not is_inside(file.name):
            raise TargetError(f"the target {name} would write outside of its folder: {file.name}")
    return found


def is_inside(name: str) -> bool:
    """Whether a file's name stays in the folder that it is written below."""
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\\" not in name
