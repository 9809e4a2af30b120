"""The Kubernetes API, as far as the engine uses it: objects of one namespace as plain mappings.

Source: the Kubernetes API concepts (server-side apply, label selectors).
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes_asyncio.client.api_client import ApiClient

from hogar_provider.engines.kubernetes_login import Login, log_in
from hogar_provider.engines.kubernetes_settings import KubernetesSettings, SettingsError

log = logging.getLogger(__name__)

Object = dict[str, Any]
"""A Kubernetes object."""

FIELD_MANAGER = "hogar"
"""Who owns the fields that are applied here."""

CALL_TIMEOUT = 15.0
"""Seconds for one call to the API."""

PAUSES = (0.2, 0.5, 1.0, 2.0)
"""Seconds before each further try of a call."""

LOGIN_INTERVAL = 10.0
"""Seconds between two looks at credentials that the API has refused."""

PAGE = 500
"""Objects in one answer of a list."""

MOST_LISTED = 20_000
"""Objects of one kind in one list: beyond that something is wrong."""

LARGEST_LOG = 1024 * 1024
"""Bytes of a pod's log that are asked for at most."""


class ApiError(RuntimeError):
    """What the API refuses, in its own words. ``status`` is the HTTP status, 0 where it could not
    be asked; ``reason`` the API's word for it."""

    def __init__(self, sentence: str, status: int = 0, reason: str = "", causes: Any = ()) -> None:
        super().__init__(sentence)
        self.status = status
        self.reason = reason
        self.causes = tuple(causes)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of objects, and where the API has them."""

    api_version: str
    kind: str
    plural: str

    def path(self, namespace: str, name: str = "") -> str:
        """Of one object, or of all in the namespace."""
        root = (
            f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        )
        found = f"{root}/namespaces/{namespace}/{self.plural}"
        return f"{found}/{name}" if name else found


CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
SECRET = Kind("v1", "Secret", "secrets")
SERVICE = Kind("v1", "Service", "services")
POD = Kind("v1", "Pod", "pods")
EVENT = Kind("v1", "Event", "events")
POD_METRICS = Kind("metrics.k8s.io/v1beta1", "PodMetrics", "pods")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
STATEFUL_SET = Kind("apps/v1", "StatefulSet", "statefulsets")
BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")

APPLIED = (
    NETWORK_POLICY,
    CONFIG_MAP,
    SERVICE,
    BUDGET,
    STATEFUL_SET,
    DEPLOYMENT,
)
"""The kinds that are applied, in the order in which they are: what confines pods, and what they
mount and are called by, before the pods themselves."""

_BY_NAME = {(kind.api_version, kind.kind): kind for kind in (*APPLIED, SECRET)}


def kind_of(one: Object) -> Kind:
    """An object's kind; raises :class:`ApiError` for one that is never applied here."""
    key = (str(one.get("apiVersion")), str(one.get("kind")))
    try:
        return _BY_NAME[key]
    except KeyError:
        raise ApiError(f"objects of kind {key[1]} ({key[0]}) are not applied") from None


def selector(labels: Mapping[str, str]) -> str:
    """A label selector that all of ``labels`` must match."""
    return ",".join(f"{name}={value}" for name, value in labels.items())


