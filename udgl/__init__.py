"""UDGL, the User Defined Graph Language: text to serving graphs to a platform's files.

>>> graph = udgl.load("sentiment.udgl")
>>> graph.entry().name
'Trancriber'

Importing this package loads nothing else; each name is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from udgl.builder import GraphBuilder, checked
    from udgl.diagnostics import Diagnostic, Severity, UdglError
    from udgl.formatter import format_text
    from udgl.graph import (
        BatchStep,
        EarlyStop,
        Flow,
        FlowKind,
        Operator,
        ServingGraph,
        Span,
        Training,
    )
    from udgl.parser import examine, load, parse
    from udgl.writing import dumps

__all__ = [
    "BatchStep",
    "Diagnostic",
    "EarlyStop",
    "Flow",
    "FlowKind",
    "GraphBuilder",
    "Operator",
    "ServingGraph",
    "Severity",
    "Span",
    "Training",
    "UdglError",
    "checked",
    "dumps",
    "examine",
    "format_text",
    "load",
    "parse",
]

_HOMES = {
    "BatchStep": "graph",
    "Diagnostic": "diagnostics",
    "EarlyStop": "graph",
    "Flow": "graph",
    "FlowKind": "graph",
    "GraphBuilder": "builder",
    "Operator": "graph",
    "ServingGraph": "graph",
    "Severity": "diagnostics",
    "Span": "graph",
    "Training": "graph",
    "UdglError": "diagnostics",
    "checked": "builder",
    "dumps": "writing",
    "examine": "parser",
    "format_text": "formatter",
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
