"""What began the trouble that a node is in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hogar_provider.plugins.api.troubles import TROUBLE

if TYPE_CHECKING:
    from earg.status import Event


def causes_of(events: Iterable[Event]) -> dict[str, str]:
    """Of each node that is in trouble by these events, the cause of the first of its bad states."""
    causes: dict[str, str] = {}
    for event in events:
        if event.after in TROUBLE:
            causes.setdefault(event.node, event.what)
        elif event.after:
            causes.pop(event.node, None)
    return causes


def with_cause(state: str, reason: str, cause: str) -> str:
    """Why a node is in this state: what began it, then what is the matter now."""
    # What is dead says best itself why.
    if state not in TROUBLE or not cause or cause in reason or (state == "dead" and reason):
        return reason
    return f"{cause}; {reason}" if reason else cause
