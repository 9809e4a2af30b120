"""What happened to a graph."""

from __future__ import annotations

from pydantic import BaseModel


class EventView(BaseModel):
    """A change of state has ``before`` and ``after``; ``number`` grows with each event."""

    number: int
    at: float
    node: str
    what: str
    before: str
    after: str


class EventList(BaseModel):
    """The oldest first."""

    events: list[EventView]
