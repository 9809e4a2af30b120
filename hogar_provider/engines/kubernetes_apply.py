"""Makes objects in a cluster as compiled files say, and takes away what they no longer have.

What is applied carries the owner's labels; nothing without them is ever changed or deleted, except
what somebody has applied with ``kubectl`` from the same compiled files: that is taken over.
Source: Kubernetes' server-side apply (the field manager is ``hogar``).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hogar_provider.engines.kubernetes_api import (
    APPLIED,
    DEPLOYMENT,
    POD,
    STATEFUL_SET,
    Api,
    ApiError,
    Kind,
    Object,
    annotations_of,
    kind_of,
    labels_of,
    name_of,
)
from udgl.targets._manifest import MANAGER, label_name

ENGINE_LABEL = f"{MANAGER}/engine"
GRAPH_LABEL = f"{MANAGER}/graph"
NODE_LABEL = f"{MANAGER}/node"
MANAGED_BY = "app.kubernetes.io/managed-by"
PART_OF = "app.kubernetes.io/part-of"

DIGEST = f"{MANAGER}/applied-digest"
"""The annotation of a workload that tells which text it was applied from."""

RESTARTED = f"{MANAGER}/restarted-at"
"""The annotation of a workload's pods that tells when they were replaced on demand."""

ENGINE = {ENGINE_LABEL: "kubernetes"}
"""The label of all that this engine has applied."""

WORKLOADS = (DEPLOYMENT, STATEFUL_SET)

LOOK_INTERVAL = 0.5
"""Seconds between looks at what is to be gone."""

GONE_TIMEOUT = 90.0
"""Seconds in which an object that is being deleted has to be gone: pods may take 30 to end."""


class OwnerError(RuntimeError):
    """An object that is somebody else's has a name that is needed."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply has done, by ``Kind name``."""

    created: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    pruned: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [
            f"{word} {', '.join(names)}"
            for word, names in (
                ("created", self.created),
                ("changed", self.changed),
                ("removed", self.pruned),
            )
            if names
        ]
        return "; ".join(parts) or "nothing had changed"


def owner(graph: str) -> dict[str, str]:
    """The labels of all objects of a graph that this engine has applied."""
    return {**ENGINE, GRAPH_LABEL: label_name(graph)}


