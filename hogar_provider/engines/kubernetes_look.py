"""One look at what runs: the workloads and pods of a graph, or of all graphs at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hogar_provider.engines.kubernetes_api import POD, Api, Kind, Object, labels_of, name_of
from hogar_provider.engines.kubernetes_apply import (
    ENGINE,
    GRAPH_LABEL,
    MANAGED_BY,
    WORKLOADS,
    owner,
)
from hogar_provider.engines.kubernetes_graph import GraphObjects
from udgl.targets._manifest import MANAGER, label_name


@dataclass(slots=True)
class Seen:
    """What there is of one graph. ``workloads`` are by kind and name, without those that are being
    deleted."""

    workloads: dict[tuple[str, str], Object] = field(default_factory=dict)
    pods: list[Object] = field(default_factory=list)

    def wired(self, objects: GraphObjects) -> bool:
        """Whether somebody gives the graph's proxies their graph."""
        return ("Deployment", objects.wiring) in self.workloads

    def has_frontend(self, objects: GraphObjects) -> bool:
        """Whether the graph has its frontend."""
        return ("Deployment", objects.frontend) in self.workloads


async def look_at(api: Api, graph: str) -> Seen:
    """What there is of one graph."""
    label = label_name(graph)
    found = await _look(api, owner(graph), {GRAPH_LABEL: label})
    return found.get(label, Seen())


async def look_at_all(api: Api) -> dict[str, Seen]:
    """What there is of all graphs, by the value of their label."""
    return await _look(api, ENGINE, {MANAGED_BY: MANAGER})


async def _look(api: Api, owned: dict[str, str], of_pods: dict[str, str]) -> dict[str, Seen]:
    *lists, pods = await asyncio.gather(
        *(api.list_objects(kind, owned) for kind in WORKLOADS), api.list_objects(POD, of_pods)
    )
    seen: dict[str, Seen] = {}
    for kind, found in zip(WORKLOADS, lists, strict=True):
        for one in found:
            _add(seen, kind, one)
    for pod in pods:
        seen.setdefault(labels_of(pod).get(GRAPH_LABEL, ""), Seen()).pods.append(pod)
    return seen


def _add(seen: dict[str, Seen], kind: Kind, one: Object) -> None:
    if "deletionTimestamp" not in one["metadata"]:
        own = seen.setdefault(labels_of(one).get(GRAPH_LABEL, ""), Seen())
        own.workloads[kind.kind, name_of(one)] = one
