# ruff: noqa: N802  methods are named as the services of the .proto files name their calls
"""The agent of the ``kubernetes`` engine: the calls of every agent, for graphs in a namespace.

It deploys, wires and takes down by the Kubernetes API. What a graph does while it serves is asked
of its wiring, which runs in the cluster and answers the same calls; while that is away, the API
tells what it knows. The agent keeps nothing: another one finds all in the cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.metadata
import logging
import math
import os
import signal
import time
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, NoReturn, TypeVar

import grpc
import grpc.aio

from earg.agent_calls import LONGEST_DRAIN, Context, NodeStarts, shortened, time_left
from earg.config import ConfigError
from earg.extras import ExtrasError
from earg.handover import Starts
from earg.home import Home
from earg.images import Implementation
from earg.payload import CHANNEL_OPTIONS
from earg.plan import read_plan
from earg.protos import hogar_pb2, hogar_pb2_grpc
from earg.status import SERVING, GraphStatus, NodeStatus
from earg.status_wire import (
    event_message,
    graph_message,
    node_message,
    read_event,
    read_graph,
    read_node,
)
from earg.tenants import Tenants
from hogar_provider.engines.kubernetes_api import (
    SECRET,
    Api,
    ApiError,
    name_of,
)
from hogar_provider.engines.kubernetes_apply import OwnerError
from hogar_provider.engines.kubernetes_deployer import Deployer, DeployError
from hogar_provider.engines.kubernetes_events import EventLog
from hogar_provider.engines.kubernetes_forward import Forward
from hogar_provider.engines.kubernetes_graph import GraphError, GraphObjects
from hogar_provider.engines.kubernetes_logs import (
    container_of,
    pods_of_node,
    primary_first,
    read_log,
)
from hogar_provider.engines.kubernetes_look import Seen, look_at, look_at_all
from hogar_provider.engines.kubernetes_rollout import RolloutError
from hogar_provider.engines.kubernetes_settings import KubernetesSettings, SettingsError
from hogar_provider.engines.kubernetes_status import api_status, joined, with_wiring
from hogar_provider.engines.kubernetes_token import read_token
from hogar_provider.engines.kubernetes_usage import UsageTold
from hogar_provider.engines.kubernetes_wiring import (
    WiringAway,
    WiringLink,
    WiringRefusal,
    pod_of,
)
from udgl.targets._manifest import label_name
from udgl.targets._pairs import HTTP_PORT

log = logging.getLogger(__name__)

ENGINE = "kubernetes"

LIVE_TIMEOUT = 5.0
"""Seconds for a wiring to answer what only looks."""

LOOK_INTERVAL = 0.5
"""Seconds between looks at what is waited for."""

DRAIN_TIMEOUT = 10.0
"""Seconds in which a graph that is taken down for another of its name may answer what it has
accepted."""

GRAPHS_AGE = 2.0
"""Seconds for which which graphs there are is known well enough to ask their wirings."""

ROLES_AGE = 5.0
"""Seconds for which which pods are primaries is known well enough to tell what they use."""

EVENTS_AGE = 2.0
"""Seconds for which what was read of events is new enough."""

FIRST_PORT, PORTS = 20_000, 10_000
"""The ports of the loopback interface of which one leads to a frontend."""

LONGEST_SOCKET = 100
"""Bytes of a Unix socket's path."""

T = TypeVar("T")


