"""How far a rollout is, and what is in its way, in Kubernetes' own words.

A pod of a node is *up* when its model has loaded and its proxy answers; it is *ready* when the
wiring has given it the graph as well. Source: the Kubernetes API reference (PodStatus,
ContainerStatus, DeploymentStatus, StatefulSetStatus).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from hogar_provider.engines.kubernetes_api import (
    DEPLOYMENT,
    POD,
    STATEFUL_SET,
    Api,
    Object,
    event_time,
    labels_of,
    name_of,
)
from hogar_provider.engines.kubernetes_apply import NODE_LABEL, title

LOOK_INTERVAL = 1.0
"""Seconds between looks at a rollout."""

PULL_PATIENCE = 30.0
"""Seconds in which an image that cannot be pulled may become one that can: registries falter."""

CRASHES = 3
"""A container that has ended so often on its start ends always."""

LOG_LINES = 30
"""The last lines of a container to blame."""


EVENT_LINES = 10
"""The newest events of an object to blame."""


class Level(Enum):
    """What is waited for."""

    UP = "up"
    """Every model has loaded, and every proxy and frontend answers; without the graph none is
    ready."""

    READY = "ready"
    """Every pod is ready as its probes say."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is in the way of a pod, or of a whole ``workload`` where ``pod`` is empty.

    ``container`` is the one to blame, empty for the pod as a whole; ``previous`` whether its log is
    that of its last run. ``patience`` is how many seconds this may go on before it is called
    hopeless, None where only the deadline ends it.
    """

    sentence: str
    pod: str = ""
    container: str = ""
    previous: bool = False
    patience: float | None = None
    workload: str = ""

    @property
    def about(self) -> str:
        """The name of the object that it is about."""
        return self.pod or self.workload


@dataclass(frozen=True, slots=True)
class Rollout:
    """``missing`` says what is not there yet; empty when all is. ``lagging`` are pods that are not
    as far as they have to be, each with a container that is not."""

    missing: str = ""
    troubles: tuple[Trouble, ...] = ()
    lagging: tuple[tuple[str, str], ...] = ()

    @property
    def done(self) -> bool:
        """Whether all is there."""
        return not self.missing


class RolloutError(RuntimeError):
    """A rollout that has not come to its end, and why; ``log`` is what the container to blame has
    written last."""

    def __init__(self, sentence: str, log: str = "") -> None:
        super().__init__(sentence)
        self.log = log


# --- one look -------------------------------------------------------------------------------


def judge(workloads: Iterable[Object], pods: Sequence[Object], level: Level) -> Rollout:
    """How far the rollout of ``workloads`` is, whose ``pods`` these are."""
    missing: list[str] = []
    troubles: list[Trouble] = []
    lagging: list[tuple[str, str]] = []
    for workload in workloads:
        label = workload["spec"]["selector"]["matchLabels"][NODE_LABEL]
        own = [pod for pod in pods if labels_of(pod).get(NODE_LABEL) == label]
        troubles += _workload_troubles(workload)
        alive = [pod for pod in own if "deletionTimestamp" not in pod["metadata"]]
        for pod in alive:
            troubles += pod_troubles(pod)
        lagging += [(name_of(pod), _behind(pod)) for pod in alive if not _reached(pod, level)]
        said = _missing(workload, alive, level)
        if said:
            missing.append(f"{title(workload)}: {said}")
    return Rollout("; ".join(missing), tuple(troubles), tuple(lagging))


def _reached(pod: Object, level: Level) -> bool:
    return is_up(pod) and (level is Level.UP or is_ready(pod))


def _behind(pod: Object) -> str:
    """The first container of a pod that is not ready; empty where none is there yet."""
    for one in (pod.get("status") or {}).get("containerStatuses") or ():
        if not one.get("ready", False):
            return str(one["name"])
    return ""


def _missing(workload: Object, pods: Sequence[Object], level: Level) -> str:
    status, wanted = workload.get("status") or {}, int(workload["spec"].get("replicas", 1))
    if int(status.get("observedGeneration", 0)) < int(workload["metadata"].get("generation", 1)):
        return "the change has not been seen by its controller yet"
    updated, there = int(status.get("updatedReplicas", 0)), int(status.get("replicas", 0))
    if updated < wanted:
        return f"{updated} of {wanted} pods are new"
    if there > updated:
        return f"{there - updated} old pods are ending"
    reached = sum(_reached(pod, level) for pod in pods)
    if reached < wanted:
        return f"{reached} of {wanted} pods are {level.value}"
    return ""


def is_up(pod: Object) -> bool:
    """Whether every container of a pod has started, and its model takes requests."""
    status = pod.get("status") or {}
    found = {one["name"]: one for one in status.get("containerStatuses") or ()}
    for container in pod["spec"]["containers"]:
        one = found.get(container["name"])
        if one is None or "running" not in (one.get("state") or {}):
            return False
        if not one.get("started", False):
            return False
        if container["name"] == "model" and not one.get("ready", False):
            return False
    return True


def is_ready(pod: Object) -> bool:
    """Whether a pod is ready as its probes say."""
    return condition(pod, "Ready").get("status") == "True"


def condition(one: Object, kind: str) -> Object:
    """A condition of an object's status; empty where it has none."""
    for found in (one.get("status") or {}).get("conditions") or ():
        if found.get("type") == kind:
            return dict(found)
    return {}


