"""The platforms that a graph can be compiled to: one module of this package each, and what other
distributions add.

A target's module has these three, and is imported only when it is used:

* ``DESCRIPTION``: a line that says what the platform is;
* ``CODES``: its own diagnostics' codes, as in :mod:`udgl.diagnostics`;
* ``compile_graph(graph) -> Compilation``, which raises :class:`udgl.UdglError` for what the
  platform cannot express.

It may have ``WRITES``, a line that says which files it writes, with ``{name}`` and ``{version}``
for the graph's.

A new platform is a new file here; nothing else needs to know of it. A module whose name begins
with ``_`` is no target. Another distribution adds a target by an entry point of the group
``udgl.targets``, which names such a module, or any object that has the same attributes::

    [options.entry_points]
    udgl.targets =
        nomad = my_package.nomad

A target of this package is never replaced by one of the same name.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from udgl.diagnostics import Diagnostic
from udgl.graph import ServingGraph

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINTS = "udgl.targets"
"""The group of entry points that other distributions add targets by."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file of a platform: ``name`` is relative, with ``/`` between folders; ``text`` ends with
    a line end."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Compilation:
    """What a target made of a graph: its files, and warnings and notes about them."""

    files: tuple[OutputFile, ...]
    diagnostics: tuple[Diagnostic, ...] = ()


class Target(Protocol):
    """A target's module, as its users see it."""

    DESCRIPTION: str
    CODES: dict[str, str]

    def compile_graph(self, graph: ServingGraph) -> Compilation: ...


class TargetError(Exception):
    """A target of another distribution that cannot be used; the message says why, and whose it
    is."""


def target_names() -> tuple[str, ...]:
    """The names of all targets, in alphabetical order. Imports none of them."""
    return tuple(sorted({*_own(), *_added()}))


def target(name: str) -> Target:
    """The target called ``name``; raises KeyError where there is none, and :class:`TargetError`
    where it is another distribution's and cannot be used."""
    if name in _own():
        return cast("Target", import_module(f"{__name__}.{name}"))
    return _loaded(_added()[name])


def distribution_of(name: str) -> str | None:
    """Name and version of the distribution that adds the target ``name``; None for one of this
    package. Raises KeyError where there is none."""
    return None if name in _own() else _whose(_added()[name])


@cache
def _own() -> frozenset[str]:
    modules = Path(__file__).parent.glob("*.py")
    return frozenset(path.stem for path in modules if not path.stem.startswith("_"))


@cache
def _added() -> dict[str, tuple[EntryPoint, ...]]:
    """The targets of other distributions: all that claim the name."""
    from importlib.metadata import entry_points

    added: dict[str, tuple[EntryPoint, ...]] = {}
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda one: (one.name, one.value)):
        if point.name not in _own():
            added[point.name] = (*added.get(point.name, ()), point)
    return added


def _loaded(points: tuple[EntryPoint, ...]) -> Target:
    name, whose = points[0].name, _whose(points)
    if len({point.value for point in points}) > 1:
        raise TargetError(
            f"several installed packages add a target {name!r}: {whose}; uninstall all but one"
        )
    try:
        found = points[0].load()
    except Exception as error:
        # Whatever another's module does when it is imported.
        raise TargetError(
            f"the target {name!r} of {whose} cannot be loaded from {points[0].value}: "
            f"{type(error).__name__}: {error}"
        ) from error
    kinds = (("DESCRIPTION", str), ("CODES", dict))
    missing = [word for word, kind in kinds if not isinstance(getattr(found, word, None), kind)]
    if not callable(getattr(found, "compile_graph", None)):
        missing.append("compile_graph")
    if missing:
        raise TargetError(
            f"the target {name!r} of {whose} is none: {points[0].value} has no "
            f"{', '.join(missing)} as the targets of udgl have"
        )
    return cast("Target", found)


def _whose(points: tuple[EntryPoint, ...]) -> str:
    names = []
    for point in points:
        dist = point.dist
        names.append("an unknown package" if dist is None else f"{dist.name} {dist.version}")
    return ", ".join(dict.fromkeys(names))
