"""Brings the nodes of graphs up in a namespace, and takes graphs away.

What is deployed is in the cluster alone: this keeps nothing but which deploys are under way.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from earg.config import StaticConfig
from earg.images import Implementation
from earg.plan import Plan
from hogar_provider.engines.kubernetes_api import (
    CONFIG_MAP,
    DEPLOYMENT,
    STATEFUL_SET,
    Api,
    ApiError,
    Kind,
    Object,
    labels_of,
    name_of,
)
from hogar_provider.engines.kubernetes_apply import (
    ENGINE,
    WORKLOADS,
    apply_all,
    find_all,
    is_applied,
    prune,
    wait_gone,
)
from hogar_provider.engines.kubernetes_artifact import (
    Artifact,
    drop_artifacts,
    find_artifact,
    mounts_artifact,
    put_artifact,
    with_artifact,
)
from hogar_provider.engines.kubernetes_graph import (
    GraphError,
    GraphObjects,
    check_image,
    compile_objects,
    read_config_map,
    with_implementation,
)
from hogar_provider.engines.kubernetes_rollout import Level, wait_rollout
from hogar_provider.engines.kubernetes_settings import Claim
from hogar_provider.engines.kubernetes_token import delete_graph_token, graph_token

log = logging.getLogger(__name__)

DOWN_TIMEOUT = 55.0
"""Seconds until what is taken down has to be gone."""

OPERATOR_LABEL = "app.kubernetes.io/name"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]{0,199}\Z")

Name = tuple[str, str]
"""Kind and name of an object."""


class DeployError(RuntimeError):
    """What was asked cannot be done with the graph as it is."""


@dataclass(slots=True, eq=False)
class _Graph:
    """What is under way for the graphs of one name."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    deploying: int = 0


