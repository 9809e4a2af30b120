"""One deployed graph on this machine: its nodes, their addresses, its frontend."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from earg import ledger
from earg.addresses import AddressPool, Ports, is_free
from earg.channel import open_channel
from earg.child import Child, LogError
from earg.config import NodeSpec, RuntimeConfig, RuntimeNode, StaticConfig, write_runtime
from earg.environment import QUIET, process_environment
from earg.heartbeat import LOOK_INTERVAL, Heartbeat, Watched
from earg.home import replace_file
from earg.images import Implementation
from earg.ledger import GraphRecord
from earg.metrics_targets import MetricsTarget
from earg.node import GIVE_UP, RunningNode
from earg.pair import (
    CALL_TIMEOUT,
    OWN_FRONTEND,
    TRACEBACK_LINES,
    AddressTakenError,
    Commands,
    RunningPair,
    StartError,
    wait_until_up,
)
from earg.protos import hogar_pb2, hogar_pb2_grpc, prediction_pb2, prediction_pb2_grpc
from earg.security import security
from earg.status import GraphStatus, NodeState, NodeStatus, PingStatus, Role
from earg.warning import Warnings

log = logging.getLogger(__name__)

FIRST_HTTP_PORT, LAST_HTTP_PORT = 8500, 8999
"""Where a frontend's HTTP port is looked for; the first free one is taken."""

HTTP_IP = "EARG_HTTP_IP"
"""The agent's setting for the IPv4 address that frontends take HTTP on (default: loopback)."""

FRONTEND_TIMEOUT = 20.0
"""Seconds for a frontend to come up."""

FAILED_START_GRACE = 1.0
"""Seconds between TERM and KILL for processes that never served."""

ADDRESS_ATTEMPTS = 5
"""How often a process is started anew because somebody took its address first."""

POLL_INTERVAL = 0.05
"""Seconds between looks at a node that is not ready yet."""


class DeploymentError(RuntimeError):
    """What was asked cannot be done with the graph as it is."""


