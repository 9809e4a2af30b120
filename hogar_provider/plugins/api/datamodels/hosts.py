"""A host of an engine."""

from __future__ import annotations

from pydantic import BaseModel


class HostView(BaseModel):
    """A host that nodes of a graph may be on. ``dead`` while it does not answer, ``reason`` is a
    sentence about that, and ``since`` when this changed, None where it is not known. ``nodes`` are
    the names of the graph's nodes that have a pair on it; of a dead one, also those that had when
    it last answered."""

    name: str
    dead: bool
    reason: str
    since: float | None
    nodes: list[str]
