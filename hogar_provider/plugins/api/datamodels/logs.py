"""A node's log."""

from __future__ import annotations

from pydantic import BaseModel


class LogView(BaseModel):
    """The last lines; ``path`` is the log's on the agent's machine, where it is known."""

    lines: list[str]
    path: str = ""