class Deployment:
    """A graph on its way up, serving, or on its way down.

    Nodes are deployed in any order and in parallel; :meth:`wire` needs all of them.
    ``changed`` is called whenever a process starts or ends.
    """

    def __init__(
        self,
        name: str,
        version: str,
        text: str,
        config: StaticConfig,
        folder: Path,
        commands: Commands,
        changed: Callable[[], None],
        tell: Callable[[str, str], None],
        record: GraphRecord | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.text = text
        self.config = config
        self._folder = folder
        self._commands = commands
        self.changed = changed
        self.tell = tell
        self._warnings = Warnings(partial(tell, "agent"))
        self._nodes: dict[int, RunningNode] = {}
        self._starting: set[RunningNode] = set()
        self._locks: dict[int, asyncio.Lock] = {}
        self._wiring = asyncio.Lock()
        self._frontend: Child | None = None
        self._url = ""
        self._http_port = FIRST_HTTP_PORT
        self.wired = False
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        if record is None:
            self._pool = AddressPool(name)
            self._frontend_ip = self._pool.take()
        else:
            self._adopt(record)
        self._start(self._watch())

    def record(self) -> GraphRecord:
        """What an agent that follows this one needs to adopt it."""
        starting = [c for n in self._starting for p in n.pairs for c in (p.model, p.proxy)]
        leftovers = [child.record() for child in starting if child is not None]
        return GraphRecord(
            name=self.name,
            version=self.version,
            config=self.text,
            model_port=self._pool.ports.model,
            proxy_port=self._pool.ports.proxy,
            metrics_port=self._pool.ports.metrics,
            frontend_ip=self._frontend_ip,
            http_port=self._http_port,
            wired=self.wired,
            frontend=self._frontend.record() if self._frontend is not None else None,
            nodes=tuple(self._nodes[index].record() for index in sorted(self._nodes)),
            leftovers=tuple(record for record in leftovers if record is not None),
        )

    def _adopt(self, record: GraphRecord) -> None:
        ports = Ports(record.model_port, record.proxy_port, record.metrics_port)
        used = [pair.ip for node in record.nodes for pair in node.pairs]
        self._pool = AddressPool.adopt(self.name, ports, [record.frontend_ip, *used])
        self._frontend_ip = record.frontend_ip
        self._http_port = record.http_port
        self.wired = record.wired
        ledger.kill(record.leftovers)
        for known in record.nodes:
            spec = self.spec(known.index)
            places = [(pair.name, pair.ip) for pair in known.pairs]
            node = self._new_node(known.index, spec, known.implementation, places)
            self._nodes[known.index] = node
            node.adopt(known)
        if record.frontend is not None:
            self._frontend = Child.adopt(record.frontend, self._frontend_ended)
        if self._frontend is not None:
            self._frontend.has_answered = True
            self._url = _url(record.http_port)
        elif record.wired:
            # Also where the record has none: it was being replaced when the agent was killed.
            self.tell("frontend", "was found dead by a new agent")
            self._start(self._recover_frontend())

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- nodes ------------------------------------------------------------------------------

    def spec(self, index: int) -> NodeSpec:
        """The node's line of the config; raises :class:`DeploymentError`."""
        if not 1 <= index <= len(self.config.nodes):
            raise DeploymentError(
                f"graph {self.name} has {len(self.config.nodes)} nodes, there is no node {index}"
            )
        return self.config.nodes[index - 1]

    def node(self, index: int) -> RunningNode:
        """The node as deployed; raises :class:`DeploymentError`."""
        spec = self.spec(index)
        try:
            return self._nodes[index]
        except KeyError:
            raise DeploymentError(
                f"{spec.name} of graph {self.name} is not deployed; deploy it first"
            ) from None

    async def deploy(
        self, index: int, implementation: Implementation, timeout: float
    ) -> NodeStatus:
        """Start the node's processes, unless they run already; raises :class:`StartError`, and
        then nothing of the node is left running."""
        spec = self.spec(index)
        async with self._locks.setdefault(index, asyncio.Lock()):
            if self._closed:
                raise DeploymentError(f"graph {self.name} was taken down meanwhile")
            present = self._nodes.get(index)
            if present is not None:
                await present.settle()
                if present.running and present.implementation == implementation:
                    return await present.status()
                del self._nodes[index]
                await present.stop()
            places = [(p.name, p.ip) for p in present.pairs] if present is not None else None
            deadline = time.monotonic() + timeout
            for attempt in range(ADDRESS_ATTEMPTS):
                node = self._new_node(index, spec, implementation, places)
                left = max(1.0, deadline - time.monotonic())
                self._starting.add(node)
                try:
                    await _start_all(node.pairs, implementation, left)
                    self._nodes[index] = node
                    return await node.status()
                except AddressTakenError:
                    if attempt == ADDRESS_ATTEMPTS - 1:
                        raise
                    places = None
                finally:
                    self._starting.discard(node)
                    if self._nodes.get(index) is not node:
                        await asyncio.shield(node.stop(FAILED_START_GRACE))
                        self.changed()
        raise AssertionError("unreachable")

    def _new_node(
        self,
        index: int,
        spec: NodeSpec,
        implementation: Implementation,
        places: list[tuple[str, str]] | None,
    ) -> RunningNode:
        if places is None:
            # A node that comes back keeps its addresses: the others need no new graph.
            suffixes = ("", ".backup") if spec.stateful else ("",)
            places = [(f"{self.name}.{spec.name}{one}", self._pool.take()) for one in suffixes]
        pairs = [
            RunningPair(
                name=name,
                index=index,
                role=role,
                spec=spec,
                ip=ip,
                ports=self._pool.ports,
                commands=self._commands,
                folder=self._folder,
                on_start=self.changed,
                on_exit=self._process_ended,
            )
            for role, (name, ip) in zip(Role, places, strict=False)
        ]
        return RunningNode(index, spec, implementation, pairs, self)

    def _process_ended(self, pair: RunningPair, child: Child, kind: str) -> None:
        self.changed()
        node = self._nodes.get(pair.index)
        if child.stopping or self._closed or node is None or pair not in node.pairs:
            return
        node.process_ended(
            f"the {kind} of its {pair.role.value} (pid {child.pid}) {child.describe_exit()}"
        )

    async def _watch(self) -> None:
        """End what hangs: to the others a process that does not answer is dead."""
        heartbeat = Heartbeat()
        try:
            while True:
                await asyncio.sleep(LOOK_INTERVAL)
                watched = self._watched()
                await heartbeat.look(watched)
                self._look_at_logs(one.child for one in watched)
        finally:
            await heartbeat.close()

    def _watched(self) -> list[Watched]:
        ports = self._pool.ports
        found = [
            Watched(child, pair.ip, ports.model if is_model else ports.proxy, is_model)
            for node in self._nodes.values()
            for pair in node.pairs
            for child, is_model in ((pair.model, True), (pair.proxy, False))
            if child is not None and child.running
        ]
        if self._frontend is not None and self._frontend.running:
            found.append(Watched(self._frontend, self._frontend_ip, ports.proxy, False))
        return found

    def _look_at_logs(self, children: Iterable[Child]) -> None:
        for child in children:
            if child.log_trouble:
                self._warnings.begin(
                    str(child.log),
                    f"{child.log_trouble}; what process {child.pid} writes is lost until it is "
                    "started anew",
                )
            else:
                self._warnings.end(str(child.log), f"{child.log} is written again")

    # --- what its nodes need of it ----------------------------------------------------------

    def runtime(self) -> str:
        """The runtime config as it is now; every node must be deployed."""
        return write_runtime(self._runtime())

    async def retarget(self, index: int, address: str) -> None:
        """Let everybody who sends to node ``index`` send to ``address``."""
        calls = [
            pair.retarget(index, address)
            for source in self.config.sources_of(index)
            for pair in self._nodes[source].pairs
            if pair.running
        ]
        if index == 1:
            request = hogar_pb2.RetargetRequest(index=index, address=address)
            calls.append(self._call_frontend("Retarget", request))
        # One that does not answer is dying itself: it will read the new runtime config.
        for result in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(result, StartError):
                log.warning("%s", result)
            elif isinstance(result, BaseException):
                raise result
        if self.wired:
            self._write_runtime()

    def _write_runtime(self) -> str:
        runtime = self.runtime()
        path = self._folder / "runtime.earg"
        try:
            replace_file(path, runtime)
        except OSError as error:
            self._warnings.begin(
                "runtime.earg",
                f"{path} cannot be written: {error.strerror}; it tells people where the nodes are, "
                "serving does not need it",
            )
        else:
            self._warnings.end("runtime.earg", f"{path} is written again")
        return runtime

    def retry_files(self) -> None:
        """Write again what could not be written."""
        if "runtime.earg" in self._warnings and self.wired:
            with contextlib.suppress(KeyError):
                self._write_runtime()

    async def replay(self) -> None:
        """Let the frontend send again what is in the graph."""
        try:
            await self._call_frontend("Replay", hogar_pb2.Done())
        except StartError as error:
            log.warning("%s", error)

    async def _call_frontend(self, call: str, request: Any) -> None:
        address = f"{self._frontend_ip}:{self._pool.ports.proxy}"
        async with open_channel(address) as channel:
            stub = hogar_pb2_grpc.ControlStub(channel)
            try:
                await getattr(stub, call)(request, timeout=CALL_TIMEOUT)
            except grpc.aio.AioRpcError as error:
                raise StartError(
                    f"the frontend of {self.name} did not {call}: {error.details()}"
                ) from None

    # --- the graph --------------------------------------------------------------------------

    async def wire(self) -> None:
        """Start the frontend and send every proxy the graph, where that is not done yet.

        Raises :class:`DeploymentError` for nodes that are missing, :class:`StartError`.
        """
        async with self._wiring:
            missing = [
                spec.name
                for index, spec in enumerate(self.config.nodes, 1)
                if index not in self._nodes or not self._nodes[index].running
            ]
            if missing:
                raise DeploymentError(
                    f"graph {self.name} cannot be wired: {', '.join(missing)} not running; "
                    "deploy every node first"
                )
            if self._frontend is None or not self._frontend.running:
                await self._start_frontend()
            runtime = self._write_runtime()
            waiting = [p for n in self._nodes.values() for p in n.pairs if not p.wired]
            results = await asyncio.gather(
                *(pair.send_graph(runtime) for pair in waiting), return_exceptions=True
            )
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            if self.wired and waiting:
                # A node was replaced: what it had not finished is sent again.
                await self.replay()
            self.wired = True
            self.changed()
            await asyncio.gather(*(node.attach_backup() for node in self._nodes.values()))

    def _runtime(self) -> RuntimeConfig:
        nodes = []
        for index, spec in enumerate(self.config.nodes, 1):
            pairs = self._nodes[index].pairs
            backup = pairs[1].pair if len(pairs) > 1 else None
            nodes.append(RuntimeNode(spec, pairs[0].pair, backup))
        return RuntimeConfig(
            name=self.name,
            version=self.version,
            frontend_name=f"{self.name}.frontend",
            frontend_id=f"{self.name}.frontend",
            frontend_ip=self._frontend_ip,
            nodes=tuple(nodes),
            dist=self.config.dist,
            reduce=self.config.reduce,
        )

    async def _start_frontend(self) -> None:
        entry = self._nodes[1].pairs[0]
        proxy_port = self._pool.ports.proxy
        http_port = self._http_port
        for attempt in range(ADDRESS_ATTEMPTS):
            http_port = _free_http_port(http_port)
            variables = {
                "GRAPH_NAME": self.name,
                "GRAPH_VERSION": self.version,
                "ENTRY_PROXY_NAME": entry.ip,
                "ENTRY_PROXY_PORT": str(proxy_port),
                "NODE_NAMES": ",".join(node.name for node in self.config.nodes),
                "MAX_WORKERS": "1024",
                "PROXY_PORT": str(proxy_port),
                "LISTEN_IP": self._frontend_ip,
                "HTTP_IP": _http_ip(),
                "HTTP_PORT": str(http_port),
            }
            try:
                child = await Child.start(
                    [*self._commands.frontend, f"{self.name}.frontend"],
                    process_environment(telemetry=True) | QUIET | variables,
                    self._folder,
                    self._folder / "logs" / "frontend.log",
                    self._frontend_ended,
                    needs_log=not self.wired,
                )
            except LogError as error:
                raise StartError(
                    f"the frontend of {self.name} is not started: its log {error}"
                ) from None
            except OSError as error:
                raise StartError(
                    f"{self._commands.frontend[0]} cannot be started: {error}"
                ) from None
            try:
                what = f"the frontend of {self.name}"
                await wait_until_up(child, what, self._ping_frontend(), FRONTEND_TIMEOUT)
            except AddressTakenError:
                # Which of the two addresses it was, only its log tells; both are replaced.
                http_port += 1
                if attempt == ADDRESS_ATTEMPTS - 1:
                    raise
                continue
            except BaseException:
                await asyncio.shield(child.stop())
                raise
            self._frontend = child
            self._http_port = http_port
            self._url = _url(http_port)
            self.changed()
            return

    async def _ping_frontend(self) -> PingStatus:
        address = f"{self._frontend_ip}:{self._pool.ports.proxy}"
        async with open_channel(address) as channel:
            stub = prediction_pb2_grpc.ProxyServerStub(channel)
            reply = await stub.ping(
                prediction_pb2.ping_req(), timeout=FRONTEND_TIMEOUT, wait_for_ready=True
            )
            return PingStatus(reply.status)

    def _frontend_ended(self, child: Child) -> None:
        self.changed()
        if child.stopping or self._closed or child is not self._frontend:
            return
        self.tell("frontend", f"(pid {child.pid}) {child.describe_exit()}")
        self._start(self._recover_frontend())

    async def _recover_frontend(self) -> None:
        for attempt in range(GIVE_UP):
            await asyncio.sleep(0 if attempt == 0 else min(5.0, 0.1 * 2**attempt))
            async with self._wiring:
                if self._closed or (self._frontend is not None and self._frontend.running):
                    return
                try:
                    await self._start_frontend()
                except StartError as error:
                    self.tell("frontend", f"did not come back: {error}")
                    continue
            self.tell("frontend", "is back")
            return
        self.tell("frontend", f"is given up after {GIVE_UP} failed starts")

    async def probe(self, index: int, timeout: float) -> NodeStatus:
        """Wait until every pair of the node is ready; raises :class:`DeploymentError`."""
        node = self.node(index)
        deadline = time.monotonic() + timeout
        while True:
            status = await node.status()
            if status.state in (NodeState.READY, NodeState.DEGRADED):
                return status
            if status.state is NodeState.DEAD:
                raise StartError(f"{node.spec.name} of graph {self.name} is dead: {status.reason}")
            if time.monotonic() > deadline:
                raise DeploymentError(
                    f"{node.spec.name} of graph {self.name} is not ready after {timeout:.0f} s: "
                    f"{status.reason}"
                )
            await asyncio.sleep(POLL_INTERVAL)

    async def serve(self, timeout: float) -> None:
        """Wait until the frontend passes requests on; raises :class:`DeploymentError`."""
        if self._frontend is None:
            raise DeploymentError(f"graph {self.name} has no frontend yet; wire it first")
        deadline = time.monotonic() + timeout
        while True:
            if not self._frontend.running:
                raise StartError(
                    f"the frontend of {self.name} {self._frontend.describe_exit()}; wire it again",
                    self._frontend.tail(TRACEBACK_LINES),
                )
            with contextlib.suppress(grpc.aio.AioRpcError):
                if await self._ping_frontend() is PingStatus.READY:
                    return
            if time.monotonic() > deadline:
                raise DeploymentError(
                    f"the frontend of {self.name} found no ready entry within {timeout:.0f} s"
                )
            await asyncio.sleep(POLL_INTERVAL)

    async def status(self) -> GraphStatus:
        """What the graph does now."""
        nodes = await asyncio.gather(*(self._nodes[i].status() for i in sorted(self._nodes)))
        serving = self._frontend is not None and self._frontend.running
        return GraphStatus(
            name=self.name,
            version=self.version,
            url=self._url if serving else "",
            operators=len(self.config.nodes),
            nodes=tuple(nodes),
            warnings=self._warnings.sentences,
        )

    def targets(self) -> list[MetricsTarget]:
        """What Prometheus is to scrape of it."""
        targets = [
            MetricsTarget(pair.metrics_address, self.name, node.spec.name, pair.role.value)
            for _, node in sorted(self._nodes.items())
            for pair in node.pairs
            if pair.metrics_address
        ]
        if self._url and self._commands.frontend[-1:] == OWN_FRONTEND:
            address = self._url.removeprefix("http://")
            targets.append(MetricsTarget(address, self.name, "", "frontend"))
        return targets

    async def down(self) -> None:
        """Stop the frontend, then all nodes; returns when every process is gone."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._frontend is not None:
            await self._frontend.stop()
        await asyncio.gather(*(n.stop() for n in (*self._nodes.values(), *self._starting)))
        # A deploy that was under way ends now, since its processes did: wait for it to tidy up.
        for lock in list(self._locks.values()):
            async with lock:
                pass
        self._nodes.clear()
        self._pool.close()
        with contextlib.suppress(OSError):
            (self._folder / "runtime.earg").unlink()
        self.changed()


async def _start_all(
    pairs: Sequence[RunningPair], implementation: Implementation, timeout: float
) -> None:
    """Start all pairs at once; the first failure cancels the others and is raised by itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for pair in pairs:
                group.create_task(pair.start(implementation, timeout))
    except BaseExceptionGroup as group_of_errors:
        errors = group_of_errors.exceptions
    else:
        return
    raise errors[0]


def _http_ip() -> str:
    """Where frontends take HTTP. One that others reach needs :mod:`earg.security`."""
    return os.environ.get(HTTP_IP, "") or "127.0.0.1"


def _url(http_port: int) -> str:
    ip = _http_ip()
    host = "127.0.0.1" if ip == "0.0.0.0" else ip  # noqa: S104  the address is only read
    return f"{security().http_scheme}://{host}:{http_port}"


def _free_http_port(first: int) -> int:
    ip = _http_ip()
    for port in range(first, LAST_HTTP_PORT + 1):
        if is_free(ip, port):
            return port
    raise StartError(f"no port from {first} to {LAST_HTTP_PORT} is free on {ip}")
