"""What is missing from a graph because its text could not be read."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Gaps:
    """So that one mistake is not told twice: the checks leave out what a gap alone may cause."""

    meta: bool = False
    """An entry of meta."""

    operators: set[str] = field(default_factory=set)
    """The names of operators with a factor that could not be read."""

    declarations: bool = False
    """Text that may have declared operators."""

    edges: bool = False
    """An operator without a readable name, or a flow line."""

    kinds: bool = False
    """The block that flow lines belong to."""

    choices: bool = False
    """Cases of a switch or split."""