class KubernetesAgent(NodeStarts):
    """The calls of an agent for the graphs of one namespace."""

    def __init__(
        self, api: Api, settings: KubernetesSettings, home: Home, stop: Callable[[], None]
    ) -> None:
        self._api = api
        self._settings = settings
        self._home = home
        self._stop = stop
        self._log = EventLog()
        self._deployer = Deployer(api, settings.token, self._log.tell, settings.claim)
        self._usage = UsageTold(api)
        self._starts: Starts[hogar_pb2.DeployNodeReply] = Starts()
        self._links: dict[str, WiringLink] = {}
        self._frontends: dict[str, tuple[Forward, str]] = {}
        self._opening = asyncio.Lock()
        self._statuses: dict[str, tuple[float, GraphStatus]] = {}
        self._tenants: dict[str, Tenants] = {}
        self._events_at = 0.0
        self._reading_events = asyncio.Lock()
        self._last_call = time.monotonic()

    @property
    def idle_for(self) -> float:
        """Seconds since the last call; 0 while ports are forwarded to graphs, which others may use
        then. Graphs need no agent."""
        return 0.0 if self._frontends else time.monotonic() - self._last_call

    async def close(self) -> None:
        """End what is under way here. What is deployed serves on."""
        await self._starts.close()
        await self._usage.close()
        for name in {*self._links, *self._frontends}:
            await self._forget(name)
        await self._api.close()

    async def _forget(self, name: str) -> None:
        """Close what is open to a graph."""
        self._statuses.pop(name, None)
        self._tenants.pop(name, None)
        self._usage.forget(name)
        link = self._links.pop(name, None)
        if link is not None:
            await link.close()
        forward = self._frontends.pop(name, None)
        if forward is not None:
            await forward[0].close()

    # --- the way to a graph -----------------------------------------------------------------

    async def _link(self, objects: GraphObjects) -> WiringLink:
        async with self._opening:
            link = self._links.get(objects.name)
            if link is not None and link.serves(objects):
                return link
            if link is not None:
                await link.close()
            secret = await self._api.get(SECRET, objects.secret)
            if secret is None:
                raise WiringAway(f"Secret {objects.secret}, the token of the graph, is gone")
            token = read_token(secret)
            socket = None
            if self._settings.forwards:
                digest = hashlib.sha256(objects.name.encode()).hexdigest()[:12]
                # Beside the agent's own, whose folder is closed to others.
                socket = self._home.socket.parent / f"w-{digest}.sock"
                if len(os.fsencode(socket)) > LONGEST_SOCKET:
                    raise WiringAway(f"the path {socket} is too long for a socket")
            link = self._links[objects.name] = WiringLink(self._api, objects, token, socket)
            return link

    async def _ask(self, objects: GraphObjects, method: str, request: Any, timeout: float) -> Any:
        """A call of the graph's wiring; raises :class:`WiringAway` and :class:`WiringRefusal`."""
        link = await self._link(objects)
        try:
            return await link.call(method, request, timeout)
        except WiringRefusal as error:
            if error.code is grpc.StatusCode.UNAUTHENTICATED:
                # The next call reads the token anew.
                async with self._opening:
                    if self._links.get(objects.name) is link:
                        del self._links[objects.name]
                        await link.close()
            raise

    async def _url(self, objects: GraphObjects) -> str:
        """Where clients reach the graph's frontend."""
        if self._settings.url:
            return self._settings.url.replace("{graph}", objects.public)
        if not self._settings.forwards:
            return f"http://{objects.public}.{self._api.namespace}.svc"
        async with self._opening:
            known = self._frontends.get(objects.name)
            if known is None:

                async def find() -> tuple[str, int]:
                    pod = await pod_of(self._api, objects.name, objects.frontend)
                    return name_of(pod), HTTP_PORT

                forward = Forward(self._api, find)
                # The same one after the agent was started anew, where it is free.
                named = f"{self._home.path} {objects.name}".encode()
                port = FIRST_PORT + zlib.crc32(named) % PORTS
                known = self._frontends[objects.name] = (forward, await forward.listen(port))
            return f"http://{known[1]}"

    # --- the status -------------------------------------------------------------------------

    async def _status(
        self, objects: GraphObjects, age: float = 0.0, seen: Seen | None = None
    ) -> GraphStatus:
        """What a graph does, or has done so many seconds ago; ``seen`` is what the API has just
        told, where it was asked for all graphs at once."""
        now = time.monotonic()
        known = self._statuses.get(objects.name)
        if known is not None and now - known[0] < age and known[1].version == objects.version:
            return known[1]
        tenants = self._tenants.setdefault(objects.name, Tenants())
        status = tenants.follow_status(await self._status_now(objects, seen))
        self._statuses[objects.name] = (now, status)
        return status

    async def _status_now(self, objects: GraphObjects, seen: Seen | None) -> GraphStatus:
        seen = seen or await look_at(self._api, objects.name)
        status = await self._known(objects, seen)
        if not seen.wired(objects):
            return status
        try:
            told = await self._told(objects)
        except (WiringAway, WiringRefusal, ApiError) as error:
            return with_warning(status, str(error))
        return with_wiring(status, told, objects, seen.pods)

    async def _known(self, objects: GraphObjects, seen: Seen) -> GraphStatus:
        """The status by the API alone."""
        url = await self._url(objects) if seen.has_frontend(objects) else ""
        return api_status(objects, seen.workloads, seen.pods, url)

    async def _told(self, objects: GraphObjects) -> GraphStatus:
        """What the wiring tells of the graph."""
        reply = await self._ask(
            objects, "Graphs", hogar_pb2.GraphsRequest(graph=objects.name), LIVE_TIMEOUT
        )
        found = [read_graph(one) for one in reply.graphs if one.name == objects.name]
        if not found:
            raise WiringAway(f"the wiring {objects.wiring} knows no graph {objects.name} yet")
        return found[0]

    async def _node(self, objects: GraphObjects, index: int) -> NodeStatus:
        status = await self._status(objects)
        for node in status.nodes:
            if node.index == index:
                return node
        if not 1 <= index <= status.operators:
            raise DeployError(
                f"graph {objects.name} has {status.operators} nodes, there is no node {index}"
            )
        name = objects.plan.config.nodes[index - 1].name
        raise DeployError(f"{name} of graph {objects.name} is not deployed; deploy it first")

    # --- calls ------------------------------------------------------------------------------

    async def _answer(self, context: Context, work: Awaitable[T]) -> T:
        """Run one call's work; what was wrong becomes the call's status, as a sentence."""
        self._last_call = time.monotonic()
        try:
            return await work
        except RolloutError as error:
            text = f"{error}\n{error.log}" if error.log else str(error)
            await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, text)
        except (DeployError, OwnerError, GraphError, WiringAway, ApiError) as error:
            await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except WiringRefusal as error:
            await _abort(context, error.code, str(error))
        except (ConfigError, ExtrasError) as error:
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except OSError as error:
            await _abort(context, grpc.StatusCode.INTERNAL, f"the agent: {error}")
        finally:
            self._last_call = time.monotonic()

    async def Hello(
        self, request: hogar_pb2.HelloRequest, context: Context
    ) -> hogar_pb2.HelloReply:
        self._last_call = time.monotonic()
        version = importlib.metadata.version("airflow-provider-hogar")
        return hogar_pb2.HelloReply(
            version=version, pid=os.getpid(), home=str(self._home.path), engine=ENGINE
        )

    async def _deploy_node(
        self, request: hogar_pb2.DeployNodeRequest, timeout: float
    ) -> hogar_pb2.DeployNodeReply:
        wanted = request.implementation
        implementation = Implementation(
            wanted.entrypoint,
            wanted.folder,
            tuple((variable.name, variable.value) for variable in wanted.environment),
        )
        plan = read_plan(request.config, request.extras)
        try:
            objects = await self._deployer.deploy(
                *(request.graph, request.version, plan, request.index, implementation, timeout),
                force=request.force,
                drain=self._drain_old,
            )
        except RolloutError as error:
            log.error("%s\n%s", error, error.log)
            return hogar_pb2.DeployNodeReply(failure=str(error), log=error.log)
        return hogar_pb2.DeployNodeReply(
            node=node_message(await self._node(objects, request.index))
        )

    async def _drain_old(self, objects: GraphObjects) -> None:
        """Let a graph that goes answer what it has, as far as that can be had."""
        request = hogar_pb2.DrainRequest(graph=objects.name, timeout=DRAIN_TIMEOUT, force=True)
        try:
            await self._ask(objects, "Drain", request, DRAIN_TIMEOUT + LIVE_TIMEOUT)
        except (WiringAway, WiringRefusal) as error:
            log.warning("graph %s is not drained: %s", objects.name, error)
        await self._forget(objects.name)

    async def Wire(
        self, request: hogar_pb2.GraphRequest, context: Context
    ) -> hogar_pb2.GraphStatus:
        until = time.monotonic() + time_left(context)

        async def work() -> hogar_pb2.GraphStatus:
            objects = await self._deployer.wire(request.graph, until - time.monotonic())
            await self._until_told(objects, until)
            return graph_message(await self._status(objects))

        return await self._answer(context, work())

    async def _until_told(self, objects: GraphObjects, until: float) -> None:
        """Wait until the graph's wiring answers."""
        while True:
            try:
                await self._told(objects)
                return
            except (WiringAway, ApiError):
                if time.monotonic() > until:
                    raise
            await asyncio.sleep(LOOK_INTERVAL)

    async def Probe(self, request: hogar_pb2.NodeRequest, context: Context) -> hogar_pb2.NodeStatus:
        until = time.monotonic() + time_left(context)

        async def work() -> hogar_pb2.NodeStatus:
            objects = await self._deployer.graph(request.graph)
            await self._node(objects, request.index)
            try:
                left = max(0.5, until - time.monotonic())
                said = await self._forward(objects, "Probe", request, left, until)
            except (WiringAway, WiringRefusal) as error:
                # What is in a pod's way says more than that its proxy does not answer.
                found = await self._node(objects, request.index)
                if found.state in SERVING:
                    return node_message(found)
                raise DeployError(
                    f"{found.name} of graph {objects.name} is {found.state.value}: "
                    f"{found.reason or error}"
                ) from None
            seen = await look_at(self._api, objects.name)
            nodes = (await self._known(objects, seen)).nodes
            (known,) = (node for node in nodes if node.index == request.index)
            return node_message(joined(read_node(said), known, objects, seen.pods))

        return await self._answer(context, work())

    async def Serve(
        self, request: hogar_pb2.GraphRequest, context: Context
    ) -> hogar_pb2.GraphStatus:
        until = time.monotonic() + time_left(context)

        async def work() -> hogar_pb2.GraphStatus:
            objects = await self._deployer.graph(request.graph)
            left = max(0.5, until - time.monotonic())
            await self._forward(objects, "Serve", request, left, until)
            return graph_message(await self._status(objects))

        return await self._answer(context, work())

    async def _forward(
        self, objects: GraphObjects, method: str, request: Any, timeout: float, until: float = 0.0
    ) -> Any:
        """A call of the graph's wiring; one that is away is asked again until then."""
        while True:
            try:
                return await self._ask(objects, method, request, timeout)
            except WiringAway:
                if time.monotonic() + LOOK_INTERVAL > until:
                    raise
            await asyncio.sleep(LOOK_INTERVAL)
            timeout = max(0.5, until - time.monotonic())

    async def Graphs(
        self, request: hogar_pb2.GraphsRequest, context: Context
    ) -> hogar_pb2.GraphsReply:
        async def work() -> hogar_pb2.GraphsReply:
            graphs = await self._deployer.graphs(request.age)
            for name in {*self._links, *self._frontends} - set(graphs):
                await self._forget(name)
            asked = [one for name, one in graphs.items() if request.graph in ("", name)]
            seen = await look_at_all(self._api) if len(asked) > 1 else {}
            found = await asyncio.gather(
                *(self._status(one, request.age, seen.get(label_name(one.name))) for one in asked)
            )
            return hogar_pb2.GraphsReply(graphs=[graph_message(one) for one in found])

        return await self._answer(context, work())

    async def NodeLog(self, request: hogar_pb2.LogRequest, context: Context) -> hogar_pb2.LogReply:
        async def work() -> hogar_pb2.LogReply:
            objects = await self._deployer.graph(request.graph)
            if request.index:
                node = await self._node(objects, request.index)
                primary = node.pairs[0].address if node.pairs else ""
            else:
                primary = ""
            seen = await look_at(self._api, objects.name)
            pods = pods_of_node(objects, request.index, seen.pods)
            pods = primary_first(pods, primary) if primary else pods
            if request.backup:
                if request.index and len(objects.places.nodes[request.index - 1]) < 2:
                    name = objects.plan.config.nodes[request.index - 1].name
                    raise DeployError(f"{name} of graph {objects.name} has no backup")
                pods = pods[1:]
            if not pods:
                return hogar_pb2.LogReply()
            container = container_of(request.index, request.proxy)
            text, path = await read_log(self._api, pods[0], container, request.lines)
            return hogar_pb2.LogReply(text=text, path=path)

        return await self._answer(context, work())

    async def Events(
        self, request: hogar_pb2.EventsRequest, context: Context
    ) -> hogar_pb2.EventsReply:
        async def work() -> hogar_pb2.EventsReply:
            await self._read_events()
            found = self._log.since(request.graph, request.newer_than)
            return hogar_pb2.EventsReply(events=[event_message(one) for one in found])

        return await self._answer(context, work())

    async def _read_events(self) -> None:
        async with self._reading_events:
            if time.monotonic() - self._events_at < EVENTS_AGE:
                return
            graphs = await self._deployer.graphs()
            seen = await look_at_all(self._api)
            told: list[Any] = []
            for name, objects in graphs.items():
                if not seen.get(label_name(name), Seen()).wired(objects):
                    continue
                asked = hogar_pb2.EventsRequest(graph=name, newer_than=self._log.newest_told(name))
                with contextlib.suppress(WiringAway, WiringRefusal):
                    reply = await self._ask(objects, "Events", asked, LIVE_TIMEOUT)
                    told += [read_event(one) for one in reply.events]
            pods = [pod for one in seen.values() for pod in one.pods]
            warnings = await self._api.warnings()
            self._log.take(warnings, graphs.values(), pods, told)
            self._events_at = time.monotonic()

    async def _live(
        self, name: str, method: str, request: Any, timeout: float = LIVE_TIMEOUT
    ) -> Any:
        objects = await self._deployer.graph(name, GRAPHS_AGE)
        return await self._ask(objects, method, request, timeout)

    async def Statistics(
        self, request: hogar_pb2.StatisticsRequest, context: Context
    ) -> hogar_pb2.GraphStatistics:
        async def work() -> hogar_pb2.GraphStatistics:
            objects = await self._deployer.graph(request.graph, GRAPHS_AGE)
            await self._usage.refresh()
            reply, status = await self._counted(objects, request)
            self._usage.add_to(reply.nodes, objects, status, request.history_seconds)
            return reply

        return await self._answer(context, work())

    async def _counted(
        self, objects: GraphObjects, request: hogar_pb2.StatisticsRequest
    ) -> tuple[hogar_pb2.GraphStatistics, GraphStatus | None]:
        """What the wiring tells of its nodes, and a status of the graph as of :meth:`_recent`."""
        try:
            reply = await self._ask(objects, "Statistics", request, LIVE_TIMEOUT)
        except WiringAway as error:
            # As of nodes whose proxies do not answer.
            seen = await look_at(self._api, objects.name)
            status = await self._known(objects, seen)
            reply = hogar_pb2.GraphStatistics(
                name=status.name,
                version=status.version,
                nodes=[
                    hogar_pb2.NodeReport(
                        index=node.index,
                        name=node.name,
                        state=node.state.value,
                        reason=node.reason or str(error),
                    )
                    for node in status.nodes
                    if request.index in (0, node.index)
                ],
            )
            return reply, status
        assert isinstance(reply, hogar_pb2.GraphStatistics)
        return reply, await self._recent(objects)

    async def _recent(self, objects: GraphObjects) -> GraphStatus | None:
        """A status that is new enough to know which pods are primaries; None where nothing is told
        of pods, or the API is away."""
        if not self._usage.tells:
            return None
        try:
            return await self._status(objects, ROLES_AGE)
        except ApiError:
            known = self._statuses.get(objects.name)
            return None if known is None else known[1]

    async def Requests(
        self, request: hogar_pb2.RequestsQuery, context: Context
    ) -> hogar_pb2.RequestsReply:
        work = self._live(request.graph, "Requests", request)
        return await self._answer(context, work)

    async def RecordedRequests(
        self, request: hogar_pb2.RequestsQuery, context: Context
    ) -> hogar_pb2.TracesReply:
        work = self._live(request.graph, "RecordedRequests", request)
        return await self._answer(context, work)

    async def SetBatchLimit(
        self, request: hogar_pb2.NodeBatchLimit, context: Context
    ) -> hogar_pb2.BatchLimit:
        work = self._live(request.graph, "SetBatchLimit", request)
        return await self._answer(context, work)

    async def Down(self, request: hogar_pb2.GraphRequest, context: Context) -> hogar_pb2.Done:
        async def work() -> hogar_pb2.Done:
            await self._down(request.graph)
            return hogar_pb2.Done()

        return await self._answer(context, work())

    async def _down(self, name: str) -> None:
        await asyncio.shield(self._deployer.down(name))
        await self._forget(name)

    async def Drain(
        self, request: hogar_pb2.DrainRequest, context: Context
    ) -> hogar_pb2.DrainReply:
        async def work() -> hogar_pb2.DrainReply:
            objects = await self._deployer.graph(request.graph)
            timeout = request.timeout if math.isfinite(request.timeout) else 0.0
            timeout = min(max(0.0, timeout), LONGEST_DRAIN)
            asked = hogar_pb2.DrainRequest(
                graph=request.graph, timeout=timeout, force=request.force
            )
            reply: hogar_pb2.DrainReply = await self._ask(
                objects, "Drain", asked, timeout + LIVE_TIMEOUT
            )
            if reply.stopped:
                if reply.left:
                    what = f"is stopped with {reply.left} requests unanswered"
                    self._log.tell(request.graph, "graph", what)
                await self._down(request.graph)
            return reply

        return await self._answer(context, work())

    async def Plan(self, request: hogar_pb2.GraphRequest, context: Context) -> hogar_pb2.GraphPlan:
        async def work() -> hogar_pb2.GraphPlan:
            plan = (await self._deployer.graph(request.graph)).plan
            return hogar_pb2.GraphPlan(config=plan.text, extras=plan.extras_text)

        return await self._answer(context, work())

    async def Shutdown(self, request: hogar_pb2.Done, context: Context) -> hogar_pb2.Done:
        async def work() -> hogar_pb2.Done:
            for name in await self._deployer.graphs():
                await self._down(name)
            self._stop()
            return hogar_pb2.Done()

        return await self._answer(context, work())


