"""One log of what happened: what the agent did, what the wirings tell, and Kubernetes' warnings.

Numbers grow with the events' times, also from one agent to the next, so that whoever follows them
sees each once.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace

from earg.status import Event
from hogar_provider.engines.kubernetes_api import Object, event_time, labels_of, name_of
from hogar_provider.engines.kubernetes_apply import NODE_LABEL
from hogar_provider.engines.kubernetes_graph import GraphObjects
from hogar_provider.engines.timestamp import seconds

log = logging.getLogger(__name__)

EVENTS_KEPT = 1000
"""The newest so many events are kept."""


class EventLog:
    """The newest events, the oldest first."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._number = 0
        self._seen: set[str] = set()
        self._newest_told: dict[str, int] = {}

    def tell(self, graph: str, node: str, what: str, before: str = "", after: str = "") -> None:
        """Something that the agent has done or seen."""
        log.warning("%s: %s %s", graph, node, what)
        self._add([Event(time.time(), graph, node, what, before, after)])

    def since(self, graph: str, newer_than: int) -> tuple[Event, ...]:
        """Those of a graph, or of all where it is empty, after that number."""
        return tuple(
            one
            for one in self._events
            if one.number > newer_than and (not graph or one.graph in ("", graph))
        )

    def newest_told(self, graph: str) -> int:
        """The number of the newest event that the graph's wiring has told."""
        return self._newest_told.get(graph, 0)

    def take(
        self,
        warnings: Sequence[Object],
        graphs: Iterable[GraphObjects],
        pods: Sequence[Object],
        told: Sequence[Event],
    ) -> None:
        """Add what is new of Kubernetes' warnings about what the graphs have, and of what their
        wirings have told."""
        places = _places(graphs, pods)
        fresh = list(told)
        for one in told:
            known = self._newest_told.get(one.graph, 0)
            self._newest_told[one.graph] = max(known, one.number)
        present = set()
        for warning in warnings:
            key = str(warning["metadata"].get("uid") or name_of(warning))
            present.add(key)
            about = str((warning.get("involvedObject") or {}).get("name", ""))
            found = _place(about, places)
            if key in self._seen or found is None:
                continue
            said = f"{warning.get('reason', '')}: {warning.get('message', '')}".strip(": \n")
            when = seconds(event_time(warning)) or time.time()
            fresh.append(Event(when, *found, f"{about}: {said}"))
        self._seen = present
        self._add(fresh)

    def _add(self, events: Iterable[Event]) -> None:
        for one in sorted(events, key=lambda event: event.time):
            self._number = max(self._number + 1, int(one.time * 1000))
            self._events.append(replace(one, number=self._number))


def _places(graphs: Iterable[GraphObjects], pods: Sequence[Object]) -> dict[str, tuple[str, str]]:
    """Graph and node by the names of their workloads and pods."""
    found: dict[str, tuple[str, str]] = {}
    for objects in graphs:
        found[objects.frontend] = (objects.name, "frontend")
        found[objects.wiring] = (objects.name, "wiring")
        for spec, own in zip(objects.plan.config.nodes, objects.nodes, strict=True):
            for one in own:
                found[name_of(one)] = (objects.name, spec.name)
    for pod in pods:
        label = labels_of(pod).get(NODE_LABEL, "")
        if label in found:
            found[name_of(pod)] = found[label]
    return found


def _place(name: str, places: dict[str, tuple[str, str]]) -> tuple[str, str] | None:
    """Whose an object is: a pod that is gone has its workload's name with one or two parts more."""
    for _ in range(3):
        if name in places:
            return places[name]
        name = name.rpartition("-")[0]
    return None