class Deployer:
    """The graphs of a namespace that this engine has deployed, and the calls that change them.

    Methods raise :class:`DeployError`, :class:`GraphError`, :class:`ApiError`, ``OwnerError`` and
    :class:`RolloutError`.
    """

    def __init__(
        self,
        api: Api,
        token: str,
        tell: Callable[[str, str, str], None],
        claim: Claim | None = None,
    ) -> None:
        """``claim`` is where trained models are; without one those are handed over that are
        small."""
        self._api = api
        self._token = token
        self._claim = claim
        self._tell = tell
        self._under_way: dict[str, _Graph] = {}
        self._read: dict[str, tuple[str, GraphObjects]] = {}
        self._read_at = 0.0

    # --- what there is ----------------------------------------------------------------------

    async def graphs(self, age: float = 0.0) -> dict[str, GraphObjects]:
        """All graphs, by name, as they were so many seconds ago at most. What somebody has made
        unreadable is left out, and told."""
        begin = time.monotonic()
        if begin - self._read_at < age:
            return {one.name: one for _, one in self._read.values()}
        found: dict[str, GraphObjects] = {}
        read: dict[str, tuple[str, GraphObjects]] = {}
        for one in await self._api.list_objects(CONFIG_MAP, ENGINE):
            if "deletionTimestamp" in one["metadata"]:
                continue
            key, version = name_of(one), str(one["metadata"].get("resourceVersion"))
            known = self._read.get(key)
            if known is None or known[0] != version:
                try:
                    known = (version, await asyncio.to_thread(read_config_map, one))
                except GraphError as error:
                    log.warning("%s", error)
                    continue
            read[key] = known
            found[known[1].name] = known[1]
        self._read, self._read_at = read, begin
        return dict(sorted(found.items()))

    async def graph(self, name: str, age: float = 0.0) -> GraphObjects:
        """One of them; raises :class:`DeployError` that names all."""
        found = await self.graphs(age)
        try:
            return found[name]
        except KeyError:
            known = ", ".join(found) or "none"
            raise DeployError(f"no graph {name!r} is deployed here (deployed: {known})") from None

    async def workloads(
        self, graph: str, labels: Mapping[str, str] | None = None
    ) -> dict[Name, Object]:
        """The workloads of a graph that are not being deleted; with ``labels`` those that carry
        them."""
        return {
            (kind.kind, name_of(one)): one
            for kind, one in await find_all(self._api, graph, WORKLOADS, labels)
            if "deletionTimestamp" not in one["metadata"]
        }

    # --- deploying --------------------------------------------------------------------------

    async def deploy(
        self,
        name: str,
        version: str,
        plan: Plan,
        index: int,
        implementation: Implementation,
        timeout: float,
        *,
        force: bool = False,
        drain: Callable[[GraphObjects], Awaitable[None]],
    ) -> GraphObjects:
        """Apply the objects of node ``index``, and what all pods need where it is not there; wait
        until its models have loaded.

        A graph of that name with other nodes or edges is drained and taken down first. A node that
        does not come up is taken away again where it is new; one that replaces another stays, and
        Kubernetes keeps trying.
        """
        until = time.monotonic() + timeout
        for what, value in (("name", name), ("version", version)):
            if not _NAME.match(value):
                raise DeployError(
                    f"graph {what} {value!r}: letters, digits, '_' and '.' are admitted, "
                    "200 at most, the first no '.'"
                )
        if not 1 <= index <= len(plan.config.nodes):
            raise DeployError(
                f"graph {name} has {len(plan.config.nodes)} nodes, there is no node {index}"
            )
        check_image(plan.config.nodes[index - 1], implementation)
        wanted = await asyncio.to_thread(compile_objects, name, version, plan)
        node = wanted.nodes[index - 1][0]
        artifact = await asyncio.to_thread(
            find_artifact, plan, index, implementation, node, self._claim
        )
        under_way = self._under_way.setdefault(name, _Graph())
        async with under_way.lock:
            await self._open(wanted, under_way, until, drain)
            under_way.deploying += 1
        try:
            await self._roll_out(wanted, index, implementation, artifact, until, force)
        finally:
            under_way.deploying -= 1
        return wanted

    async def _open(
        self,
        wanted: GraphObjects,
        under_way: _Graph,
        until: float,
        drain: Callable[[GraphObjects], Awaitable[None]],
    ) -> None:
        """Make the graph the one that is being deployed."""
        name = wanted.name
        before = (await self.graphs()).get(name)
        if before is not None and (before.version, before.plan) == (wanted.version, wanted.plan):
            return
        if before is not None and under_way.deploying:
            raise DeployError(
                f"graph {name} is being deployed with another config (version {before.version}) "
                "right now; wait for that, or take the graph down"
            )
        if before is not None and _topology(before.plan.config) != _topology(wanted.plan.config):
            await drain(before)
            await self._take_down(before, time.monotonic() + DOWN_TIMEOUT)
            self._tell(name, "graph", "was taken down: its next config has other nodes or edges")
            before = None
        await graph_token(self._api, name, wanted.secret, self._token)
        await apply_all(self._api, name, [wanted.config, *wanted.shared])
        self._read_at = 0.0
        if before is None:
            return
        self._tell(name, "graph", f"is being redeployed as version {wanted.version}")
        if await self._is_wired(wanted):
            # A proxy takes a graph once: what comes back from now on must get the new one.
            await apply_all(self._api, name, wanted.wiring_objects)
            await self._wait([(DEPLOYMENT.kind, wanted.wiring)], Level.READY, until)

    async def _is_wired(self, objects: GraphObjects) -> bool:
        """Whether somebody gives the graph's proxies their graph."""
        found = await self._api.get(DEPLOYMENT, objects.wiring)
        return found is not None and "deletionTimestamp" not in found["metadata"]

    async def _roll_out(
        self,
        wanted: GraphObjects,
        index: int,
        implementation: Implementation,
        artifact: Artifact | None,
        until: float,
        force: bool,
    ) -> None:
        name, spec = wanted.name, wanted.plan.config.nodes[index - 1]
        objects = with_implementation(wanted.nodes[index - 1], implementation)
        if artifact is not None:
            objects = with_artifact(objects, artifact)
        node = labels_of(objects[0])
        names = [(o["kind"], name_of(o)) for o in objects if o["kind"] in _KINDS]
        label = {OPERATOR_LABEL: node[OPERATOR_LABEL]}
        there = await self.workloads(name, label)
        is_new = not any(one in there for one in names)
        await self._make_way(wanted, index, objects, there)
        restart = datetime.datetime.now(datetime.UTC).isoformat() if force and not is_new else ""
        try:
            if artifact is not None:
                await put_artifact(self._api, artifact)
            applied = await apply_all(self._api, name, objects, restart=restart)
            if applied.created or applied.changed:
                self._tell(name, spec.name, f"Kubernetes: {applied}")
            await self._wait(names, Level.UP, until)
        except BaseException as error:
            if is_new and not isinstance(error, ApiError):
                await asyncio.shield(self._take_away(name, names, node))
            raise
        if artifact is not None or any(map(mounts_artifact, there.values())):
            # Those of trainings before this one.
            await drop_artifacts(self._api, name, node, artifact)

    async def _make_way(
        self,
        wanted: GraphObjects,
        index: int,
        objects: tuple[Object, ...],
        there: dict[Name, Object],
    ) -> None:
        """Delete what the operator had and has no more; and, of a graph that nobody wires, pods
        that could not be replaced one by one: none of them becomes ready."""
        name = wanted.name
        label = {OPERATOR_LABEL: labels_of(objects[0])[OPERATOR_LABEL]}
        gone = await prune(self._api, name, wanted.kept, labels=label)
        if gone:
            node = wanted.plan.config.nodes[index - 1].name
            self._tell(name, node, f"Kubernetes: removed {', '.join(gone)}")
        if await self._is_wired(wanted):
            return
        for one in objects:
            before = there.get((one["kind"], name_of(one)))
            is_set = one["kind"] == STATEFUL_SET.kind
            if is_set and before is not None and not is_applied(before, one, name):
                await self._api.delete(STATEFUL_SET, name_of(one))

    async def _take_away(self, name: str, names: list[Name], node: Mapping[str, str]) -> None:
        try:
            for kind, own in names:
                await self._api.delete(_KINDS[kind], own)
            await drop_artifacts(self._api, name, node)
        except ApiError as error:
            log.warning("graph %s: a node that did not come up is still there: %s", name, error)

    async def _wait(self, names: list[Name], level: Level, until: float) -> None:
        await wait_rollout(self._api, names, level, max(0.0, until - time.monotonic()))

    # --- wiring -----------------------------------------------------------------------------

    async def wire(self, name: str, timeout: float) -> GraphObjects:
        """Apply the frontend and the wiring, prune what the graph has no more, and wait until both
        run."""
        until = time.monotonic() + timeout
        objects = await self.graph(name)
        under_way = self._under_way.setdefault(name, _Graph())
        async with under_way.lock:
            there = await self.workloads(name)
            self._check_nodes(objects, there)
            await graph_token(self._api, name, objects.secret, self._token)
            rest = [
                objects.config,
                *objects.shared,
                *objects.frontend_objects,
                *objects.wiring_objects,
            ]
            applied = await apply_all(self._api, name, rest)
            gone = await prune(self._api, name, objects.kept)
            if applied.created or applied.changed:
                self._tell(name, "graph", f"Kubernetes: {applied}")
            if gone:
                self._tell(name, "graph", f"Kubernetes: removed {', '.join(gone)}")
        # Two waits: the frontend is ready once the whole graph is.
        await self._wait([(DEPLOYMENT.kind, objects.wiring)], Level.READY, until)
        await self._wait([(DEPLOYMENT.kind, objects.frontend)], Level.UP, until)
        return objects

    def _check_nodes(self, objects: GraphObjects, there: dict[Name, Object]) -> None:
        missing, stale = [], []
        for spec, own in zip(objects.plan.config.nodes, objects.nodes, strict=True):
            workloads = [one for one in own if one["kind"] in _KINDS]
            found = [there.get((one["kind"], name_of(one))) for one in workloads]
            if any(one is None for one in found):
                missing.append(spec.name)
            elif any(
                _told(before) != _told(one)
                for before, one in zip(found, workloads, strict=True)
                if before is not None
            ):
                stale.append(f"{spec.name} (version {spec.version})")
        if missing:
            raise DeployError(
                f"graph {objects.name} cannot be wired: {', '.join(missing)} not running; "
                "deploy every node first"
            )
        if stale:
            raise DeployError(
                f"graph {objects.name} cannot be wired: {', '.join(stale)} not deployed with its "
                "new config yet; deploy every node first"
            )

    # --- taking away ------------------------------------------------------------------------

    async def down(self, name: str) -> None:
        """Delete everything of a graph; returns when it is gone."""
        objects = await self.graph(name)
        async with self._under_way.setdefault(name, _Graph()).lock:
            await self._take_down(objects, time.monotonic() + DOWN_TIMEOUT)
        self._tell(name, "graph", "was taken down")

    async def _take_down(self, objects: GraphObjects, until: float) -> None:
        # The wiring first: it would promote backups of what goes. The ConfigMap last: while it is
        # there, whoever was interrupted finds the graph again.
        await self._api.delete(DEPLOYMENT, objects.wiring)
        kept = {(CONFIG_MAP.kind, name_of(objects.config))}
        await prune(self._api, objects.name, kept)
        await wait_gone(self._api, objects.name, max(1.0, until - time.monotonic()))
        await delete_graph_token(self._api, objects.secret)
        await drop_artifacts(self._api, objects.name)
        await self._api.delete(CONFIG_MAP, name_of(objects.config))
        self._read_at = 0.0


_KINDS: dict[str, Kind] = {kind.kind: kind for kind in WORKLOADS}


def _topology(config: StaticConfig) -> tuple[object, ...]:
    return tuple((node.name, node.stateful) for node in config.nodes), config.dist, config.reduce


def _told(workload: Object) -> tuple[object, ...]:
    """What a workload's proxies and models are told; nothing that the API adds, or that only who
    deployed the node knows."""
    template = workload["spec"]["template"]
    annotations = template["metadata"].get("annotations") or {}
    images = {one["name"]: one["image"] for one in template["spec"]["containers"]}
    return annotations.get("hogar/graph-digest"), images, workload["spec"].get("replicas")