class Api:
    """The calls of one cluster, in one namespace. Each has a deadline and raises
    :class:`ApiError`."""

    def __init__(self, settings: KubernetesSettings, folder: Path, login: Login) -> None:
        self._settings = settings
        self._folder = folder
        self._login = login
        self._earlier: list[Login] = []
        self._logged_in_at = time.monotonic()
        self._logging_in = asyncio.Lock()
        self.namespace = settings.namespace

    @classmethod
    async def open(cls, settings: KubernetesSettings, folder: Path) -> Api:
        """Read how to come to the API; as :func:`log_in`."""
        return cls(settings, folder, await log_in(settings, folder))

    @property
    def _client(self) -> ApiClient:
        return self._login.client

    async def _log_in_again(self, refused: Login) -> bool:
        """Read the credentials anew, as they may be others now; whether they were read."""
        async with self._logging_in:
            if self._login is not refused:
                return True
            if time.monotonic() - self._logged_in_at < LOGIN_INTERVAL:
                return False
            self._logged_in_at = time.monotonic()
            try:
                fresh = await log_in(self._settings, self._folder)
            except SettingsError as error:
                log.warning("%s", error)
                return False
            # Calls may be under way on the one before.
            while self._earlier:
                await self._earlier.pop().close()
            self._earlier.append(self._login)
            self._login = fresh
            return True

    async def close(self) -> None:
        """Close what is open."""
        for login in (self._login, *self._earlier):
            await login.close()

    # --- objects ----------------------------------------------------------------------------

    async def get(self, kind: Kind, name: str) -> Object | None:
        """An object, None where there is none."""
        try:
            return await self._json("GET", kind.path(self.namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def list_objects(self, kind: Kind, labels: Mapping[str, str]) -> list[Object]:
        """All objects with these labels, by their names."""
        return await self._list(kind, [("labelSelector", selector(labels))])

    async def events_of(self, name: str) -> list[Object]:
        """The events of the object that is called so, the oldest first."""
        found = await self._list(EVENT, [("fieldSelector", f"involvedObject.name={name}")])
        return sorted(found, key=event_time)

    async def warnings(self) -> list[Object]:
        """All events of the namespace that are warnings, the oldest first."""
        return sorted(await self._list(EVENT, [("fieldSelector", "type=Warning")]), key=event_time)

    async def _list(self, kind: Kind, query: list[tuple[str, str]]) -> list[Object]:
        found: list[Object] = []
        more = ""
        while len(found) < MOST_LISTED:
            asked = [*query, ("limit", str(PAGE)), *([("continue", more)] if more else [])]
            reply = await self._json("GET", kind.path(self.namespace), asked)
            # The objects of a list do not say what they are.
            own = {"apiVersion": kind.api_version, "kind": kind.kind}
            found += [own | one for one in reply.get("items") or ()]
            more = (reply.get("metadata") or {}).get("continue") or ""
            if not more:
                break
        return sorted(found, key=name_of)

    async def apply(self, one: Object, force: bool = False) -> Object:
        """Server-side apply: what the object says becomes so, and nothing else of it changes."""
        query = [("fieldManager", FIELD_MANAGER), ("fieldValidation", "Strict")]
        if force:
            query.append(("force", "true"))
        return await self._json(
            "PATCH",
            kind_of(one).path(self.namespace, name_of(one)),
            query,
            one,
            "application/apply-patch+yaml",
        )

    async def create(self, one: Object) -> Object:
        """Create an object; one that is there is a conflict (409)."""
        return await self._json(
            "POST", kind_of(one).path(self.namespace), [("fieldManager", FIELD_MANAGER)], one
        )

    async def delete(self, kind: Kind, name: str) -> None:
        """Delete an object and what belongs to it, if it is there; it is gone a while later."""
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"}
        try:
            await self._json("DELETE", kind.path(self.namespace, name), body=body)
        except ApiError as error:
            if error.status != 404:
                raise

    async def log(self, pod: str, container: str, lines: int, *, previous: bool = False) -> str:
        """The last lines of a container; empty where it has not started."""
        query = [
            ("container", container),
            ("tailLines", str(lines)),
            ("limitBytes", str(LARGEST_LOG)),
            *([("previous", "true")] if previous else []),
        ]
        path = f"{POD.path(self.namespace, pod)}/log"
        try:
            data = await self._call("GET", path, query)
        except ApiError as error:
            # There is none yet, or none any more.
            if error.status in (400, 404):
                return ""
            raise
        return data.decode("utf-8", errors="replace")

    # --- the wire ---------------------------------------------------------------------------

    async def _json(
        self,
        method: str,
        path: str,
        query: list[tuple[str, str]] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        data = await self._call(method, path, query, body, content_type)
        try:
            found = json.loads(data)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ApiError(f"{self._client.configuration.host} answers no JSON: no Kubernetes API")
        return found

    async def _call(
        self,
        method: str,
        path: str,
        query: list[tuple[str, str]] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> bytes:
        """A call; one that may be repeated is, where the API is busy, restarts or cannot be
        reached, and one whose credentials are refused once with those that hold now."""
        pauses, refused = list(PAUSES), False
        while True:
            login = self._login
            try:
                return await self._call_once(login, method, path, query, body, content_type)
            except ApiError as error:
                if error.status == 401 and not refused and await self._log_in_again(login):
                    refused = True
                    continue
                # Too many requests: it has not been looked at.
                again = error.status == 429 or (
                    method != "POST" and (error.status == 0 or error.status >= 500)
                )
                if not again or not pauses:
                    raise
            await asyncio.sleep(pauses.pop(0))

    @staticmethod
    async def _call_once(
        login: Login,
        method: str,
        path: str,
        query: list[tuple[str, str]] | None,
        body: Object | None,
        content_type: str,
    ) -> bytes:
        host = login.client.configuration.host
        try:
            reply: aiohttp.ClientResponse = await login.client.call_api(
                path,
                method,
                query_params=query or [],
                header_params={"Accept": "application/json, */*", "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=CALL_TIMEOUT,
            )
            async with reply:
                data = await reply.read()
        except TimeoutError:
            raise ApiError(f"the Kubernetes API at {host} did not answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ApiError(f"the Kubernetes API at {host} cannot be reached: {error}") from None
        if reply.status >= 400:
            raise _refusal(reply.status, data)
        return data

    @asynccontextmanager
    async def port_forward(
        self, pod: str, port: int
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A WebSocket to a port of a pod, in the protocol ``v4.channel.k8s.io``."""
        headers: dict[str, str] = {}
        await self._client.update_params_for_auth(headers, [], ["BearerToken"])
        path = f"{POD.path(self.namespace, pod)}/portforward?ports={port}"
        url = "ws" + str(self._client.configuration.host).removeprefix("http") + path
        rest = self._client.rest_client
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                socket = await rest.pool_manager.ws_connect(
                    url,
                    headers=headers,
                    proxy=rest.proxy,
                    proxy_headers=rest.proxy_headers,
                    protocols=("v4.channel.k8s.io",),
                    max_msg_size=0,
                    heartbeat=30.0,
                )
        except aiohttp.WSServerHandshakeError as error:
            raise ApiError(
                f"the Kubernetes API forwards no port of pod {pod}: {error.message}", error.status
            ) from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ApiError(f"port {port} of pod {pod} cannot be reached: {error}") from None
        try:
            yield socket
        finally:
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                await socket.close()


def _refusal(status: int, data: bytes) -> ApiError:
    try:
        said = json.loads(data)
        message, reason = str(said["message"]), str(said.get("reason") or "")
        causes = (said.get("details") or {}).get("causes") or ()
    except (ValueError, KeyError, TypeError, AttributeError):
        message, reason, causes = data[:500].decode(errors="replace").strip(), "", ()
    sentence = f"the Kubernetes API answers {status}: {message or 'nothing more'}"
    if status == 403:
        sentence += " (see docs/kubernetes_role.yaml for what the engine's account must be allowed)"
    if status == 401:
        sentence += " (the connection's credentials are not accepted)"
    return ApiError(sentence, status, reason, causes)


# --- reading objects ------------------------------------------------------------------------


def name_of(one: Object) -> str:
    """An object's name."""
    return str(one["metadata"]["name"])


def labels_of(one: Object) -> dict[str, str]:
    """An object's labels."""
    return one["metadata"].get("labels") or {}


def annotations_of(one: Object) -> dict[str, str]:
    """An object's annotations."""
    return one["metadata"].get("annotations") or {}


def event_time(event: Object) -> str:
    """When an event was seen last, as the API writes times."""
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"].get("creationTimestamp")
        or ""
    )
