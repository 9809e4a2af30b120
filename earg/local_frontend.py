"""The frontend of a graph of this machine: its process, its HTTP port, and the calls to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol

import grpc
import grpc.aio

from earg.addresses import Ports, is_free
from earg.channel import open_channel
from earg.child import Child, LogError
from earg.config import StaticConfig
from earg.deployed import DeploymentError
from earg.environment import QUIET, process_environment
from earg.heartbeat import Watched
from earg.http_listener import listen
from earg.ledger import GraphRecord, ProcessRecord
from earg.metrics_targets import MetricsTarget
from earg.node import GIVE_UP
from earg.pair import (
    CALL_TIMEOUT,
    OWN_FRONTEND,
    TRACEBACK_LINES,
    AddressTakenError,
    Commands,
    StartError,
    wait_until_up,
)
from earg.protos import hogar_pb2, hogar_pb2_grpc, prediction_pb2, prediction_pb2_grpc
from earg.security import security
from earg.status import PingStatus

log = logging.getLogger(__name__)

FIRST_HTTP_PORT, LAST_HTTP_PORT = 8500, 8999
"""Where a frontend's HTTP port is looked for; the first free one is taken."""

HTTP_IP = "EARG_HTTP_IP"
"""The agent's setting for the IPv4 address that frontends take HTTP on (default: loopback)."""

FRONTEND_TIMEOUT = 20.0
"""Seconds for a frontend to come up."""

ADDRESS_ATTEMPTS = 5
"""How often it is started anew because somebody took its address first."""

POLL_INTERVAL = 0.05
"""Seconds between looks at one that is not ready yet."""