def with_warning(status: GraphStatus, sentence: str) -> GraphStatus:
    """The status with one more warning."""
    return replace(status, warnings=(*status.warnings, sentence))


async def _abort(context: Context, code: grpc.StatusCode, text: str) -> NoReturn:
    await context.abort(code, shortened(text))
    raise AssertionError("unreachable")


# --- the process ----------------------------------------------------------------------------


async def open_kubernetes(
    settings: KubernetesSettings, home: Home, stop: Callable[[], None] = lambda: None
) -> KubernetesAgent:
    """The agent's calls; ``stop`` is what its call ``Shutdown`` ends with. Raises
    :class:`hogar_provider.engines.kubernetes_settings.SettingsError`."""
    return KubernetesAgent(await Api.open(settings, home.path), settings, home, stop)


def read_settings(text: str) -> KubernetesSettings:
    """The settings that the agent is given; raises
    :class:`hogar_provider.engines.kubernetes_settings.SettingsError`."""
    return KubernetesSettings.from_json(text)


async def serve(home: Home, settings: str, idle_end: float | None) -> None:
    """Be the agent in ``home`` until told to end, or for ``idle_end`` seconds after the last use.
    With settings that make no sense it ends at once, as it would if it were started again."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    home.socket.unlink(missing_ok=True)
    try:
        read = read_settings(settings)
        agent = await open_kubernetes(read, home, stopped.set)
    except SettingsError as error:
        log.error("%s", error)
        return
    server = grpc.aio.server(options=CHANNEL_OPTIONS)
    hogar_pb2_grpc.add_AgentServicer_to_server(agent, server)
    server.add_insecure_port(home.target)
    home.check_socket()
    await server.start()
    log.info("agent %d of namespace %s serves on %s", os.getpid(), read.namespace, home.socket)
    try:
        while not stopped.is_set():
            if idle_end is not None and agent.idle_for > idle_end:
                log.info("nothing was asked for %.0f s", idle_end)
                break
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await stopped.wait()
    finally:
        # An answer that is under way, such as that of the call that ended it.
        await server.stop(grace=1.0)
        await agent.close()
        home.socket.unlink(missing_ok=True)
        log.info("agent %d has stopped", os.getpid())
