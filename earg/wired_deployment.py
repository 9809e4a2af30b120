"""A graph whose processes a platform of containers starts, behind the calls of the agent.

The platform starts pairs and the frontend, and starts them anew where they are; :mod:`earg.wiring`
gives them the graph and lets backups take over. This is what is left: which pairs there are to be,
where they are, another version of a node in the place of the one that serves, and what is to be
started elsewhere because its host is dead.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from earg.addresses import EARG_PORTS, Ports
from earg.answered import answered
from earg.config import NodeSpec
from earg.deployed import DeploymentError, Tell
from earg.deployed_graph import DeployedGraph
from earg.graph_requests import recorded_by, requests_in
from earg.images import Implementation
from earg.ledger import GraphRecord, PlaceRecord
from earg.metrics_targets import MetricsTarget
from earg.pair import CALL_TIMEOUT, StartError
from earg.pair_starts import PairStarts
from earg.plan import Plan
from earg.platform import FrontendFound, PairFound, PairOrder, Part, Platform, PlatformError
from earg.protos import hogar_pb2, hogar_pb2_grpc, prediction_pb2, prediction_pb2_grpc
from earg.security import security
from earg.status import SERVING, GraphStatus, NodeStatus, PingStatus, Role
from earg.survey import Survey
from earg.together import all_of
from earg.usage import ContainerUsage
from earg.warning import Warnings
from earg.wired_keeper import Keeper
from earg.wired_node import WiredNode, WiredPair
from earg.wired_replacement import Replacement
from earg.wiring import PairView, Wiring
from earg.wiring_places import PairPlace, Places

log = logging.getLogger(__name__)

POLL_INTERVAL = 0.05
"""Seconds between looks at a node that is not ready yet."""

STATE_INTERVAL = 0.5
"""Seconds between looks for changes of state: as often as the wiring looks."""

WIRE_TIMEOUT = 25.0
"""Seconds until every proxy has the graph, once it has its model."""


class WiredDeployment(DeployedGraph[WiredNode]):
    """A graph on its way up, serving, or on its way down; see :class:`earg.deployed.Deployed`."""

    def __init__(
        self,
        name: str,
        version: str,
        plan: Plan,
        platform: Platform,
        survey: Survey,
        changed: Callable[[], None],
        tell: Tell,
        record: GraphRecord | None = None,
        *,
        ports: Ports = EARG_PORTS,
        has_served: bool = True,
    ) -> None:
        """``has_served`` says whether the graph of ``record`` is known to have done so."""
        self.name = name
        self.version = self.next_version = version
        self.plan = plan
        self.deploying = 0
        self.draining = self._drained = False
        self.changed = changed
        self.tell = tell
        self._platform = platform
        self._survey = survey
        self._ports = ports
        self._nodes: dict[int, WiredNode] = {}
        self._frontend: FrontendFound | None = None
        self.frontend_placed_at = 0.0
        self._wiring: Wiring | None = None
        self._locks: dict[int, asyncio.Lock] = {}
        self._wiring_lock = asyncio.Lock()
        self._warnings = Warnings(partial(tell, "agent"))
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._starts = PairStarts(name, platform, survey, ports)
        self._keeper = Keeper(self, survey, self._warnings)
        if record is not None:
            self._adopt(record, has_served)
        self.begin(self._watch_states())
        self.begin(self._keeper.run())
        self.begin(self._tell_usage())

    # --- a new agent ------------------------------------------------------------------------

    def record(self) -> GraphRecord:
        """What an agent that follows this one needs to adopt it."""
        frontend = self._frontend
        return GraphRecord(
            name=self.name,
            version=self.version,
            next_version=self.next_version,
            config=self.plan.text,
            extras=self.plan.extras_text,
            model_port=self._ports.model,
            proxy_port=self._ports.proxy,
            metrics_port=self._ports.metrics,
            frontend_ip="",
            http_port=0,
            wired=self.wired,
            draining=self.draining,
            frontend=None,
            nodes=tuple(self._nodes[index].record() for index in sorted(self._nodes)),
            leftovers=(),
            frontend_place=None
            if frontend is None
            else PlaceRecord(0, frontend.address, host=frontend.host, url=frontend.url),
        )

    def _adopt(self, record: GraphRecord, has_served: bool) -> None:
        self.version, self.next_version = record.version, record.next_version
        for known in record.nodes:
            pairs = [
                WiredPair(
                    one.number,
                    PairFound(PairPlace(one.proxy, one.models), one.host, one.digest),
                    Role.PRIMARY,
                )
                for one in known.places
            ]
            if not pairs:
                continue
            plan = self._plan_with(known.index, known.spec)
            node = WiredNode(known.index, known.spec, known.implementation, pairs, plan, self)
            limit = known.batch_limit
            if record.wired and has_served:
                node.adopt(None if limit is None else hogar_pb2.BatchLimit(**asdict(limit)))
            self._nodes[known.index] = node
        place = record.frontend_place
        if place is not None:
            self._frontend = FrontendFound(place.proxy, place.url, place.host)
        all_there = len(self._nodes) == len(self.config.nodes)
        if record.wired and all_there and self._frontend is not None:
            self._begin_wiring()
            if record.draining:
                self.begin(self._admit_again())

    def _plan_with(self, index: int, spec: NodeSpec) -> Plan:
        """The plan by which a node runs: of one that was to be replaced next, not the last one."""
        config = self.plan.config
        nodes = (*config.nodes[: index - 1], spec, *config.nodes[index:])
        return replace(self.plan, config=replace(config, nodes=nodes))

    async def _admit_again(self) -> None:
        for _ in range(20):
            with contextlib.suppress(StartError):
                await self._admit(True)
                self.tell("frontend", "takes requests again: the agent that drained it is gone")
                return
            await asyncio.sleep(STATE_INTERVAL)

    # --- what its nodes need of it ----------------------------------------------------------

    @property
    def wired(self) -> bool:
        """Whether the proxies were given the graph."""
        return self._wiring is not None

    @property
    def is_closed(self) -> bool:
        """Whether it is being taken down, or left."""
        return self._closed

    @property
    def wiring(self) -> Wiring | None:
        """None before the graph is wired."""
        return self._wiring

    @property
    def frontend(self) -> FrontendFound | None:
        """Where the frontend is; None before it was started."""
        return self._frontend

    def is_busy(self, index: int) -> bool:
        """Whether somebody deploys the node right now."""
        lock = self._locks.get(index)
        return lock is not None and lock.locked()

    async def start_again(self, node: WiredNode, number: int) -> None:
        """Let the platform start a pair of a node again, elsewhere where its host is dead; raises
        :class:`PlatformError` and :class:`StartError`."""
        async with self._locks.setdefault(node.index, asyncio.Lock()):
            pair = node.pair(number)
            if self._closed or pair is None or not pair.is_silent:
                return
            others = {one.found.host for one in node.pairs if one is not pair}
            if not pair.dead:
                await self._platform.stop_pair(self.name, node.index, number)
                if not pair.failure:
                    # Perhaps nobody reaches what is there.
                    others.add(pair.found.host)
            order = self.order_again(node, number)
            found = await self._starts.start(order, others)
            await self.put(node, number, found)
            where = f" on host {found.host}" if found.host else ""
            self.tell(node.spec.name, f"its {pair.role.value} was started again{where}")

    async def spread(self, node: WiredNode, number: int) -> None:
        """Let the platform move a backup to another host than its primary's, where one fits; raises
        :class:`PlatformError` and :class:`StartError`."""
        async with self._locks.setdefault(node.index, asyncio.Lock()):
            pair = node.pair(number)
            if self._closed or pair is None or pair is node.pairs[0] or pair.is_silent:
                return
            order = self.order_again(node, number)
            found = await self._starts.start(order, {node.pairs[0].found.host})
            if not pair.is_at(found):
                await self.put(node, number, found)
                self.tell(node.spec.name, f"its backup was moved to host {found.host}")

    async def move_pair(self, node: WiredNode, number: int) -> None:
        """Take over that the platform has a pair elsewhere than it was known to be."""
        found = self._survey.found[self.name].pairs[node.index, number]
        await self.put(node, number, found)
        self.tell(node.spec.name, f"was found on host {found.host}" if found.host else "was found")

    async def move_frontend(self, found: FrontendFound) -> None:
        """Take over that the platform has the frontend elsewhere than it was known to be."""
        async with self._wiring_lock:
            await self._put_frontend(found)

    async def start_frontend(self) -> None:
        """Let the platform start the frontend, unless it runs; raises :class:`StartError`."""
        async with self._wiring_lock:
            if not self._closed:
                await self._start_frontend()

    def views(self, index: int) -> Sequence[PairView]:
        """The node's pairs as the wiring has seen them last, the primary first."""
        if self._wiring is None or self._closed:
            return ()
        return self._wiring.pairs_of(index)

    def used(self, index: int, number: int) -> Sequence[ContainerUsage]:
        """What the containers of a pair use, as was read last."""
        return self._survey.usage.get((self.name, index, number), ())

    def begin(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something that is to be finished, whoever has asked for it."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a task of graph %s failed", self.name, exc_info=error)

    # --- nodes ------------------------------------------------------------------------------

    async def deploy(
        self,
        index: int,
        implementation: Implementation,
        timeout: float,
        *,
        force: bool = False,
    ) -> NodeStatus:
        """Let the platform start the node's pairs, unless they run by the same order; returns once
        their proxies have their models. Raises :class:`StartError` with the platform's words.

        Of a graph that serves, another version takes the place of the one that runs; it serves on
        where this fails. Else nothing of the node is left running then.
        """
        async with self._locks.setdefault(index, asyncio.Lock()):
            if self._closed:
                raise DeploymentError(f"graph {self.name} was taken down meanwhile")
            if self.draining:
                raise DeploymentError(f"graph {self.name} is being drained; deploy it afterwards")
            spec = self.spec(index)
            runs = self.plan.implementation(index, implementation)
            present = self._nodes.get(index)
            differs = force or present is None or not present.runs_as(spec, runs)
            try:
                if present is None or not self.wired:
                    await self._deploy_anew(index, implementation, timeout, force=force)
                elif differs:
                    assert self._wiring is not None
                    replacement = Replacement(
                        *(self, present, implementation, self._platform, self._starts, self._wiring)
                    )
                    await replacement.run(timeout)
                else:
                    await self._mend(present, implementation)
                    await present.set_config_batch(spec, wired=True)
                    present.plan = self.plan
                    if self._wiring is not None:
                        self._wiring.replan(self.plan, self.version)
            except PlatformError as error:
                raise StartError(str(error), error.log) from None
            self.changed()
            return self._nodes[index].status()

    def order(self, index: int, number: int, implementation: Implementation) -> PairOrder:
        """A pair as it is to be."""
        token = security().token
        return PairOrder(
            self.name, self.next_version, self.plan, index, number, implementation, token
        )

    def order_again(self, node: WiredNode, number: int) -> PairOrder:
        """A pair as the node runs."""
        order = self.order(node.index, number, node.implementation)
        return replace(order, plan=node.plan, version=self.version)

    def _numbers(self, index: int) -> range:
        spec = self.spec(index)
        return range(2 if spec.stateful and not self.plan.without_backup(index) else 1)

    async def _deploy_anew(
        self, index: int, implementation: Implementation, timeout: float, *, force: bool
    ) -> None:
        spec, runs = self.spec(index), self.plan.implementation(index, implementation)
        pairs: list[WiredPair] = []
        waits = []
        self._nodes.pop(index, None)
        numbers = self._numbers(index)
        try:
            for number in numbers:
                if force:
                    await self._platform.stop_pair(self.name, index, number)
                order = self.order(index, number, implementation)
                found = await self._starts.start(order, {pair.found.host for pair in pairs})
                role = Role.PRIMARY if not pairs else Role.BACKUP
                pairs.append(WiredPair(number, found, role, placed_at=time.monotonic()))
                waits.append((order, found))
            await all_of([self._starts.wait_for_model(*one, timeout) for one in waits])
        except BaseException:
            await asyncio.shield(self._starts.discard(index, *numbers))
            raise
        self._nodes[index] = WiredNode(index, spec, runs, pairs, self.plan, self)

    async def _mend(self, node: WiredNode, implementation: Implementation) -> None:
        """Let the platform start what does not run of a node that is as asked."""
        for pair in list(node.pairs):
            others = {one.found.host for one in node.pairs if one is not pair}
            order = self.order(node.index, pair.number, implementation)
            found = await self._starts.start(order, others)
            if not pair.is_at(found):
                await self.put(node, pair.number, found)

    async def put(self, node: WiredNode, number: int, found: PairFound) -> None:
        """A pair of a node that is wired has another place."""
        node.put(number, found)
        if self._wiring is not None:
            await self._wiring.put(node.index, number, found.place)
        self.changed()

    # --- the graph --------------------------------------------------------------------------

    async def wire(self) -> None:
        """Let the platform start the frontend, and give every proxy the graph, where that is not
        done yet. Raises :class:`DeploymentError` for nodes that are missing, :class:`StartError`.
        """
        async with self._wiring_lock:
            missing = [
                spec.name
                for index, spec in enumerate(self.config.nodes, 1)
                if index not in self._nodes
            ]
            self._check_whole(missing)
            if self.version != self.next_version:
                self.version = self.next_version
                self.tell("graph", f"is version {self.version} now")
            if self._wiring is None or self._wiring.frontend_is_silent:
                # One that answers is told the version: those who wait at it would lose their reply.
                await self._start_frontend()
            wiring = self._wiring
            if wiring is None:
                wiring = self._begin_wiring()
            else:
                wiring.replan(self.plan, self.version)
            self.changed()
            await self._wait_until_wired()
            await wiring.tell_frontend()

    async def _start_frontend(self) -> None:
        try:
            found = await self._platform.start_frontend(
                self.name, self.version, self.plan, security().token, self._survey.dead
            )
        except PlatformError as error:
            raise StartError(str(error), error.log) from None
        if found.failure:
            tail = await self._starts.tail(0, 0, Part.PROXY)
            raise StartError(f"the frontend of {self.name} does not run: {found.failure}", tail)
        await self._put_frontend(found)

    async def _put_frontend(self, found: FrontendFound) -> None:
        before, self._frontend = self._frontend, found
        self.frontend_placed_at = time.monotonic()
        if before is not None and before.address != found.address and self._wiring is not None:
            await self._wiring.put_frontend(found.address)
        self.changed()

    def _begin_wiring(self) -> Wiring:
        assert self._frontend is not None
        nodes = tuple(
            tuple((pair.number, pair.found.place) for pair in self._nodes[index].pairs)
            for index in range(1, len(self.config.nodes) + 1)
        )
        places = Places(
            self.name,
            self.version,
            self._frontend.address,
            tuple(tuple(place for _, place in pairs) for pairs in nodes),
        )
        self._wiring = Wiring(
            self.plan,
            places,
            model_port=self._ports.model,
            proxy_port=self._ports.proxy,
            numbers=[[number for number, _ in pairs] for pairs in nodes],
            tell=self._happened,
        )
        self.begin(self._run_wiring(self._wiring))
        return self._wiring

    async def _run_wiring(self, wiring: Wiring) -> None:
        while True:
            try:
                await wiring.run()
            except Exception:
                log.exception("the wiring of %s goes on after an error", self.name)
            await asyncio.sleep(STATE_INTERVAL)

    def _happened(self, index: int, what: str) -> None:
        node = self._nodes[index]
        if not self.is_busy(index):
            node.exits += 1
        self.tell(node.spec.name, what)
        self.changed()

    async def _wait_until_wired(self) -> None:
        deadline = time.monotonic() + WIRE_TIMEOUT
        while True:
            waiting = [
                node.spec.name
                for node in self._nodes.values()
                for view in self.views(node.index)
                if not view.wired
            ]
            if not waiting:
                return
            if time.monotonic() > deadline:
                raise StartError(
                    f"{', '.join(sorted(set(waiting)))} of graph {self.name} did not take the "
                    f"graph within {WIRE_TIMEOUT:g} s"
                )
            await asyncio.sleep(POLL_INTERVAL)

    async def probe(self, index: int, timeout: float) -> NodeStatus:
        """Wait until the node serves, also where it has to be started elsewhere for that; raises
        :class:`DeploymentError`."""
        node = self.node(index)
        deadline = time.monotonic() + timeout
        while True:
            status = node.status()
            if status.state in SERVING:
                return status
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
            if await self._frontend_is_ready():
                return
            if time.monotonic() > deadline:
                raise DeploymentError(
                    f"the frontend of {self.name} found no ready entry within {timeout:.0f} s"
                )
            await asyncio.sleep(POLL_INTERVAL)

    async def _frontend_is_ready(self) -> bool:
        channel = None if self._wiring is None else self._wiring.frontend_channel
        if channel is None:
            return False
        stub = prediction_pb2_grpc.ProxyServerStub(channel)
        try:
            reply = await answered(stub.ping(prediction_pb2.ping_req(), timeout=CALL_TIMEOUT))
        except (grpc.aio.AioRpcError, OSError):
            return False
        return bool(reply.status == PingStatus.READY)

    async def status(self, age: float = 0.0) -> GraphStatus:
        """What the graph does, as was seen last: that is at most a second and a half ago."""
        frontend = self._frontend
        return GraphStatus(
            name=self.name,
            version=self.version,
            url="" if frontend is None or not self.wired else frontend.url,
            operators=len(self.config.nodes),
            nodes=tuple(self._nodes[index].status() for index in sorted(self._nodes)),
            warnings=(*self._warnings.sentences, *self._survey.sentences),
            hosts=self._keeper.hosts(),
            frontend_host="" if frontend is None else frontend.host,
        )

    async def log(
        self, index: int, lines: int, *, proxy: bool = False, backup: bool = False
    ) -> tuple[str, str]:
        """The last lines of a process; no path, as it is the platform's."""
        number, part = 0, Part.PROXY if proxy else Part.MODEL
        if index == 0:
            if self._frontend is None:
                raise DeploymentError(f"graph {self.name} has no frontend yet; wire it first")
        else:
            node = self.node(index)
            pairs = node.pairs
            if backup and len(pairs) < 2:
                raise DeploymentError(f"{node.spec.name} of graph {self.name} has no backup")
            number = pairs[1 if backup else 0].number
        try:
            return await self._platform.tail(self.name, index, number, part, lines), ""
        except PlatformError as error:
            raise DeploymentError(str(error)) from None

    @property
    def frontend_address(self) -> str:
        """Where its frontend takes gRPC."""
        return "" if self._wiring is None else self._wiring.frontend_address

    def _wired_first(self) -> None:
        if not self.frontend_address:
            raise DeploymentError(f"graph {self.name} has no frontend yet; wire it first")

    async def requests(self, most: int) -> hogar_pb2.RequestsReply:
        """The oldest requests in it; see :mod:`earg.graph_requests`."""
        self._wired_first()
        return await requests_in(self, most)

    async def recorded(self, most: int) -> hogar_pb2.TracesReply:
        """The newest requests whose way was recorded."""
        self._wired_first()
        return await recorded_by(self, most)

    def targets(self) -> list[MetricsTarget]:
        """What Prometheus is to scrape of it."""
        targets = [
            MetricsTarget(
                f"{pair.address}:{self._ports.metrics}",
                self.name,
                node.spec.name,
                pair.role.value,
                pair.found.host,
            )
            for _, node in sorted(self._nodes.items())
            for pair in node.pairs
        ]
        if self._frontend is not None and self._frontend.url:
            address = self._frontend.url.partition("://")[2]
            host = self._frontend.host
            targets.append(MetricsTarget(address, self.name, "", "frontend", host))
        return targets

    def retry_files(self) -> None:
        """It has none."""

    async def _watch_states(self) -> None:
        while True:
            await asyncio.sleep(STATE_INTERVAL)
            for node in list(self._nodes.values()):
                node.look()
            if self.wired:
                await asyncio.gather(
                    *(node.keep_batch_limit() for node in list(self._nodes.values()))
                )

    async def _tell_usage(self) -> None:
        told = self._survey.usage
        while True:
            await asyncio.sleep(STATE_INTERVAL)
            if self._survey.usage is not told:
                told = self._survey.usage
                await asyncio.gather(*(node.tell_usage() for node in list(self._nodes.values())))

    # --- the end ----------------------------------------------------------------------------

    async def drain(self, timeout: float, force: bool) -> int:
        """Take no new requests, and wait until those in the graph are answered; see
        :meth:`earg.deployed_graph.DeployedGraph.drain`. Where the platform could not stop one that
        is drained, it is asked again."""
        if self._drained:
            return await self._admit(False)
        left = await super().drain(timeout, force)
        self._drained = self.draining and (left == 0 or force)
        return left

    @property
    def _has_frontend(self) -> bool:
        return self._frontend is not None and self._wiring is not None

    async def _admit(self, admit: bool) -> int:
        channel = None if self._wiring is None else self._wiring.frontend_channel
        if channel is None:
            raise StartError(f"the frontend of {self.name} does not run")
        control = hogar_pb2_grpc.ControlStub(channel)
        request = hogar_pb2.AdmissionRequest(admit=admit)
        try:
            reply = await answered(control.Admit(request, timeout=CALL_TIMEOUT))
        except grpc.aio.AioRpcError as error:
            raise StartError(
                f"the frontend of {self.name} did not Admit: {error.details()}"
            ) from None
        except OSError as error:
            raise StartError(f"the frontend of {self.name} did not Admit: {error}") from None
        return int(reply.waiting)

    async def leave(self) -> None:
        """End what this process does for it; what the platform runs, runs on."""
        await super().leave()
        await self._keeper.close()
        if self._wiring is not None:
            await self._wiring.close()

    async def down(self) -> None:
        """Let the platform stop everything of it; raises :class:`StartError` in its words."""
        await self.leave()
        # A deploy that is under way ends, since what it waits for is stopped.
        try:
            await self._platform.stop(self.name)
            for lock in list(self._locks.values()):
                async with lock:
                    pass
            if self._locks:
                await self._platform.stop(self.name)
        except PlatformError as error:
            raise StartError(str(error), error.log) from None
        finally:
            self.changed()


class WiredEngine:
    """Deployments on a platform of containers; see :class:`earg.deployed.Engine`."""

    runs_on = True

    def __init__(self, name: str, platform: Platform, *, ports: Ports = EARG_PORTS) -> None:
        self.name = name
        self._platform = platform
        self._ports = ports
        self._survey = Survey(platform)
        self._surveying: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Look at the platform, and go on with that."""
        try:
            await self._survey.see_hosts()
        except PlatformError as error:
            log.warning("the platform: %s", error)
        self._surveying = asyncio.create_task(self._survey.run())

    async def close(self) -> None:
        """Close what is open to the platform; what runs there runs on."""
        if self._surveying is not None:
            self._surveying.cancel()
            await asyncio.gather(self._surveying, return_exceptions=True)
        await self._survey.close()
        await self._platform.close()

    def deployment(
        self,
        name: str,
        version: str,
        plan: Plan,
        folder: Path,
        changed: Callable[[], None],
        tell: Tell,
        record: GraphRecord | None = None,
    ) -> WiredDeployment:
        """A graph of this platform."""
        return WiredDeployment(
            *(name, version, plan, self._platform, self._survey, changed, tell, record),
            ports=self._ports,
        )
