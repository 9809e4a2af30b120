"""A Kubernetes API server on loopback, with controllers that do as little as tests can do with.

``kmock`` is the HTTP server and the store. What it has not is here: server-side apply, strict
validation of what is applied, label selectors, roles, pods for workloads, their logs and their
ports. There is no scheduler and no kubelet: a pod says what the test lets it say, at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import datetime
import functools
import hashlib
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp.web
import attrs
import kmock
import kubernetes_validate
import kubernetes_validate.utils
from kmock._internal.rendering import Request  # what handlers get has no public name

from hogar_provider.engines.kubernetes_settings import KubernetesSettings, Reach
from tests.kubernetes.server_side_apply import Applied, ConflictError, Object

NAMESPACE = "graphs"
USER = f"system:serviceaccount:{NAMESPACE}:hogar"
API_TOKEN = "the-account's-own-token"
VERSIONS = ("1.31", "1.34", "1.37")

# It reads its files anew for every object.
kubernetes_validate.utils.schema_contents = functools.cache(
    kubernetes_validate.utils.schema_contents
)

METRICS = "metrics.k8s.io"

PLURALS = {
    "configmaps": ("v1", "ConfigMap"),
    "secrets": ("v1", "Secret"),
    "services": ("v1", "Service"),
    "pods": ("v1", "Pod"),
    "events": ("v1", "Event"),
    "deployments": ("apps/v1", "Deployment"),
    "statefulsets": ("apps/v1", "StatefulSet"),
    "poddisruptionbudgets": ("policy/v1", "PodDisruptionBudget"),
    "networkpolicies": ("networking.k8s.io/v1", "NetworkPolicy"),
}

Say = Callable[[Object], Object]
"""The status of a pod, by the pod."""

Used = tuple[str, str, str]
"""API group, resource (with its subresource) and verb."""


def running(pod: Object, ready: bool = True) -> Object:
    """The status of a pod whose containers run; not ``ready`` while its proxy has no graph."""
    statuses = []
    for container in pod["spec"]["containers"]:
        own = ready or container["name"] == "model"
        statuses.append(
            {
                "name": container["name"],
                "ready": own,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": now()}},
            }
        )
    return {
        "phase": "Running",
        "podIP": pod["metadata"]["annotations"]["test/ip"],
        "containerStatuses": statuses,
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": "True" if ready else "False"},
        ],
    }


def unwired(pod: Object) -> Object:
    """A pod whose proxy has no graph."""
    return running(pod, ready=False)


def waiting(container: str, reason: str, message: str, **more: Any) -> Say:
    """A pod one of whose containers waits."""

    def say(pod: Object) -> Object:
        status = running(pod, ready=False)
        for one in status["containerStatuses"]:
            if one["name"] == container:
                one.update(
                    state={"waiting": {"reason": reason, "message": message}},
                    ready=False,
                    started=False,
                )
                one.update(more)
        return status

    return say


def unschedulable(message: str) -> Say:
    """A pod that has no node."""

    def say(pod: Object) -> Object:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        return {"phase": "Pending", "conditions": [condition | {"message": message}]}

    return say


def now() -> str:
    """The time as the API writes it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@attrs.define(kw_only=True)
