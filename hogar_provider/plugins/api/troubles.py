"""What went wrong at a node lately, from the agent's events.

A backup takes over within 20 to 50 ms, and a model may be back in 200: a look a second would see
neither. The events have it all, so a look tells of what happened since the one before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hogar_provider.plugins.api.datamodels.nodes import TroubleStep, TroubleView

if TYPE_CHECKING:
    from earg.status import Event

SHOWN = 15.0
"""Seconds for which a trouble is told after its end."""

TROUBLE = ("dead", "recovering", "degraded")
"""The states that a node is in against its will, the worst first."""

WHOLE = ("ready", "busy", "draining")
"""The states that end it."""

MOST_STEPS = 6
"""Steps of one trouble that are told: the first one, and the newest."""


@dataclass(slots=True)
class _Trouble:
    began: float
    why: str
    worst: str
    ended: float | None = None
    steps: list[TroubleStep] = field(default_factory=list)

    def view(self) -> TroubleView:
        steps = self.steps
        if len(steps) > MOST_STEPS:
            steps = [steps[0], *steps[1 - MOST_STEPS :]]
        return TroubleView(
            worst=self.worst, began=self.began, ended=self.ended, why=self.why, steps=steps
        )


def troubles(events: Iterable[Event], at: float) -> dict[str, TroubleView]:
    """By node: the trouble that goes on at ``at``, or the last one that has ended not long before.
    ``events`` are those of one graph, the oldest first."""
    found: dict[str, _Trouble] = {}
    # What is said of a death comes just before the change of state that it makes.
    said: dict[str, Event] = {}
    for event in events:
        trouble = found.get(event.node)
        if not event.after:
            said[event.node] = event
            if trouble is not None and trouble.ended is None:
                trouble.steps.append(TroubleStep(at=event.time, what=event.what))
        elif event.after in TROUBLE:
            if trouble is None or trouble.ended is not None:
                trouble = found[event.node] = _Trouble(event.time, event.what, event.after)
                cause = said.get(event.node)
                if cause is not None and cause.what == event.what:
                    trouble.began = cause.time
            if TROUBLE.index(event.after) < TROUBLE.index(trouble.worst):
                trouble.worst, trouble.why = event.after, event.what
        elif event.after in WHOLE and trouble is not None and trouble.ended is None:
            trouble.ended = event.time
    return {
        node: trouble.view()
        for node, trouble in found.items()
        if trouble.ended is None or at - trouble.ended < SHOWN
    }
