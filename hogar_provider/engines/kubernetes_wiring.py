"""The way to a graph's wiring, which serves the agent's live calls inside the cluster."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from earg.answered import answered
from earg.payload import CHANNEL_OPTIONS
from earg.protos import hogar_pb2_grpc
from hogar_provider.engines.kubernetes_api import POD, Api, ApiError, Object, name_of
from hogar_provider.engines.kubernetes_apply import GRAPH_LABEL, NODE_LABEL
from hogar_provider.engines.kubernetes_forward import Forward
from hogar_provider.engines.kubernetes_graph import GraphObjects
from udgl.targets._manifest import label_name

RESOLVE_AGAIN = 5.0
"""Seconds after which a Service's address is looked up again: its pod may be another one."""

AWAY = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.CANCELLED,
    }
)
"""What a call ends with where nobody has answered it."""


class WiringAway(RuntimeError):  # noqa: N818  a state more than an error
    """The wiring does not answer, and why."""


class WiringRefusal(RuntimeError):  # noqa: N818  it has answered
    """What the wiring has refused, with gRPC's code."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code


def serving_port(objects: GraphObjects) -> tuple[str, int] | None:
    """The wiring's Service and the port at which it serves; None where the compiled files have
    none."""
    for one in objects.wiring_objects:
        if one["kind"] == "Service":
            port = one["spec"]["ports"][0]
            target = port.get("targetPort", port["port"])
            if isinstance(target, str):
                target = _named_port(objects, target)
            return name_of(one), int(target)
    return None


def _named_port(objects: GraphObjects, name: str) -> int:
    (wiring,) = (one for one in objects.wiring_objects if one["kind"] == "Deployment")
    for container in wiring["spec"]["template"]["spec"]["containers"]:
        for port in container.get("ports", ()):
            if port.get("name") == name:
                return int(port["containerPort"])
    raise ApiError(f"{objects.wiring} has no port called {name}")


async def pod_of(api: Api, graph: str, label: str) -> Object:
    """A pod of a Deployment of the graph, one that is ready if there is one; raises
    :class:`ApiError`."""
    labels = {GRAPH_LABEL: label_name(graph), NODE_LABEL: label}
    pods = [
        pod
        for pod in await api.list_objects(POD, labels)
        if "deletionTimestamp" not in pod["metadata"]
        and (pod.get("status") or {}).get("phase") == "Running"
    ]
    if not pods:
        raise ApiError(f"no pod of {label} runs")

    def is_unready(pod: Object) -> bool:
        conditions = (pod.get("status") or {}).get("conditions") or ()
        return not any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    return min(pods, key=is_unready)


class WiringLink:
    """The calls of one graph's wiring. Everything is opened at the first call."""

    def __init__(self, api: Api, objects: GraphObjects, token: str, socket: Path | None) -> None:
        """``socket`` is where the forwarded port listens; None: the Service is reached by name."""
        self._api = api
        self._objects = objects
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._socket = socket
        self._forward: Forward | None = None
        self._channel: grpc.aio.Channel | None = None
        self._address = ""
        self._resolved_at = 0.0
        self._opening = asyncio.Lock()

    def serves(self, objects: GraphObjects) -> bool:
        """Whether it is the link to this graph, as it is now."""
        return (self._objects.wiring, serving_port(self._objects)) == (
            objects.wiring,
            serving_port(objects),
        )

    async def close(self) -> None:
        """Close it."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()
        forward, self._forward = self._forward, None
        if forward is not None:
            await forward.close()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.unlink(missing_ok=True)

    async def call(self, method: str, request: Any, timeout: float) -> Any:
        """One call of the service ``Agent``. Raises :class:`WiringAway` where it is not answered,
        and :class:`WiringRefusal` where the answer is an error."""
        channel = await self._open()
        stub = hogar_pb2_grpc.AgentStub(channel)
        try:
            return await answered(
                getattr(stub, method)(request, timeout=timeout, metadata=self._metadata)
            )
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), error.details() or ""
            if code not in AWAY:
                raise WiringRefusal(code, details) from None
            self._resolved_at = 0.0
            said = self._forward.trouble if self._forward is not None else ""
            raise WiringAway(
                f"the wiring {self._objects.wiring} does not answer: {said or details or code.name}"
            ) from None
        except OSError as error:
            raise WiringAway(
                f"the wiring {self._objects.wiring} does not answer: {error}"
            ) from None

    async def _open(self) -> grpc.aio.Channel:
        async with self._opening:
            found = serving_port(self._objects)
            if found is None:
                raise WiringAway(f"the wiring {self._objects.wiring} serves no calls")
            service, port = found
            if self._socket is not None:
                if self._channel is None:
                    self._forward = Forward(self._api, lambda: self._find(port))
                    target = await self._forward.listen_at(self._socket)
                    self._channel = self._new_channel(target)
                return self._channel
            now = time.monotonic()
            if self._channel is None or now - self._resolved_at > RESOLVE_AGAIN:
                address = await self._resolve(service, port)
                if address != self._address:
                    if self._channel is not None:
                        await self._channel.close()
                    self._channel, self._address = self._new_channel(address), address
                self._resolved_at = now
            assert self._channel is not None
            return self._channel

    @staticmethod
    def _new_channel(target: str) -> grpc.aio.Channel:
        options = dict(CHANNEL_OPTIONS) | {
            "grpc.default_authority": "localhost",
            # A pod that comes back is not waited for longer than it takes.
            "grpc.initial_reconnect_backoff_ms": 200,
            "grpc.max_reconnect_backoff_ms": 2000,
        }
        return grpc.aio.insecure_channel(target, options=list(options.items()))

    async def _resolve(self, service: str, port: int) -> str:
        host = f"{service}.{self._api.namespace}.svc"
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(5.0):
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError) as error:
            raise WiringAway(
                f"{host} has no address here ({error}); set 'reach' to port-forward where the "
                "agent is outside the cluster"
            ) from None
        family, *_, address = found[0]
        ip = f"[{address[0]}]" if family == socket.AF_INET6 else address[0]
        return f"{ip}:{port}"

    async def _find(self, port: int) -> tuple[str, int]:
        pod = await pod_of(self._api, self._objects.name, self._objects.wiring)
        return name_of(pod), port