class Cluster(kmock.KubernetesEmulator):
    """One namespace of a cluster."""

    role: list[Object] | None = None
    """The rules of a Role that the caller has; None: all is allowed."""

    says: dict[str, Say] = attrs.field(factory=dict)
    """What the pods of a workload say, by its label ``hogar/node``; else :func:`running`."""

    logs: dict[tuple[str, str, bool], str] = attrs.field(factory=dict)
    """Logs by workload's label, container and whether they are of the run before."""

    ports: dict[tuple[str, int], tuple[str, int]] = attrs.field(factory=dict)
    """Where a pod's port really is, by the pod's workload's label and the port."""

    ips: dict[str, str] = attrs.field(factory=dict)
    """The addresses of pods, by name or by their workload's label; else made up."""

    hosts: tuple[str, ...] = ("node-a", "node-b")
    used: set[Used] = attrs.field(factory=set)
    applied: list[Object] = attrs.field(factory=list)
    deleted: list[str] = attrs.field(factory=list)
    token: str = API_TOKEN
    """What callers must show."""

    metrics: list[Object] | None = attrs.field(factory=list)
    """The metrics of pods; None: there is no Metrics API."""

    busy: list[int] = attrs.field(factory=list)
    """What the next calls are answered with, in the place of an answer."""

    refuses: dict[str, tuple[int, str]] = attrs.field(factory=dict)
    """A status and a message by ``Kind/name`` that an apply of that object gets."""

    states: dict[tuple[str, str], Applied] = attrs.field(factory=dict)
    forwarded: set[asyncio.Task[None]] = attrs.field(factory=set)
    _versions: Iterator[int] = attrs.field(factory=lambda: itertools.count(1000))
    _numbers: Iterator[int] = attrs.field(factory=lambda: itertools.count(10))

    # --- for tests --------------------------------------------------------------------------

    def find(self, kind: str, name: str) -> Object | None:
        """An object that there is."""
        key = self._key(_plural(kind), name)
        if key not in self.objects or self.objects[key].deleted:
            return None
        return dict(self.objects[key].raw)

    def all(self, kind: str) -> list[Object]:
        """All objects of a kind."""
        plural = _plural(kind)
        return [
            one.raw
            for (resource, _, _), one in self.objects.items()
            if resource.plural == plural and not one.deleted
        ]

    def names(self) -> set[tuple[str, str]]:
        """Kind and name of everything that was not made by a controller."""
        return {
            (kind, one["metadata"]["name"])
            for kind in (kind for _, kind in PLURALS.values())
            if kind not in ("Pod", "Event")
            for one in self.all(kind)
        }

    def add(self, one: Object) -> None:
        """An object that somebody else has made, who owns all of its fields."""
        state = Applied()
        state.apply("kubectl-create", one, force=True)
        self.states[one["kind"], one["metadata"]["name"]] = state
        self._store_applied(one["kind"], one["metadata"]["name"], state)

    def set_field(self, kind: str, name: str, config: Object, manager: str) -> None:
        """Somebody else applies fields of an object."""
        state = self.states[kind, name]
        state.apply(manager, config, force=True)
        self._store_applied(kind, name, state)

    def event(self, pod: Object, reason: str, message: str, kind: str = "Warning") -> None:
        """An event about an object."""
        name = f"{pod['metadata']['name']}.{next(self._versions):x}"
        about = {"kind": pod.get("kind", "Pod"), "name": pod["metadata"]["name"]}
        self._store(
            "events",
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": name, "namespace": NAMESPACE, "creationTimestamp": now()},
                "involvedObject": about,
                "type": kind,
                "reason": reason,
                "message": message,
                "lastTimestamp": now(),
            },
        )

    def pods_of(self, label: str) -> list[Object]:
        """The pods of a workload, by name."""
        self.control()
        found = [
            pod for pod in self.all("Pod") if pod["metadata"]["labels"].get("hogar/node") == label
        ]
        return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))

    # --- the controllers --------------------------------------------------------------------

    def control(self) -> None:
        """One step of all controllers: pods for workloads, and their status."""
        for kind in ("Deployment", "StatefulSet"):
            for workload in self.all(kind):
                self._control(kind, copy.deepcopy(workload))

    def _control(self, kind: str, workload: Object) -> None:
        name, spec = workload["metadata"]["name"], workload["spec"]
        label = spec["selector"]["matchLabels"].get("hogar/node", name)
        own = [
            pod
            for pod in self.all("Pod")
            if any(o["name"] == name and o["kind"] == kind for o in _owners(pod))
        ]
        if "deletionTimestamp" in workload["metadata"]:
            for pod in own:
                self._drop("pods", pod["metadata"]["name"])
            if not own:
                self._drop(_plural(kind), name)
                self.states.pop((kind, name), None)
            return
        text = json.dumps(spec["template"], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        wanted = int(spec.get("replicas", 1))
        old = [pod for pod in own if pod["metadata"]["labels"]["test/template"] != digest]
        new = [pod for pod in own if pod not in old]
        if kind == "Deployment":
            for pod in old:
                self._drop("pods", pod["metadata"]["name"])
            if not old:
                new += [
                    self._make_pod(workload, f"{name}-{digest[:5]}-{next(self._numbers)}")
                    for _ in range(wanted - len(new))
                ]
            for pod in new[wanted:]:
                self._drop("pods", pod["metadata"]["name"])
        else:
            there = {pod["metadata"]["name"]: pod for pod in own}
            new += [
                self._make_pod(workload, f"{name}-{number}")
                for number in range(wanted)
                if f"{name}-{number}" not in there
            ]
            for gone in sorted(set(there) - {f"{name}-{n}" for n in range(wanted)}):
                self._drop("pods", gone)
            # From the last to the first, each once those that are new are ready.
            if old and all(_is_ready(pod) for pod in new):
                self._drop("pods", max(pod["metadata"]["name"] for pod in old))
        for pod in new:
            changed = copy.deepcopy(pod)
            changed["status"] = self.says.get(label, running)(changed)
            self._store("pods", changed)
        updated = len(new)
        workload["status"] = {
            **(workload.get("status") or {}),
            "observedGeneration": workload["metadata"]["generation"],
            "replicas": updated + len(old),
            "updatedReplicas": updated,
            "readyReplicas": sum(_is_ready(pod) for pod in self.all("Pod") if pod in new),
        }
        self._store(_plural(kind), workload)

    def _make_pod(self, workload: Object, name: str) -> Object:
        template = workload["spec"]["template"]
        text = json.dumps(template, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        number = next(self._numbers)
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "uid": f"pod-{number}",
                "labels": {**template["metadata"]["labels"], "test/template": digest},
                "annotations": {
                    "test/ip": self.ips.get(name)
                    or self.ips.get(template["metadata"]["labels"].get("hogar/node", ""))
                    or f"10.42.0.{number % 250}"
                },
                "ownerReferences": [
                    {"kind": workload["kind"], "name": workload["metadata"]["name"]}
                ],
                "creationTimestamp": now(),
            },
            "spec": copy.deepcopy(template["spec"])
            | {"nodeName": self.hosts[number % len(self.hosts)]},
            "status": {"phase": "Pending"},
        }
        self._store("pods", pod)
        return pod

    # --- the API ----------------------------------------------------------------------------

    async def _handle(self, request: Request) -> aiohttp.web.StreamResponse:
        resource = request.resource
        if resource is not None and resource.plural == "selfsubjectaccessreviews":
            return self._review(request)
        if resource is not None and resource.group == METRICS:
            return self._tell_metrics(request)
        if resource is None or resource.plural not in PLURALS:
            return await super()._handle(request)
        if self.busy:
            return _status(self.busy.pop(0), "ServiceUnavailable", "the server is busy")
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized", "Unauthorized")
        refused = self._authorize(request)
        if refused is not None:
            return refused
        plural, name = resource.plural, request.name
        if plural in ("pods", "deployments", "statefulsets"):
            self.control()
        if request.subresource == "log":
            return self._log(request)
        if request.subresource == "portforward":
            return await self._forward(request)
        if request.method.value.upper() == "PATCH":
            return self._patch(request)
        if request.method.value.upper() == "DELETE":
            return self._delete(plural, str(name))
        if request.method.value.upper() == "GET":
            return self._serve(request) if name is None else self._fetch(plural, name)
        if request.method.value.upper() == "POST":
            request.data["metadata"]["resourceVersion"] = str(next(self._versions))
        return await super()._handle(request)

    def _tell_metrics(self, request: Request) -> aiohttp.web.Response:
        if self.metrics is None:
            return aiohttp.web.Response(status=404, text="404 page not found\n")
        refused = self._authorize(request)
        if refused is not None:
            return refused
        assert request.params["labelSelector"] == "app.kubernetes.io/managed-by=hogar"
        return aiohttp.web.json_response({"metadata": {}, "items": self.metrics})

    def _authorize(self, request: Request) -> aiohttp.web.Response | None:
        assert request.resource is not None
        method, group = request.method.value.upper(), request.resource.group or ""
        plural = str(request.resource.plural)
        what = f"{plural}/{request.subresource}" if request.subresource else plural
        verbs = {
            "GET": ["get" if request.name else "list"],
            "PATCH": ["patch"],
            "POST": ["create"],
            "DELETE": ["delete"],
        }[method]
        if method == "PATCH" and self.find(PLURALS[plural][1], str(request.name)) is None:
            verbs.append("create")
        if request.subresource == "portforward":
            # Clusters ask for either, by their version.
            verbs = ["get", "create"]
        for verb in verbs:
            self.used.add((group, what, verb))
            if self.role is not None and not any(
                group in rule["apiGroups"] and what in rule["resources"] and verb in rule["verbs"]
                for rule in self.role
            ):
                named = f' "{request.name}"' if request.name else ""
                return _status(
                    403,
                    "Forbidden",
                    f"{what}{named} is forbidden: User {json.dumps(USER)} cannot {verb} "
                    f"resource {json.dumps(what)} in API group {json.dumps(group)} in the "
                    f'namespace "{NAMESPACE}"',
                )
        return None

    def _fetch(self, plural: str, name: str) -> aiohttp.web.Response:
        one = self.find(PLURALS[plural][1], name)
        if one is None:
            return _status(404, "NotFound", f'{plural} "{name}" not found')
        return aiohttp.web.json_response(one)

    def _review(self, request: Request) -> aiohttp.web.Response:
        asked = request.data["spec"]["resourceAttributes"]
        assert asked["namespace"] == NAMESPACE
        allowed = self.role is None or any(
            asked["group"] in rule["apiGroups"]
            and asked["resource"] in rule["resources"]
            and asked["verb"] in rule["verbs"]
            for rule in self.role
        )
        return aiohttp.web.json_response({**request.data, "status": {"allowed": allowed}})

    def _serve(self, request: Request) -> aiohttp.web.Response:
        assert request.resource is not None
        plural = str(request.resource.plural)
        items = self.all(PLURALS[plural][1])
        for part in filter(None, request.params.get("labelSelector", "").split(",")):
            key, _, value = part.partition("=")
            items = [
                one for one in items if (one["metadata"].get("labels") or {}).get(key) == value
            ]
        for part in filter(None, request.params.get("fieldSelector", "").split(",")):
            key, _, value = part.partition("=")
            items = [one for one in items if _field(one, key) == value]
        items.sort(key=lambda one: str(one["metadata"]["name"]))
        begin, limit = int(request.params.get("continue", "0")), int(request.params["limit"])
        page = items[begin : begin + limit]
        more = {"continue": str(begin + limit)} if begin + limit < len(items) else {}
        # The objects of a list do not say what they are.
        bare = [{k: v for k, v in one.items() if k not in ("apiVersion", "kind")} for one in page]
        return aiohttp.web.json_response({"metadata": more, "items": bare})

    def _patch(self, request: Request) -> aiohttp.web.Response:
        assert request.resource is not None
        plural, name = str(request.resource.plural), str(request.name)
        if request.headers["Content-Type"] != "application/apply-patch+yaml":
            return _status(415, "UnsupportedMediaType", "only server-side apply is supported here")
        if "fieldManager" not in request.params:
            return _status(422, "Invalid", "PatchOptions.meta.k8s.io: fieldManager: Required value")
        # kmock reads bodies of types that it knows.
        config = json.loads(request.body)
        api_version, kind = PLURALS[plural]
        assert (config["apiVersion"], config["kind"]) == (api_version, kind)
        assert config["metadata"]["name"] == name
        refused = self.refuses.get(f"{kind}/{name}")
        if refused is not None:
            return _status(refused[0], "Invalid", refused[1])
        wrong = _invalid(json.dumps(config, sort_keys=True))
        if wrong:
            return _status(422, "Invalid", f"{kind} {name!r} is invalid: {wrong}")
        self.applied.append(config)
        state = copy.deepcopy(self.states.get((kind, name), Applied()))
        try:
            state.apply(
                request.params["fieldManager"], config, request.params.get("force") == "true"
            )
        except ConflictError as conflict:
            causes = [
                {
                    "reason": "FieldManagerConflict",
                    "message": f"conflict with {manager!r}",
                    "field": ".".join(map(str, path)),
                }
                for path, manager in conflict.managers.items()
            ]
            said = "; ".join(f"{one['message']}: {one['field']}" for one in causes)
            return _status(409, "Conflict", f"Apply failed with conflicts: {said}", causes)
        self.states[kind, name] = state
        return aiohttp.web.json_response(self._store_applied(kind, name, state))

    def _store_applied(self, kind: str, name: str, state: Applied) -> Object:
        before = self.find(kind, name)
        after = state.object()
        metadata = after["metadata"]
        metadata["namespace"] = NAMESPACE
        old = before["metadata"] if before else {}
        for field in ("uid", "creationTimestamp", "deletionTimestamp"):
            if field in old:
                metadata[field] = old[field]
        metadata.setdefault("uid", f"uid-{next(self._numbers)}")
        metadata.setdefault("creationTimestamp", now())
        if before and "status" in before:
            after["status"] = before["status"]
        generation = old.get("generation", 0)
        same_spec = before is not None and before.get("spec") == after.get("spec")
        metadata["generation"] = generation if same_spec else generation + 1
        same = before is not None and {**after, "metadata": None} == {**before, "metadata": None}
        about = {k: v for k, v in old.items() if k != "resourceVersion"}
        if same and about == metadata:
            metadata["resourceVersion"] = old["resourceVersion"]
        else:
            metadata["resourceVersion"] = str(next(self._versions))
        self._store(_plural(kind), after)
        return after

    def _delete(self, plural: str, name: str) -> aiohttp.web.Response:
        kind = PLURALS[plural][1]
        one = self.find(kind, name)
        if one is None:
            return _status(404, "NotFound", f'{plural} "{name}" not found')
        self.deleted.append(f"{kind} {name}")
        if kind in ("Deployment", "StatefulSet"):
            # Its pods are gone first.
            changed = copy.deepcopy(one)
            changed["metadata"]["deletionTimestamp"] = now()
            self._store(plural, changed)
        else:
            self._drop(plural, name)
            self.states.pop((kind, name), None)
        return aiohttp.web.json_response(one)

    def _log(self, request: Request) -> aiohttp.web.Response:
        pod = self.find("Pod", str(request.name))
        if pod is None:
            return _status(404, "NotFound", f'pods "{request.name}" not found')
        label, container = pod["metadata"]["labels"]["hogar/node"], request.params["container"]
        previous = request.params.get("previous") == "true"
        text = self.logs.get((label, container, previous))
        if text is None and previous:
            return _status(
                400, "BadRequest", f'previous terminated container "{container}" not found'
            )
        lines = (text or "").splitlines(keepends=True)[-int(request.params["tailLines"]) :]
        return aiohttp.web.Response(text="".join(lines))

    async def _forward(self, request: Request) -> aiohttp.web.StreamResponse:
        pod = self.find("Pod", str(request.name))
        assert pod is not None
        port = int(request.params["ports"])
        socket = aiohttp.web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await socket.prepare(request._raw_request)  # type: ignore[arg-type]
        number = port.to_bytes(2, "little")
        await socket.send_bytes(b"\x00" + number)
        await socket.send_bytes(b"\x01" + number)
        label = pod["metadata"]["labels"]["hogar/node"]
        try:
            ip, real = self.ports[label, port]
            reader, writer = await asyncio.open_connection(ip, real)
        except (KeyError, OSError) as error:
            await socket.send_bytes(b"\x01" + f"dial tcp: connection refused: {error}".encode())
            await socket.close()
            return socket

        async def up() -> None:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.BINARY and message.data[:1] == b"\x00":
                    writer.write(message.data[1:])
                    await writer.drain()

        async def down() -> None:
            while data := await reader.read(65536):
                await socket.send_bytes(b"\x00" + data)

        sides = [asyncio.create_task(up()), asyncio.create_task(down())]
        try:
            await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in sides:
                task.cancel()
            await asyncio.gather(*sides, return_exceptions=True)
            writer.close()
            with contextlib.suppress(OSError):
                await socket.close()
        return socket

    # --- the store --------------------------------------------------------------------------

    def _key(self, plural: str, name: str) -> tuple[Any, str, str]:
        api_version = PLURALS[plural][0]
        group, _, version = api_version.rpartition("/")
        return kmock.resource(group, version, plural), NAMESPACE, name

    def _store(self, plural: str, one: Object) -> None:
        key = self._key(plural, one["metadata"]["name"])
        if key in self.objects:
            del self.objects[key]
        self.objects[key] = one

    def _drop(self, plural: str, name: str) -> None:
        key = self._key(plural, name)
        if key in self.objects:
            del self.objects[key]


