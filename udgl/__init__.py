"""UDGL, the User Defined Graph Language: text to serving graphs to a platform's files.

>>> graph = udgl.load("sentiment.udgl")
>>> graph.entry().name
'Trancriber'

Importing this package loads nothing else; each name is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from udgl.diagnostics import Diagnostic, Severity, UdglError
    from udgl.graph import Flow, FlowKind, Operator, ServingGraph, Span
    from udgl.parser import load, parse

__all__ = [
    "Diagnostic",
    "Flow",
    "FlowKind",
    "Operator",
    "ServingGraph",
    "Severity",
    "Span",
    "UdglError",
    "load",
    "parse",
]

_HOMES = {
    "Diagnostic": "diagnostics",
    "Severity": "diagnostics",
    "UdglError": "diagnostics",
    "Flow": "graph",
    "FlowKind": "graph",
    "Operator": "graph",
    "ServingGraph": "graph",
    "Span": "graph",
    "load": "parser",
    "parse": "parser",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'udgl' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"udgl.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
