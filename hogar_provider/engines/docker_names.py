"""Names of what an engine makes on a Docker host: no two graphs or engines have the same."""

from __future__ import annotations

import hashlib

from udgl.targets._manifest import label_name


def short_mark(mark: str) -> str:
    """Of an engine's mark."""
    return hashlib.sha256(mark.encode()).hexdigest()[:6]


def plain_name(graph: str) -> str:
    """Of a graph: small letters, digits and ``-``."""
    name = label_name(graph)
    # Another graph may differ in what a name cannot say alone.
    return name if name == graph else f"{name}-{hashlib.sha256(graph.encode()).hexdigest()[:4]}"