@contextlib.asynccontextmanager
async def running_cluster(**fields: Any) -> AsyncIterator[tuple[Cluster, KubernetesSettings]]:
    """A cluster, and settings to come to it."""
    async with Cluster(**fields) as cluster, kmock.Server(cluster) as server:
        yield cluster, settings_of(f"http://127.0.0.1:{server.port}")


def settings_of(url: str, **more: Any) -> KubernetesSettings:
    """Settings with a kubeconfig for an API at ``url``."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "hogar", "user": {"token": API_TOKEN}}],
        "contexts": [
            {"name": "test", "context": {"cluster": "test", "user": "hogar", "namespace": "x"}}
        ],
    }
    return KubernetesSettings(
        NAMESPACE, kubeconfig=json.dumps(config), **({"reach": Reach.PORT_FORWARD} | more)
    )


def read_role(path: Path) -> list[Object]:
    """The rules of the Role in a file."""
    import yaml

    documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    (role,) = (one for one in documents if one["kind"] == "Role")
    return list(role["rules"])


@functools.lru_cache(maxsize=1000)
def _invalid(text: str) -> str:
    """Why an object is none for one of the versions; the same objects come often."""
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(json.loads(text), version, strict=True)
        except kubernetes_validate.ValidationError as error:
            return f"{version}: {error}"
    return ""


def _plural(kind: str) -> str:
    return next(plural for plural, (_, own) in PLURALS.items() if own == kind)


def _owners(pod: Object) -> list[Object]:
    return list(pod["metadata"].get("ownerReferences") or ())


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _field(one: Object, path: str) -> str:
    value: Any = one
    for step in path.split("."):
        value = value.get(step, {})
    return str(value)


def _status(
    code: int, reason: str, message: str, causes: list[Object] | None = None
) -> aiohttp.web.Response:
    body: Object = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    if causes:
        body["details"] = {"causes": causes}
    return aiohttp.web.json_response(body, status=code)