def _workload_troubles(workload: Object) -> list[Trouble]:
    found = []
    failing = condition(workload, "ReplicaFailure")
    if failing.get("status") == "True":
        sentence = f"{title(workload)}: {_said(failing)}"
        found.append(Trouble(sentence, workload=name_of(workload)))
    progress = condition(workload, "Progressing")
    if progress.get("status") == "False":
        sentence = f"{title(workload)}: {_said(progress)}"
        found.append(Trouble(sentence, patience=0.0, workload=name_of(workload)))
    return found


def pod_troubles(pod: Object) -> list[Trouble]:
    """What is in a pod's way, the containers first."""
    name, status = name_of(pod), pod.get("status") or {}
    found = []
    statuses = [
        *(status.get("initContainerStatuses") or ()),
        *(status.get("containerStatuses") or ()),
    ]
    for one in statuses:
        trouble = _container_trouble(name, one)
        if trouble is not None:
            found.append(trouble)
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        found.append(Trouble(f"pod {name}: {_said(scheduled)}", name))
    ready = condition(pod, "Ready")
    if ready.get("reason") == "NodeNotReady" or status.get("reason") == "NodeLost":
        host = pod["spec"].get("nodeName", "")
        found.append(Trouble(f"pod {name}: its node {host} is not ready", name))
    if status.get("phase") == "Failed":
        found.append(Trouble(f"pod {name}: {_said(status) or 'Failed'}", name))
    return found


HOPELESS = {
    "ErrImagePull": PULL_PATIENCE,
    "ImagePullBackOff": PULL_PATIENCE,
    "ErrImageNeverPull": 0.0,
    "InvalidImageName": 0.0,
    "CreateContainerConfigError": PULL_PATIENCE,
    "CreateContainerError": PULL_PATIENCE,
    "RunContainerError": PULL_PATIENCE,
}
"""Seconds for which a container may wait with this reason."""


def _container_trouble(pod: str, one: Object) -> Trouble | None:
    state, restarts = one.get("state") or {}, int(one.get("restartCount", 0))
    where = f"pod {pod}, container {one['name']}"
    waiting = state.get("waiting") or {}
    reason = waiting.get("reason", "")
    ended = (one.get("lastState") or {}).get("terminated") or {}
    if reason == "CrashLoopBackOff":
        patience = 0.0 if restarts >= CRASHES else None
        how = f"; it ended with {_end(ended)}" if ended else ""
        sentence = f"{where}: {_said(waiting)}{how}"
        return Trouble(sentence, pod, one["name"], previous=True, patience=patience)
    if reason and reason not in ("ContainerCreating", "PodInitializing"):
        return Trouble(
            f"{where}: {_said(waiting)}", pod, one["name"], patience=HOPELESS.get(reason)
        )
    stopped = state.get("terminated") or {}
    if stopped and int(stopped.get("exitCode", 0)) != 0:
        return Trouble(f"{where}: ended with {_end(stopped)}", pod, one["name"])
    if state.get("running") and restarts and ended and not one.get("ready", False):
        sentence = f"{where}: was restarted {restarts} times; it ended with {_end(ended)}"
        patience = 0.0 if restarts >= CRASHES and not one.get("started", False) else None
        return Trouble(sentence, pod, one["name"], previous=True, patience=patience)
    return None