class Graph(Protocol):
    """What a frontend needs of its graph."""

    name: str
    version: str

    wired: bool
    """Whether it has served."""

    draining: bool
    """Whether it takes no new requests."""

    wiring_lock: asyncio.Lock
    """Held by whoever starts the frontend."""

    @property
    def config(self) -> StaticConfig:
        """Its nodes and edges."""

    @property
    def is_closed(self) -> bool:
        """Whether it is being taken down, or left."""

    @property
    def entry_ip(self) -> str:
        """Where the primary of its first node is."""

    async def next_seq(self) -> int:
        """The number with which a frontend goes on that comes in another one's place."""

    async def retarget(self, index: int, address: str) -> None:
        """Let everybody who sends to node ``index`` send to ``address``."""

    def tell(self, node: str, what: str) -> None:
        """Add to the event log."""

    def changed(self) -> None:
        """Write the ledger."""

    def begin(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something that is to be finished, whoever has asked for it."""


class LocalFrontend:
    """One frontend at a time; who dies is replaced. The HTTP port stays open between them, so that
    clients who come meanwhile wait and are not refused. ``ip`` is where it takes gRPC."""

    def __init__(
        self,
        graph: Graph,
        commands: Commands,
        folder: Path,
        ip: str,
        ports: Ports,
        http_port: int = FIRST_HTTP_PORT,
    ) -> None:
        self.ip = ip
        self.http_port = http_port
        self.address = f"{ip}:{ports.proxy}"
        self.child: Child | None = None
        self._starting: Child | None = None
        self._graph = graph
        self._commands = commands
        self._folder = folder
        self._proxy_port = ports.proxy
        self._listener: socket.socket | None = None
        self._url = ""

    @property
    def starting(self) -> list[Child]:
        """The one that has not come up yet."""
        return [] if self._starting is None else [self._starting]

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.child is not None and self.child.running

    @property
    def url(self) -> str:
        """Where it takes HTTP; empty while it does not run."""
        return self._url if self.running else ""

    @property
    def is_own(self) -> bool:
        """Whether it is ours: no other takes a listener, or serves metrics."""
        return self._commands.frontend[-1:] == OWN_FRONTEND

    @property
    def process(self) -> Child:
        """Its process, also one that has ended; raises :class:`DeploymentError`."""
        if self.child is None:
            raise DeploymentError(f"graph {self._graph.name} has no frontend yet; wire it first")
        return self.child

    @property
    def watched(self) -> list[Watched]:
        """What the heartbeat asks."""
        if self.child is None or not self.child.running:
            return []
        return [Watched(self.child, self.ip, self._proxy_port, False)]

    @property
    def targets(self) -> list[MetricsTarget]:
        """What Prometheus is to scrape of it."""
        if not self._url or not self.is_own:
            return []
        address = self._url.removeprefix("http://")
        return [MetricsTarget(address, self._graph.name, "", "frontend")]

    def record(self) -> ProcessRecord | None:
        """What :meth:`adopt` needs."""
        return self.child.record() if self.child is not None else None

    def adopt(self, record: GraphRecord) -> None:
        """Own what an agent before this one has started, and bring back what has died since."""
        if record.frontend is not None:
            self.child = Child.adopt(record.frontend, self._ended)
        if self.child is not None:
            self.child.has_answered = True
            self._url = _url(record.http_port)
        elif record.wired:
            # Also where the record has none: it was being replaced when the agent was killed.
            self._graph.tell("frontend", "was found dead by a new agent")
            self._graph.begin(self._recover())

    # --- its process ------------------------------------------------------------------------

    async def start(self) -> None:
        """Start it; whoever calls holds the graph's ``wiring_lock``. Raises :class:`StartError`."""
        graph = self._graph
        entry_ip = graph.entry_ip
        for attempt in range(ADDRESS_ATTEMPTS):
            if self.is_own and self._listener is None:
                self._listener, self.http_port = _listen(self.http_port)
            elif not self.is_own:
                self.http_port = _free_http_port(self.http_port)
            descriptors = [] if self._listener is None else [self._listener.fileno()]
            child = await self._start_child(entry_ip, descriptors)
            self._starting = child
            graph.changed()
            try:
                what = f"the frontend of {graph.name}"
                await wait_until_up(child, what, self._ping(), FRONTEND_TIMEOUT)
            except AddressTakenError:
                # Which of its two addresses it was, only its log tells; this one can be another.
                self.close_listener()
                self.http_port += 1
                if attempt == ADDRESS_ATTEMPTS - 1:
                    raise
                continue
            except BaseException:
                await asyncio.shield(child.stop())
                raise
            finally:
                self._starting = None
            self.child = child
            self._url = _url(self.http_port)
            graph.changed()
            if graph.entry_ip != entry_ip:
                await graph.retarget(1, graph.entry_ip)
            if graph.draining:
                await self.admit(False)
            return

    async def _start_child(self, entry_ip: str, descriptors: list[int]) -> Child:
        graph = self._graph
        variables = {
            "GRAPH_NAME": graph.name,
            "GRAPH_VERSION": graph.version,
            "ENTRY_PROXY_NAME": entry_ip,
            "ENTRY_PROXY_PORT": str(self._proxy_port),
            "NODE_NAMES": ",".join(node.name for node in graph.config.nodes),
            "MAX_WORKERS": "1024",
            "PROXY_PORT": str(self._proxy_port),
            "LISTEN_IP": self.ip,
            "FIRST_SEQ": str(await graph.next_seq()),
            "HTTP_IP": _http_ip(),
            "HTTP_PORT": str(self.http_port),
        }
        if descriptors:
            variables["HTTP_FD"] = str(descriptors[0])
        try:
            return await Child.start(
                [*self._commands.frontend, f"{graph.name}.frontend"],
                process_environment(telemetry=True) | QUIET | variables,
                self._folder,
                self._folder / "logs" / "frontend.log",
                self._ended,
                home=self._commands.home,
                needs_log=not graph.wired,
                descriptors=descriptors,
            )
        except LogError as error:
            raise StartError(
                f"the frontend of {graph.name} is not started: its log {error}"
            ) from None
        except OSError as error:
            raise StartError(f"{self._commands.frontend[0]} cannot be started: {error}") from None

    def _ended(self, child: Child) -> None:
        self._graph.changed()
        if child.stopping or self._graph.is_closed or child is not self.child:
            return
        self._graph.tell("frontend", f"(pid {child.pid}) {child.describe_exit()}")
        self._graph.begin(self._recover())

    async def _recover(self) -> None:
        graph = self._graph
        for attempt in range(GIVE_UP):
            await asyncio.sleep(0 if attempt == 0 else min(5.0, 0.1 * 2**attempt))
            async with graph.wiring_lock:
                if graph.is_closed or self.running:
                    return
                try:
                    await self.start()
                except StartError as error:
                    graph.tell("frontend", f"did not come back: {error}")
                    continue
            graph.tell("frontend", "is back")
            return
        # Nobody would answer those who wait.
        self.close_listener()
        graph.tell("frontend", f"is given up after {GIVE_UP} failed starts")

    async def stop(self) -> None:
        """Stop its processes; returns when they are gone."""
        if self.child is not None:
            await self.child.stop()
        if self._starting is not None:
            await self._starting.stop()

    def close_listener(self) -> None:
        """Let clients be refused while nobody takes HTTP."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    # --- calls ------------------------------------------------------------------------------

    async def wait_until_ready(self, timeout: float) -> None:
        """Wait until it passes requests on; raises :class:`DeploymentError`."""
        name = self._graph.name
        deadline = time.monotonic() + timeout
        while True:
            child = self.process
            if not child.running:
                raise StartError(
                    f"the frontend of {name} {child.describe_exit()}; wire it again",
                    child.tail(TRACEBACK_LINES),
                )
            with contextlib.suppress(grpc.aio.AioRpcError):
                if await self._ping() is PingStatus.READY:
                    return
            if time.monotonic() > deadline:
                raise DeploymentError(
                    f"the frontend of {name} found no ready entry within {timeout:.0f} s"
                )
            await asyncio.sleep(POLL_INTERVAL)

    async def _ping(self) -> PingStatus:
        async with open_channel(self.address) as channel:
            stub = prediction_pb2_grpc.ProxyServerStub(channel)
            reply = await stub.ping(
                prediction_pb2.ping_req(), timeout=FRONTEND_TIMEOUT, wait_for_ready=True
            )
            return PingStatus(reply.status)

    async def retarget(self, address: str) -> None:
        """Let it send to the first node at ``address``; raises :class:`StartError`."""
        await self._call("Retarget", hogar_pb2.RetargetRequest(index=1, address=address))

    async def admit(self, admit: bool) -> int:
        """Let it take new requests, or none; how many it has. Raises :class:`StartError`."""
        reply = await self._call("Admit", hogar_pb2.AdmissionRequest(admit=admit))
        return int(reply.waiting)

    async def replay(self) -> None:
        """Let it send again what is in the graph, if it answers."""
        await self._try("Replay", hogar_pb2.Done())

    async def set_version(self, version: str) -> None:
        """Tell it the graph's version, if it answers."""
        await self._try("SetVersion", hogar_pb2.GraphVersion(version=version))

    async def _try(self, call: str, request: Any) -> None:
        try:
            await self._call(call, request)
        except StartError as error:
            log.warning("%s", error)

    async def _call(self, call: str, request: Any) -> Any:
        async with open_channel(self.address) as channel:
            stub = hogar_pb2_grpc.ControlStub(channel)
            try:
                return await getattr(stub, call)(request, timeout=CALL_TIMEOUT)
            except grpc.aio.AioRpcError as error:
                raise StartError(
                    f"the frontend of {self._graph.name} did not {call}: {error.details()}"
                ) from None


def _http_ip() -> str:
    """Where frontends take HTTP. One that others reach needs :mod:`earg.security`."""
    return os.environ.get(HTTP_IP, "") or "127.0.0.1"


def _url(http_port: int) -> str:
    ip = _http_ip()
    host = "127.0.0.1" if ip == "0.0.0.0" else ip  # noqa: S104  the address is only read
    return f"{security().http_scheme}://{host}:{http_port}"


def _listen(first: int) -> tuple[socket.socket, int]:
    """A socket on the first free port from ``first`` on, and the port."""
    ip = _http_ip()
    while True:
        port = _free_http_port(first)
        try:
            return listen(ip, port), port
        except OSError:
            # Somebody took it since.
            first = port + 1


def _free_http_port(first: int) -> int:
    ip = _http_ip()
    for port in range(first, LAST_HTTP_PORT + 1):
        if is_free(ip, port):
            return port
    raise StartError(f"no port from {first} to {LAST_HTTP_PORT} is free on {ip}")
