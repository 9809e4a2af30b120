"""One deployed graph on this machine: its nodes, their addresses, its frontend."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from earg import ledger, replacement
from earg.addresses import AddressPool, Ports
from earg.child import Child
from earg.config import NodeSpec
from earg.deployed import DeploymentError, Tell
from earg.deployed_graph import DeployedGraph
from earg.graph_requests import recorded_by, requests_in
from earg.heartbeat import LOOK_INTERVAL, Heartbeat, Watched
from earg.images import Implementation
from earg.ledger import GraphRecord
from earg.links import Links
from earg.local_frontend import FIRST_HTTP_PORT, LocalFrontend
from earg.management import Handled, Management, admin_variables, choose_port
from earg.metrics_targets import MetricsTarget
from earg.node import RunningNode
from earg.pair import AddressTakenError, Commands, RunningPair, StartError
from earg.plan import Plan
from earg.protos import hogar_pb2
from earg.runtime_file import RuntimeFile
from earg.status import SERVING, GraphStatus, NodeState, NodeStatus, Role
from earg.together import all_of
from earg.warning import Warnings

log = logging.getLogger(__name__)

FAILED_START_GRACE = 1.0
"""Seconds between TERM and KILL for processes that never served."""

ADDRESS_ATTEMPTS = 5
"""How often a process is started anew because somebody took its address first."""

POLL_INTERVAL = 0.05
"""Seconds between looks at a node that is not ready yet."""


STATE_INTERVAL = 0.5
"""Seconds between looks for changes of state that do not announce themselves."""


class Deployment(DeployedGraph[RunningNode]):
    """A graph on its way up, serving, or on its way down.

    Nodes are deployed in any order and in parallel; :meth:`wire` needs all of them.
    ``changed`` is called whenever a process starts or ends. ``version`` is what serves;
    ``next_version`` and ``plan`` are what is being deployed, the same where nothing is (see
    :meth:`replan`).
    """

    def __init__(
        self,
        name: str,
        version: str,
        plan: Plan,
        folder: Path,
        commands: Commands,
        changed: Callable[[], None],
        tell: Tell,
        record: GraphRecord | None = None,
    ) -> None:
        self.name = name
        self.version = self.next_version = version
        self.plan = plan
        self.deploying = 0
        self.draining = False
        self._folder = folder
        self._commands = commands
        self.changed = changed
        self.tell = tell
        self._warnings = Warnings(partial(tell, "agent"))
        self._nodes: dict[int, RunningNode] = {}
        self._starting: set[RunningPair] = set()
        self._retiring: set[RunningPair] = set()
        self._locks: dict[int, asyncio.Lock] = {}
        self.wiring_lock = asyncio.Lock()
        self.wired = False
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.has_originals = any(commands.is_original(one.name) for one in plan.config.nodes)
        http_port = FIRST_HTTP_PORT
        if record is None:
            self._pool = AddressPool(name)
            frontend_ip = self._pool.take()
            self._admin_ip = self._pool.take()
            self._admin_port = choose_port(self._admin_ip)
        else:
            self._pool = _adopted_pool(record)
            frontend_ip, http_port = record.frontend_ip, record.http_port
            self._admin_ip = record.admin_ip or self._pool.take()
            self._admin_port = record.admin_port or choose_port(self._admin_ip)
        ports = self._pool.ports
        self._frontend = LocalFrontend(self, commands, folder, frontend_ip, ports, http_port)
        self._runtime = RuntimeFile(
            self, self._nodes, frontend_ip, folder / "runtime.earg", self._warnings
        )
        self._links = Links(self, self._nodes, self._retiring, self._frontend, ports, self._runtime)
        if record is not None:
            self._adopt(record)
        self.begin(Management(self).serve(self._admin_ip, self._admin_port))
        self.begin(self._watch())
        self.begin(self._watch_states())

    def record(self) -> GraphRecord:
        """What an agent that follows this one needs to adopt it."""
        in_place = {pair for node in self._nodes.values() for pair in node.pairs}
        pairs = (self._starting | self._retiring) - in_place
        aside = [child for pair in pairs for _, _, child in pair.processes]
        leftovers = [child.record() for child in (*aside, *self._frontend.starting)]
        return GraphRecord(
            name=self.name,
            version=self.version,
            next_version=self.next_version,
            config=self.plan.text,
            extras=self.plan.extras_text,
            model_port=self._pool.ports.model,
            proxy_port=self._pool.ports.proxy,
            metrics_port=self._pool.ports.metrics,
            frontend_ip=self._frontend.ip,
            http_port=self._frontend.http_port,
            wired=self.wired,
            draining=self.draining,
            frontend=self._frontend.record(),
            admin_ip=self._admin_ip,
            admin_port=self._admin_port,
            nodes=tuple(self._nodes[index].record() for index in sorted(self._nodes)),
            leftovers=tuple(record for record in leftovers if record is not None),
        )

    def _adopt(self, record: GraphRecord) -> None:
        self.version = record.version
        self.wired = record.wired
        ledger.kill(record.leftovers)
        for known in record.nodes:
            places = [
                (pair.name, [pair.ip, *(one.ip for one in pair.replicas)]) for pair in known.pairs
            ]
            pairs = self._new_pairs(known.index, known.spec, known.implementation, places)
            node = RunningNode(known.index, known.spec, known.implementation, pairs, self)
            self._nodes[known.index] = node
        for known in record.nodes:
            self._nodes[known.index].adopt(known)
        self._frontend.adopt(record)
        if record.wired:
            self._links.note_told()
            self.begin(self._mend_links(record.draining, bool(record.leftovers)))

    async def _mend_links(self, draining: bool, lost: bool) -> None:
        """Tell everybody where the nodes are: the agent before may have ended while it did."""
        for node in list(self._nodes.values()):
            for pair in node.pairs:
                if pair.running and pair.wired:
                    await self.follow(pair)
        if self._frontend.running:
            try:
                await self._frontend.retarget(self.entry_ip)
                if draining:
                    await self._admit(True)
                    self.tell("frontend", "takes requests again: the agent that drained it is gone")
            except StartError as error:
                log.warning("%s", error)
        if lost:
            # Among those that were ended were perhaps some that still held requests.
            await self.replay()

    def begin(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something that is to be finished, whoever has asked for it."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- nodes ------------------------------------------------------------------------------

    def process(self, index: int, *, proxy: bool = False, backup: bool = False) -> Child | None:
        """The model of a node's primary, or its proxy, or that of its backup; of index 0 the
        frontend. None where it was never started; raises :class:`DeploymentError`."""
        if index == 0:
            return self._frontend.process
        node = self.node(index)
        if backup and len(node.pairs) < 2:
            raise DeploymentError(f"{node.spec.name} of graph {self.name} has no backup")
        pair = node.pairs[1] if backup else node.pairs[0]
        return pair.proxy if proxy else pair.model

    async def deploy(
        self,
        index: int,
        implementation: Implementation,
        timeout: float,
        *,
        force: bool = False,
    ) -> NodeStatus:
        """Start the node's processes, unless they run already; raises :class:`StartError`.

        With ``force``, also where they run as asked: as if it were another version.

        Of a graph that serves, another version of the node takes the place of the one that runs
        (see :mod:`earg.replacement`); it serves on where this fails. Else nothing of the node is
        left running then.
        """
        async with self._locks.setdefault(index, asyncio.Lock()):
            if self._closed:
                raise DeploymentError(f"graph {self.name} was taken down meanwhile")
            if self.draining:
                raise DeploymentError(f"graph {self.name} is being drained; deploy it afterwards")
            if self.has_originals and (self.extras.switches or self.extras.splits):
                raise DeploymentError(
                    f"graph {self.name} has a switch or a split, which original proxies do not "
                    "know; take EARG_PROXY_COMMANDS away, or the switch and the split"
                )
            spec = self.spec(index)
            if self.has_originals and self.plan.without_backup(index):
                raise DeploymentError(
                    f"{spec.name} of graph {self.name} is stateful without a backup, which "
                    "original proxies do not know; take EARG_PROXY_COMMANDS away, or 'backup: 0'"
                )
            implementation = self.plan.implementation(index, implementation)
            present = self._nodes.get(index)
            as_asked = present is not None and present.runs_as(spec, implementation)
            if present is not None and as_asked and not force:
                await present.settle()
                if present.running and await self._takes_batch(present, spec):
                    return await present.status()
            places = None
            if present is not None and not self.wired:
                del self._nodes[index]
                await present.stop()
                # A node that comes back keeps its addresses: the others need no new graph.
                if present.implementation.replicas == implementation.replicas:
                    places = [(pair.name, pair.addresses) for pair in present.pairs]
                present = None
            deadline = time.monotonic() + timeout
            for attempt in range(ADDRESS_ATTEMPTS):
                pairs = self._new_pairs(index, spec, implementation, places, present)
                left = max(1.0, deadline - time.monotonic())
                self._starting.update(pairs)
                try:
                    await all_of([pair.start(implementation, left) for pair in pairs])
                    if present is None:
                        node = RunningNode(index, spec, implementation, pairs, self)
                        self._nodes[index] = node
                        await node.look()
                    else:
                        node = present
                        await self._replace(node, pairs, spec, implementation)
                    return await node.status()
                except AddressTakenError:
                    if attempt == ADDRESS_ATTEMPTS - 1:
                        raise
                    places = None
                finally:
                    self._starting.difference_update(pairs)
                    in_place = self._nodes.get(index)
                    if in_place is None or in_place.pairs[0] not in pairs:
                        await asyncio.shield(self._discard(pairs))
        raise AssertionError("unreachable")

    async def _takes_batch(self, node: RunningNode, spec: NodeSpec) -> bool:
        """Whether a node that runs as ``spec`` says has its batch, too, or could be given it."""
        try:
            if self.wired:
                await node.set_config_batch(spec)
                self._runtime.write()
                return True
        except StartError as error:
            # An original: its batch comes with the graph alone.
            log.info("%s", error)
            return False
        # It will come with the graph.
        node.has_spec(spec)
        return True

    async def _replace(
        self,
        node: RunningNode,
        pairs: list[RunningPair],
        spec: NodeSpec,
        implementation: Implementation,
    ) -> None:
        """Replace a node of the graph that serves. Whoever asked for it may give up; what has
        begun is finished, since half of it would lose requests."""

        async def work() -> None:
            await replacement.replace(self, node, pairs, spec, implementation)
            self._runtime.write()
            for pair in pairs:
                pair.rename_logs(pair.name.partition(".")[2])
            self.changed()

        task = self.begin(work())
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task})
            if self._closed:
                raise DeploymentError(f"graph {self.name} was taken down meanwhile") from None
            raise

    async def _discard(self, pairs: Sequence[RunningPair]) -> None:
        await asyncio.gather(*(pair.stop(FAILED_START_GRACE) for pair in pairs))
        for pair in pairs:
            self._give_back(pair)
        self.changed()

    def set_aside(self, pairs: list[RunningPair]) -> None:
        """Write the ledger: others have taken the place of ``pairs``, which still run."""
        self._retiring.update(pairs)
        self.changed()

    def retire(self, pairs: list[RunningPair]) -> None:
        """Let pairs that were set aside finish what they hold, and stop them."""
        for pair in pairs:
            self.begin(self._retire(pair))

    async def _retire(self, pair: RunningPair) -> None:
        held = pair.running
        await replacement.finish(pair)
        await pair.stop()
        self._retiring.discard(pair)
        self._give_back(pair)
        self.changed()
        if held and not self._closed:
            # What it had computed may have been on its way to the next proxy.
            await self.replay()

    def _give_back(self, pair: RunningPair) -> None:
        for ip in pair.addresses:
            self._pool.give_back(ip)

    def _new_pairs(
        self,
        index: int,
        spec: NodeSpec,
        implementation: Implementation,
        places: list[tuple[str, list[str]]] | None,
        beside: RunningNode | None = None,
    ) -> list[RunningPair]:
        if places is None:
            name = f"{self.name}.{spec.name}"
            names = [name, f"{name}.backup"] if spec.stateful else [name]
            if beside is not None and beside.pairs[0].name == names[0]:
                # The graph knows proxies by name: the new primary has not that of the old one.
                names.reverse()
            if self.plan.without_backup(index):
                del names[1:]
            places = [
                (one, [self._pool.take() for _ in range(implementation.replicas)]) for one in names
            ]
        pairs = [
            RunningPair(
                name=name,
                index=index,
                role=role,
                spec=spec,
                ip=ips[0],
                replica_ips=ips[1:],
                ports=self._pool.ports,
                commands=self._commands,
                folder=self._folder,
                on_start=self.changed,
                on_exit=self._process_ended,
                admin=admin_variables(self._admin_ip, self._admin_port),
            )
            for role, (name, ips) in zip(Role, places, strict=False)
        ]
        for pair in pairs:
            pair.beside_originals = self.has_originals
            pair.is_sink = not self.config.targets_of(index)
            if beside is None and pair.is_sink and pair.is_original:
                pair.before_restart = partial(self._links.hold, index)
            if beside is not None:
                pair.was_wired = True
                pair.generation = max(one.generation for one in beside.pairs)
        if beside is not None:
            for pair in pairs:
                pair.log_name += ".new"
        return pairs

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
            Watched(child, ip, ports.proxy if kind == "proxy" else ports.model, kind != "proxy")
            for node in self._nodes.values()
            for pair in node.pairs
            for kind, ip, child in pair.processes
            # One that is frozen is held on purpose.
            if child.running and not pair.frozen
        ]
        return [*found, *self._frontend.watched]

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

    async def _watch_states(self) -> None:
        """Tell of changes of state that do not announce themselves."""
        while True:
            await asyncio.sleep(STATE_INTERVAL)
            await asyncio.gather(*(node.look() for node in list(self._nodes.values())))

    def look_soon(self, node: RunningNode) -> None:
        """Look at a node's state without waiting for the next look at all."""
        if not self._closed:
            self.begin(node.look())

    # --- what its nodes need of it ----------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether it is being taken down, or left."""
        return self._closed

    @property
    def entry_ip(self) -> str:
        """Where the primary of its first node is."""
        return self._nodes[1].pairs[0].ip

    async def connect(
        self,
        pair: RunningPair,
        node: RunningNode | None = None,
        primary: RunningPair | None = None,
    ) -> None:
        """See :meth:`earg.links.Links.connect`."""
        await self._links.connect(pair, node, primary)

    async def follow(self, pair: RunningPair) -> None:
        """Let a proxy send to where its targets are by now."""
        await self._links.follow(pair)

    def is_join(self, index: int) -> bool:
        """Whether several nodes flow into node ``index``."""
        return self._links.is_join(index)

    async def retarget(self, index: int, address: str) -> None:
        """Let everybody who sends to node ``index`` send to ``address``."""
        await self._links.retarget(index, address)

    async def rejoin(self, index: int) -> None:
        """See :meth:`earg.links.Links.rejoin`."""
        await self._links.rejoin(index)

    async def next_seq(self) -> int:
        """The number with which a frontend goes on that comes in another one's place."""
        return await self._links.next_seq()

    async def replay(self) -> None:
        """Let the frontend send again what is in the graph."""
        await self._frontend.replay()

    def runtime_text(self) -> str:
        """The runtime config; empty before the graph is wired."""
        return self._runtime.text()

    async def handle_failure(self, index: int, ip: str) -> Handled:
        """See :meth:`earg.links.Links.handle_failure`."""
        return await self._links.handle_failure(index, ip)

    def retry_files(self) -> None:
        """Write again what could not be written."""
        self._runtime.retry()

    @property
    def frontend_address(self) -> str:
        """Where its frontend takes gRPC."""
        return self._frontend.address

    # --- the graph --------------------------------------------------------------------------

    async def wire(self) -> None:
        """Start the frontend and send every proxy the graph, where that is not done yet.

        Raises :class:`DeploymentError` for nodes that are missing, :class:`StartError`.
        """
        for node in list(self._nodes.values()):
            # One that lost a process just now is about to be back.
            await node.settle()
        async with self.wiring_lock:
            missing = [
                spec.name
                for index, spec in enumerate(self.config.nodes, 1)
                if index not in self._nodes or not self._nodes[index].running
            ]
            self._check_whole(missing)
            await self._serve_next_version()
            if not self._frontend.running:
                await self._frontend.start()
            self._runtime.write()
            waiting = [p for n in self._nodes.values() for p in n.pairs if not p.wired]
            results = await asyncio.gather(
                *(self.connect(pair) for pair in waiting), return_exceptions=True
            )
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            if self.wired and waiting:
                # A node was replaced: what it had not finished is sent again.
                await self.replay()
                for index in self._nodes:
                    await self.rejoin(index)
            self.wired = True
            if not self._links.has_told:
                self._links.note_told()
            self.changed()
            await asyncio.gather(*(node.attach_backup() for node in self._nodes.values()))

    async def _serve_next_version(self) -> None:
        if self.version == self.next_version:
            return
        self.version = self.next_version
        self.tell("graph", f"is version {self.version} now")
        self.changed()
        if self._frontend.running:
            await self._frontend.set_version(self.version)

    async def probe(self, index: int, timeout: float) -> NodeStatus:
        """Wait until every pair of the node is ready; raises :class:`DeploymentError`."""
        node = self.node(index)
        deadline = time.monotonic() + timeout
        while True:
            status = await node.status()
            if status.state in SERVING:
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
        await self._frontend.wait_until_ready(timeout)

    async def status(self, age: float = 0.0) -> GraphStatus:
        """What the graph does now, or has done so many seconds ago; see
        :meth:`RunningNode.recent_status`."""
        nodes = await asyncio.gather(
            *(self._nodes[index].recent_status(age) for index in sorted(self._nodes))
        )
        return GraphStatus(
            name=self.name,
            version=self.version,
            url=self._frontend.url,
            operators=len(self.config.nodes),
            nodes=tuple(nodes),
            warnings=self._warnings.sentences,
        )

    async def log(
        self, index: int, lines: int, *, proxy: bool = False, backup: bool = False
    ) -> tuple[str, str]:
        """The last lines of what :meth:`process` names, and its log's path; raises as that."""
        child = self.process(index, proxy=proxy, backup=backup)
        return ("", "") if child is None else (child.tail(lines), str(child.log))

    async def requests(self, most: int) -> hogar_pb2.RequestsReply:
        """The oldest requests in it; see :mod:`earg.graph_requests`."""
        return await requests_in(self, most)

    async def recorded(self, most: int) -> hogar_pb2.TracesReply:
        """The newest requests whose way was recorded."""
        return await recorded_by(self, most)

    def targets(self) -> list[MetricsTarget]:
        """What Prometheus is to scrape of it."""
        targets = [
            MetricsTarget(pair.metrics_address, self.name, node.spec.name, pair.role.value)
            for _, node in sorted(self._nodes.items())
            for pair in node.pairs
            if pair.metrics_address
        ]
        return [*targets, *self._frontend.targets]

    @property
    def _has_frontend(self) -> bool:
        return self._frontend.child is not None

    def _set_draining(self, draining: bool) -> None:
        super()._set_draining(draining)
        for node in self._nodes.values():
            self.look_soon(node)

    async def _admit(self, admit: bool) -> int:
        return await self._frontend.admit(admit)

    async def down(self) -> None:
        """Stop the frontend, then all nodes; returns when every process is gone."""
        await self.leave()
        await self._frontend.stop()
        for pair in self._retiring:
            pair.thaw()
        aside = (*self._starting, *self._retiring)
        await asyncio.gather(
            *(node.stop() for node in self._nodes.values()), *(pair.stop() for pair in aside)
        )
        # A deploy that was under way ends now, since its processes did: wait for it to tidy up.
        for lock in list(self._locks.values()):
            async with lock:
                pass
        # One that was replacing another when its task was cancelled.
        await asyncio.gather(*(node.stop() for node in self._nodes.values()))
        self._nodes.clear()
        self._pool.close()
        self._frontend.close_listener()
        self._runtime.remove()
        self.changed()


class LocalEngine:
    """Deployments on this machine: their processes are the agent's own."""

    name = "local"
    # They would end with nobody to start them anew.
    runs_on = False

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def open(self) -> None:
        """Nothing is to be opened."""

    async def close(self) -> None:
        """Nothing is open."""

    def deployment(
        self,
        name: str,
        version: str,
        plan: Plan,
        folder: Path,
        changed: Callable[[], None],
        tell: Tell,
        record: GraphRecord | None = None,
    ) -> Deployment:
        """A graph of this machine; see :class:`Deployment`."""
        return Deployment(name, version, plan, folder, self._commands, changed, tell, record)


def _adopted_pool(record: GraphRecord) -> AddressPool:
    ports = Ports(record.model_port, record.proxy_port, record.metrics_port)
    own = [ip for ip in (record.frontend_ip, record.admin_ip) if ip]
    used = [
        ip
        for node in record.nodes
        for pair in node.pairs
        for ip in (pair.ip, *(one.ip for one in pair.replicas))
    ]
    return AddressPool.adopt(record.name, ports, [*own, *used])