def _end(terminated: Object) -> str:
    code, reason = terminated.get("exitCode", 0), terminated.get("reason", "")
    message = f": {terminated['message'].strip()}" if terminated.get("message") else ""
    return f"exit code {code} ({reason}){message}" if reason else f"exit code {code}{message}"


def _said(one: Object) -> str:
    reason, message = one.get("reason") or "", one.get("message") or ""
    return f"{reason}: {message}" if reason and message else str(reason or message)


# --- until it is done -----------------------------------------------------------------------


async def wait_rollout(
    api: Api, names: Collection[tuple[str, str]], level: Level, timeout: float
) -> None:
    """Wait until the workloads ``names`` (kind and name) have rolled out.

    Raises :class:`RolloutError` after ``timeout`` seconds, or as soon as there is no hope, with
    what is in the way and the last lines of the container to blame.
    """
    deadline = time.monotonic() + timeout
    since: dict[tuple[str, str, str], float] = {}
    found = Rollout("nothing is known of it yet")
    while True:
        found = await look(api, names, level)
        if found.done:
            return
        now = time.monotonic()
        keys = {(one.pod, one.container, _kind(one)): one for one in found.troubles}
        since = {key: since.get(key, now) for key in keys}
        hopeless = [
            one
            for key, one in keys.items()
            if one.patience is not None and now - since[key] >= one.patience
        ]
        if hopeless:
            raise await _failure(api, found, hopeless[0])
        if now >= deadline:
            first = found.troubles[0] if found.troubles else None
            raise await _failure(api, found, first, timeout)
        await asyncio.sleep(min(LOOK_INTERVAL, max(0.05, deadline - now)))


async def look(api: Api, names: Collection[tuple[str, str]], level: Level) -> Rollout:
    """How far the rollout of these workloads is now."""
    kinds = {DEPLOYMENT.kind: DEPLOYMENT, STATEFUL_SET.kind: STATEFUL_SET}
    workloads, pods = [], []
    for kind, name in sorted(names):
        one = await api.get(kinds[kind], name)
        if one is None or "deletionTimestamp" in one["metadata"]:
            sentence = f"{kind} {name} was deleted meanwhile"
            return Rollout(sentence, (Trouble(sentence, patience=0.0, workload=name),))
        workloads.append(one)
        pods += await api.list_objects(POD, one["spec"]["selector"]["matchLabels"])
    return judge(workloads, pods, level)


def _kind(trouble: Trouble) -> str:
    # An image that cannot be pulled changes between two words for it.
    return "waits" if trouble.patience == PULL_PATIENCE else trouble.sentence[:80]


async def _failure(
    api: Api, found: Rollout, trouble: Trouble | None, timeout: float | None = None
) -> RolloutError:
    late = "" if timeout is None else f"not there after {timeout:.0f} s: "
    if trouble is None:
        # Nothing says that it cannot come up: what is known of the first that has not.
        pod, container = found.lagging[0] if found.lagging else ("", "")
        trouble = Trouble(found.missing, pod, container)
    sentence, log = f"{late}{trouble.sentence}", ""
    events = await api.events_of(trouble.about) if trouble.about else []
    told = why(events)
    if told and told not in sentence:
        sentence += f" ({told})"
    if trouble.pod and trouble.container:
        for previous in (trouble.previous, not trouble.previous):
            log = await api.log(trouble.pod, trouble.container, LOG_LINES, previous=previous)
            if log.strip():
                break
    # What the container has written last stands last: it says why.
    lines = [*map(event_line, events[-EVENT_LINES:]), *log.rstrip().splitlines()]
    return RolloutError(sentence, "\n".join(lines))


def why(events: Sequence[Object]) -> str:
    """What the newest warning among an object's events says; they are the oldest first."""
    for event in reversed(events):
        # "Back-off ..." says less than what it backs off from.
        if event.get("type") == "Warning" and event.get("reason") != "BackOff":
            return f"{event.get('reason', '')}: {event.get('message', '')}".strip(": \n")
    return ""


def event_line(event: Object) -> str:
    """An event as ``kubectl describe`` has it, on one line."""
    about = (event.get("involvedObject") or {}).get("name", "")
    said = " ".join(str(event.get("message") or "").split())
    return f"{event_time(event)} {event.get('type', '')} {event.get('reason', '')} {about}: {said}"