def owned(one: Object, graph: str) -> Object:
    """The object with its owner's labels, and a workload with its digest."""
    metadata = one["metadata"]
    found = one | {"metadata": metadata | {"labels": metadata["labels"] | owner(graph)}}
    if kind_of(one) in WORKLOADS:
        text = json.dumps(found, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        annotations = (metadata.get("annotations") or {}) | {DIGEST: digest}
        found["metadata"] = found["metadata"] | {"annotations": annotations}
    return found


def title(one: Object) -> str:
    """An object as sentences name it."""
    return f"{one['kind']} {name_of(one)}"


async def apply_all(
    api: Api, graph: str, objects: Iterable[Object], *, restart: str = ""
) -> Applied:
    """Apply objects of a graph, in the order of :data:`APPLIED`.

    ``restart`` is a text that replaces the pods of every workload where it differs from that of the
    last restart. Raises :class:`OwnerError` where an object of that name is not the graph's, and
    :class:`ApiError` with what the API refuses; what was applied before that stays.
    """
    order = {kind: number for number, kind in enumerate(APPLIED)}
    created, changed, unchanged = [], [], []
    for plain in sorted(objects, key=lambda one: order[kind_of(one)]):
        one = owned(plain, graph)
        before = await _settled(api, one)
        if before is not None:
            check_owner(before, one)
        if kind_of(one) in WORKLOADS:
            one = _restarting(one, before, restart)
        after = await _apply(api, one, before)
        version = after["metadata"].get("resourceVersion")
        if before is None:
            created.append(title(one))
        elif before["metadata"].get("resourceVersion") == version:
            unchanged.append(title(one))
        else:
            changed.append(title(one))
    return Applied(tuple(created), tuple(changed), tuple(unchanged))


async def _settled(api: Api, one: Object) -> Object | None:
    """What there is of an object, once one that is being deleted is gone: it would take with it
    what is applied to it now."""
    try:
        async with asyncio.timeout(GONE_TIMEOUT):
            while True:
                before = await api.get(kind_of(one), name_of(one))
                if before is None or "deletionTimestamp" not in before["metadata"]:
                    return before
                await asyncio.sleep(LOOK_INTERVAL)
    except TimeoutError:
        raise ApiError(
            f"{title(one)} is being deleted, and not gone after {GONE_TIMEOUT:.0f} s"
        ) from None


async def _apply(api: Api, one: Object, before: Object | None) -> Object:
    try:
        return await api.apply(one)
    except ApiError as error:
        # Its fields only: what the object does not say is left to whoever has said it.
        conflicts = [c for c in error.causes if c.get("reason") == "FieldManagerConflict"]
        if error.status != 409 or not conflicts or before is None:
            raise
    return await api.apply(one, force=True)


def check_owner(before: Object, one: Object) -> None:
    """Raise :class:`OwnerError` where what is there is not of the graph of ``one``."""
    found, wanted = labels_of(before), labels_of(one)
    for label in (MANAGED_BY, PART_OF):
        if found.get(label) != wanted.get(label):
            raise OwnerError(
                f"{title(one)} is there already and is not of this graph (its label {label} is "
                f"{found.get(label, '')!r}, not {wanted.get(label, '')!r}); remove it, or give the "
                "graph another name or namespace"
            )


def _restarting(one: Object, before: Object | None, restart: str) -> Object:
    """A restart is kept by later applies: to drop it would be one more."""
    if not restart and before is not None:
        template = before["spec"]["template"].get("metadata") or {}
        restart = (template.get("annotations") or {}).get(RESTARTED, "")
    if not restart:
        return one
    template = one["spec"]["template"]
    about = template["metadata"]
    annotations = (about.get("annotations") or {}) | {RESTARTED: restart}
    about = about | {"annotations": annotations}
    return one | {"spec": one["spec"] | {"template": template | {"metadata": about}}}


def is_applied(before: Object | None, one: Object, graph: str) -> bool:
    """Whether a workload in the cluster was applied from this very object."""
    return before is not None and (
        annotations_of(before).get(DIGEST) == annotations_of(owned(one, graph))[DIGEST]
    )


async def find_all(
    api: Api,
    graph: str,
    kinds: Sequence[Kind] = APPLIED,
    labels: Mapping[str, str] | None = None,
) -> list[tuple[Kind, Object]]:
    """Everything of a graph that this engine has applied; with ``labels`` what carries them."""
    wanted = owner(graph) | dict(labels or {})
    lists = await asyncio.gather(*(api.list_objects(kind, wanted) for kind in kinds))
    return [(kind, one) for kind, found in zip(kinds, lists, strict=True) for one in found]


async def prune(
    api: Api,
    graph: str,
    kept: Collection[tuple[str, str]],
    kinds: Sequence[Kind] = APPLIED,
    labels: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """Delete what this engine has applied of a graph and ``kept``, pairs of kind and name, has not;
    with ``labels`` only what carries them. The workloads go first. Answers what was deleted."""
    gone = []
    for kind, one in reversed(await find_all(api, graph, kinds, labels)):
        if (kind.kind, name_of(one)) in kept:
            continue
        if "deletionTimestamp" in one["metadata"]:
            continue
        await api.delete(kind, name_of(one))
        gone.append(f"{kind.kind} {name_of(one)}")
    return tuple(gone)


async def wait_gone(api: Api, graph: str, timeout: float, kinds: Sequence[Kind] = APPLIED) -> None:
    """Wait until what was deleted is gone, with its pods. Raises :class:`ApiError` with what is
    still there after ``timeout`` seconds."""
    left: list[str] = []
    try:
        async with asyncio.timeout(timeout):
            while True:
                found = [
                    *(one for _, one in await find_all(api, graph, kinds)),
                    *await api.list_objects(POD, {GRAPH_LABEL: label_name(graph)}),
                ]
                left = [title(one) for one in found if "deletionTimestamp" in one["metadata"]]
                if not left:
                    return
                await asyncio.sleep(LOOK_INTERVAL)
    except TimeoutError:
        what = ", ".join(left[:5]) or "it"
        raise ApiError(f"after {timeout:.0f} s the cluster still has {what}") from None
