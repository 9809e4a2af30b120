"""The platforms that a graph can be compiled to: one module of this package each.

A target module has these four, and is imported only when it is used:

* ``DESCRIPTION``: a line for the command line's help;
* ``CODES``: its own diagnostics' codes, as in :mod:`udgl.diagnostics`;
* ``compile_graph(graph) -> Compilation``, which raises :class:`udgl.UdglError` for what the
  platform cannot express.

A new platform is a new file here; nothing else needs to know of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from udgl.diagnostics import Diagnostic
from udgl.graph import ServingGraph


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file of a platform: ``name`` is a relative path with ``/`` between its folders, ``text``
    ends with a line end."""

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


def target_names() -> tuple[str, ...]:
    """The names of all targets, in alphabetical order. Imports none of them."""
    modules = Path(__file__).parent.glob("*.py")
    return tuple(sorted(path.stem for path in modules if not path.stem.startswith("_")))


def target(name: str) -> Target:
    """The target called ``name``; raises KeyError where there is none."""
    if name not in target_names():
        raise KeyError(name)
    return cast("Target", import_module(f"{__name__}.{name}"))
