"""One deployed graph on this machine: its nodes, their addresses, its frontend."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from earg import ledger, recovery_sequence, replacement
from earg.addresses import AddressPool, Ports, is_free
from earg.channel import open_channel
from earg.child import Child, LogError
from earg.config import NodeSpec, RuntimeConfig, RuntimeNode, write_runtime
from earg.deployed import DeploymentError, Tell
from earg.deployed_graph import DeployedGraph
from earg.draining import wait_until_drained
from earg.environment import QUIET, process_environment
from earg.graph_requests import recorded_by, requests_in
from earg.heartbeat import LOOK_INTERVAL, Heartbeat, Watched
from earg.home import replace_file
from earg.http_listener import listen
from earg.images import Implementation
from earg.ledger import GraphRecord
from earg.management import Handled, Management, admin_variables, choose_port
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
from earg.plan import Plan
from earg.protos import hogar_pb2, hogar_pb2_grpc, prediction_pb2, prediction_pb2_grpc
from earg.recovery_sequence import Neighbour
from earg.security import security
from earg.sender import FRONTEND_NAME
from earg.status import SERVING, GraphStatus, NodeState, NodeStatus, PingStatus, Role
from earg.together import all_of
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

REPORT_PATIENCE = 30.0
"""Seconds that one who reports a failure waits for its end."""

FALSE_ALARM_PAUSE = 0.2
"""Seconds before one that runs is tried again: gRPC remembers for up to a second that its address
did not answer, and fails what is sent there."""

RUNS = "it runs and answers"
"""What is said of a failure that is none."""

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
        self._starting_frontend: Child | None = None
        self._locks: dict[int, asyncio.Lock] = {}
        self._wiring = asyncio.Lock()
        self._frontend: Child | None = None
        self._listener: socket.socket | None = None
        self._url = ""
        self._http_port = FIRST_HTTP_PORT
        self.wired = False
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.has_originals = any(commands.is_original(one.name) for one in plan.config.nodes)
        # As the neighbours of each node know its primary, by index.
        self._told: dict[int, prediction_pb2.proxy_info] = {}
        self._telling = asyncio.Lock()
        self._former: dict[int, str] = {}
        if record is None:
            self._pool = AddressPool(name)
            self._frontend_ip = self._pool.take()
            self._admin_ip = self._pool.take()
            self._admin_port = choose_port(self._admin_ip)
        else:
            self._adopt(record)
        self._start(Management(self).serve(self._admin_ip, self._admin_port))
        self._start(self._watch())
        self._start(self._watch_states())

    def record(self) -> GraphRecord:
        """What an agent that follows this one needs to adopt it."""
        in_place = {pair for node in self._nodes.values() for pair in node.pairs}
        pairs = (self._starting | self._retiring) - in_place
        aside = [child for pair in pairs for _, _, child in pair.processes]
        if self._starting_frontend is not None:
            aside.append(self._starting_frontend)
        leftovers = [child.record() for child in aside]
        return GraphRecord(
            name=self.name,
            version=self.version,
            next_version=self.next_version,
            config=self.plan.text,
            extras=self.plan.extras_text,
            model_port=self._pool.ports.model,
            proxy_port=self._pool.ports.proxy,
            metrics_port=self._pool.ports.metrics,
            frontend_ip=self._frontend_ip,
            http_port=self._http_port,
            wired=self.wired,
            draining=self.draining,
            frontend=self._frontend.record() if self._frontend is not None else None,
            admin_ip=self._admin_ip,
            admin_port=self._admin_port,
            nodes=tuple(self._nodes[index].record() for index in sorted(self._nodes)),
            leftovers=tuple(record for record in leftovers if record is not None),
        )

    def _adopt(self, record: GraphRecord) -> None:
        ports = Ports(record.model_port, record.proxy_port, record.metrics_port)
        own = [ip for ip in (record.frontend_ip, record.admin_ip) if ip]
        used = [
            ip
            for node in record.nodes
            for pair in node.pairs
            for ip in (pair.ip, *(one.ip for one in pair.replicas))
        ]
        self._pool = AddressPool.adopt(self.name, ports, [*own, *used])
        self._admin_ip = record.admin_ip or self._pool.take()
        self._admin_port = record.admin_port or choose_port(self._admin_ip)
        self._frontend_ip = record.frontend_ip
        self._http_port = record.http_port
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
        if record.frontend is not None:
            self._frontend = Child.adopt(record.frontend, self._frontend_ended)
        if self._frontend is not None:
            self._frontend.has_answered = True
            self._url = _url(record.http_port)
        elif record.wired:
            # Also where the record has none: it was being replaced when the agent was killed.
            self.tell("frontend", "was found dead by a new agent")
            self._start(self._recover_frontend())
        if record.wired:
            self._note_told()
            self._start(self._mend_links(record.draining, bool(record.leftovers)))

    async def _mend_links(self, draining: bool, lost: bool) -> None:
        """Tell everybody where the nodes are: the agent before may have ended while it did."""
        for node in list(self._nodes.values()):
            for pair in node.pairs:
                if pair.running and pair.wired:
                    await self.follow(pair)
        if self._frontend is not None and self._frontend.running:
            entry = hogar_pb2.RetargetRequest(index=1, address=self._nodes[1].pairs[0].ip)
            try:
                await self._call_frontend("Retarget", entry)
                if draining:
                    await self._admit(True)
                    self.tell("frontend", "takes requests again: the agent that drained it is gone")
            except StartError as error:
                log.warning("%s", error)
        if lost:
            # Among those that were ended were perhaps some that still held requests.
            await self.replay()

    def replan(self, version: str, plan: Plan) -> None:
        """Deploy another plan of the same topology from now on: what differs is replaced node by
        node by :meth:`deploy`, and :meth:`wire` makes its version the graph's."""
        self.next_version, self.plan = version, plan
        self.changed()

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- nodes ------------------------------------------------------------------------------

    def process(self, index: int, *, proxy: bool = False, backup: bool = False) -> Child | None:
        """The model of a node's primary, or its proxy, or that of its backup; of index 0 the
        frontend. None where it was never started; raises :class:`DeploymentError`."""
        if index == 0:
            if self._frontend is None:
                raise DeploymentError(f"graph {self.name} has no frontend yet; wire it first")
            return self._frontend
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
                self._write_runtime()
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
            self._write_runtime()
            for pair in pairs:
                pair.rename_logs(pair.name.partition(".")[2])
            self.changed()

        task = self._start(work())
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
            self._start(self._retire(pair))

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
                pair.before_restart = partial(self._hold, index)
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

    async def _watch_states(self) -> None:
        """Tell of changes of state that do not announce themselves."""
        while True:
            await asyncio.sleep(STATE_INTERVAL)
            await asyncio.gather(*(node.look() for node in list(self._nodes.values())))

    def look_soon(self, node: RunningNode) -> None:
        """Look at a node's state without waiting for the next look at all."""
        if not self._closed:
            self._start(node.look())

    # --- what its nodes need of it ----------------------------------------------------------

    async def connect(
        self,
        pair: RunningPair,
        node: RunningNode | None = None,
        primary: RunningPair | None = None,
    ) -> None:
        """Give ``pair`` the graph; raises :class:`StartError`. With ``node``, it is to take that
        one's place, or that of its backup, by its role; ``primary`` is whose backup then, where
        that is not the one it has."""
        if pair.recovers:
            # Its place is given to it in rejoin().
            return
        if node is None:
            runtime = self._runtime()
        else:
            runtime = self._runtime_with(pair, node, primary or node.pairs[0])
        targets = {
            target: runtime.nodes[target - 1].primary.proxy_ip
            for target in self.config.targets_of(pair.index)
        }
        text = write_runtime(runtime, choices=bool(self.extras))
        await pair.send_graph(text, targets, self.plan.extras_text)
        await self.follow(pair)

    async def rejoin(self, index: int) -> None:
        """Tell all around node ``index`` in EARG's own sequence that it has another proxy; raises
        :class:`StartError`. Where there are no originals nobody needs it."""
        if not self.has_originals or not self.wired:
            return
        async with self._telling:
            pair = self._nodes[index].pairs[0]
            new = self._info(pair, index)
            failed = self._told.get(index, new)
            if failed == new and not pair.recovers:
                return
            before = self.runtime_text()
            await self._drive(index, pair, failed, new)
            self._told[index] = new
            self._former[index] = before
        self._write_runtime()
        self.changed()

    async def _drive(
        self,
        index: int,
        pair: RunningPair,
        failed: prediction_pb2.proxy_info,
        new: prediction_pb2.proxy_info,
    ) -> None:
        predecessors = self._neighbours(self.config.sources_of(index))
        successors = self._neighbours(self.config.targets_of(index))
        # An original in the sink's place is started as in a new graph, and counts so.
        anew = pair.is_original and pair.is_sink and failed != new
        if anew and any(one.is_original for one in predecessors):
            self.tell(
                pair.spec.name,
                "is an original at the sink, behind another: it begins at number 1 and waits for "
                "it in vain; take the graph down and deploy it again",
            )

        async def take_place(start: int) -> None:
            if not pair.is_original:
                here = Neighbour(new)
                await recovery_sequence.begin_at(here, predecessors, start)
            elif pair.recovers:
                request = recovery_sequence.place_request(
                    new,
                    start=start,
                    model_ip=pair.ip,
                    dag_name=f"{self.name}-{self.version}",
                    batch=pair.spec.batch,
                    is_join=self.is_join(index),
                    predecessors=predecessors,
                    successors=successors,
                )
                await self._call_pair(pair, "recover_new_proxy", request)
                pair.has_graph(
                    {one.info.model_id: one.info.ip for one in successors if one.info.model_id}
                )
                pair.recovers = False

        start = await recovery_sequence.drive(
            recovery_sequence.Replacement(
                failed, new, predecessors, successors, take_place, self._answered_to, anew
            )
        )
        log.info("node %d of %s is replaced from request %d on", index, self.name, start)
        if not pair.is_original and pair.spec.stateful:
            # What its backup took over it may not have handed on, and nobody asks for it.
            await self._replay_to(pair, successors, start)

    async def _hold(self, index: int) -> None:
        """Let nothing be sent to an original at the sink, until one in its place is told of."""
        told = self._told.get(index)
        if told is not None:
            predecessors = self._neighbours(self.config.sources_of(index))
            await recovery_sequence.hold(predecessors, told)

    async def _replay_to(
        self, pair: RunningPair, successors: Sequence[Neighbour], start: int
    ) -> None:
        for one in successors:
            request = prediction_pb2.recovery_req(
                failed_proxy=one.info, new_proxy=one.info, start_seq=start + 1
            )
            try:
                await self._call_pair(pair, "commit_recover_predecessor", request)
            except StartError as error:
                log.warning("%s", error)

    async def _call_pair(self, pair: RunningPair, call: str, request: Any) -> Any:
        try:
            return await recovery_sequence.call(
                f"{pair.ip}:{self._pool.ports.proxy}", call, request
            )
        except (grpc.aio.AioRpcError, OSError) as error:
            what = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
            raise StartError(f"the proxy of {pair.name} did not {call}: {what}") from None

    def _info(self, pair: RunningPair, index: int) -> prediction_pb2.proxy_info:
        return prediction_pb2.proxy_info(
            ip=pair.ip,
            port=self._pool.ports.proxy,
            stateful=pair.spec.stateful,
            is_primary=pair.spec.stateful and pair.role is Role.PRIMARY,
            model_id=index,
            container_name=pair.proxy_name,
            model_container_name=pair.pair.model_name,
        )

    def _neighbours(self, indexes: Sequence[int]) -> list[Neighbour]:
        """The primaries of nodes; the frontend where there are none."""
        if not indexes:
            return [Neighbour(self._frontend_info())]
        pairs = [self._nodes[index].pairs[0] for index in indexes]
        return [
            Neighbour(self._info(pair, pair.index), pair.is_original and not pair.recovers)
            for pair in pairs
        ]

    def _frontend_info(self) -> prediction_pb2.proxy_info:
        return prediction_pb2.proxy_info(
            ip=self._frontend_ip, port=self._pool.ports.proxy, container_name=FRONTEND_NAME
        )

    def _note_told(self) -> None:
        for index, node in self._nodes.items():
            self._told[index] = self._info(node.pairs[0], index)

    async def _answered_to(self) -> int:
        address = f"{self._frontend_ip}:{self._pool.ports.proxy}"
        request = prediction_pb2.successor_prepare_req()
        try:
            reply = await recovery_sequence.call(address, "prepare_recover_successor", request)
        except (grpc.aio.AioRpcError, OSError):
            return 0
        return int(reply.seq)

    async def _next_seq(self) -> int:
        """The number with which a frontend goes on that comes in another one's place."""
        if not self.wired or not self.has_originals:
            return 1
        entry = self._nodes[1].pairs[0]
        neighbour = Neighbour(self._info(entry, 1))
        return 1 + await recovery_sequence.ask_highest(neighbour, self._frontend_info())

    # --- what is reported to it -------------------------------------------------------------

    @property
    def indexes(self) -> range:
        """Its nodes, by their place in the config."""
        return range(1, len(self.config.nodes) + 1)

    def runtime_text(self) -> str:
        """The runtime config; empty before the graph is wired."""
        return write_runtime(self._runtime(), choices=bool(self.extras)) if self.wired else ""

    async def handle_failure(self, index: int, ip: str) -> Handled:
        """Look at the proxy of node ``index`` at ``ip``, and replace it where it is dead or hangs;
        raises ValueError for one that is not the graph's."""
        node = self._nodes.get(index)
        if node is None or not self.wired:
            raise ValueError(f"graph {self.name} has no node {index} that serves")
        before = self.runtime_text()
        was_primary = node.spec.stateful and node.pairs[0].ip == ip
        pair = next((one for one in node.pairs if one.ip == ip), None)
        status = "it was replaced before"
        if pair is not None:
            status = await self._look_after(node, pair)
        if node.pairs[0].running and node.pairs[0].wired:
            if status == RUNS:
                await asyncio.sleep(FALSE_ALARM_PAUSE)
            # Who reports holds back what it has, until it is told after its report that all is
            # well; the sequence may have told it before.
            sources = self._neighbours(self.config.sources_of(index))
            originals = [one for one in sources if one.is_original]
            info = self._info(node.pairs[0], index)
            await recovery_sequence.commit_again(originals, info, await self._answered_to() + 1)
        now = self.runtime_text()
        old = before if before != now else self._former.get(index, before)
        return Handled(old, now, was_primary, node.spec.stateful, status)

    async def _look_after(self, node: RunningNode, pair: RunningPair) -> str:
        if pair.running and not node.recovering:
            for _ in range(2):
                if (await pair.ping())[0] is not None:
                    return RUNS
                # Of one that has died the agent knows by now, or in a moment.
                await asyncio.sleep(POLL_INTERVAL)
            # It may have died, or be replaced, meanwhile.
            if not node.recovering and pair.proxy is not None and pair.proxy.running:
                pair.proxy.end("a neighbour reports that it failed, and it does not answer")
                await pair.proxy.wait()
        try:
            async with asyncio.timeout(REPORT_PATIENCE):
                while node.recovering or not (node.pairs[0].running and node.pairs[0].wired):
                    await node.settle()
                    await asyncio.sleep(POLL_INTERVAL)
                # Until the neighbours know, too.
                async with self._telling:
                    pass
        except TimeoutError:
            return f"it is being replaced, but not back within {REPORT_PATIENCE:.0f} s"
        return "the agent has replaced it"

    async def follow(self, pair: RunningPair) -> None:
        """Let a proxy send to where its targets are by now: one may have moved while it was given
        the graph."""
        if pair.is_original:
            # It is told in rejoin().
            return
        for target in self.config.targets_of(pair.index):
            while pair.targets.get(target) != (ip := self._nodes[target].pairs[0].ip):
                try:
                    await pair.retarget(target, ip)
                except StartError as error:
                    # It is dying itself, or an original.
                    log.warning("%s", error)
                    break

    def is_join(self, index: int) -> bool:
        """Whether several nodes flow into node ``index``."""
        return len(self.config.sources_of(index)) > 1

    async def retarget(self, index: int, address: str) -> None:
        """Let everybody who sends to node ``index`` send to ``address``."""
        new = self._nodes[index].pairs[0]
        if new.is_sink and new.is_original:
            await self._hold(index)
            new.before_restart = partial(self._hold, index)
        calls = [
            pair.retarget(index, address)
            for source in self.config.sources_of(index)
            for pair in (*self._nodes[source].pairs, *self._retiring)
            if pair.index == source and pair.running and not pair.is_original
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
            try:
                await self.rejoin(index)
            except StartError as error:
                log.warning("%s", error)

    def _write_runtime(self) -> None:
        runtime = write_runtime(self._runtime(), choices=bool(self.extras))
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

    @property
    def frontend_address(self) -> str:
        """Where its frontend takes gRPC."""
        return f"{self._frontend_ip}:{self._pool.ports.proxy}"

    async def _call_frontend(self, call: str, request: Any) -> Any:
        async with open_channel(self.frontend_address) as channel:
            stub = hogar_pb2_grpc.ControlStub(channel)
            try:
                return await getattr(stub, call)(request, timeout=CALL_TIMEOUT)
            except grpc.aio.AioRpcError as error:
                raise StartError(
                    f"the frontend of {self.name} did not {call}: {error.details()}"
                ) from None

    # --- the graph --------------------------------------------------------------------------

    async def wire(self) -> None:
        """Start the frontend and send every proxy the graph, where that is not done yet.

        Raises :class:`DeploymentError` for nodes that are missing, :class:`StartError`.
        """
        for node in list(self._nodes.values()):
            # One that lost a process just now is about to be back.
            await node.settle()
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
            stale = [
                f"{node.spec.name} (version {node.spec.version})"
                for index, node in self._nodes.items()
                if node.spec != self.spec(index)
            ]
            if stale:
                raise DeploymentError(
                    f"graph {self.name} cannot be wired: {', '.join(stale)} not deployed with its "
                    "new config yet; deploy every node first"
                )
            await self._serve_next_version()
            if self._frontend is None or not self._frontend.running:
                await self._start_frontend()
            self._write_runtime()
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
            if not self._told:
                self._note_told()
            self.changed()
            await asyncio.gather(*(node.attach_backup() for node in self._nodes.values()))

    async def _serve_next_version(self) -> None:
        if self.version == self.next_version:
            return
        self.version = self.next_version
        self.tell("graph", f"is version {self.version} now")
        self.changed()
        if self._frontend is not None and self._frontend.running:
            try:
                await self._call_frontend(
                    "SetVersion", hogar_pb2.GraphVersion(version=self.version)
                )
            except StartError as error:
                log.warning("%s", error)

    def _runtime(self) -> RuntimeConfig:
        return self._runtime_of(
            [_runtime_node(self._nodes[index]) for index in range(1, len(self.config.nodes) + 1)]
        )

    def _runtime_with(
        self, pair: RunningPair, node: RunningNode, primary_pair: RunningPair
    ) -> RuntimeConfig:
        """The graph in which ``pair`` is the primary of ``node``, or the backup of that one."""
        nodes = [
            _runtime_node(self._nodes[index]) for index in range(1, len(self.config.nodes) + 1)
        ]
        primary, backup = primary_pair.pair, None
        if pair.role is Role.BACKUP:
            backup = pair.pair
        else:
            primary = pair.pair
        if pair.spec.stateful and backup is None:
            # The place of its backup is not free yet, but the config has to name one.
            backup = next((p.pair for p in node.pairs if p.name != pair.name), None)
        nodes[node.index - 1] = RuntimeNode(pair.spec, primary, backup)
        return self._runtime_of(nodes)

    def _runtime_of(self, nodes: Sequence[RuntimeNode]) -> RuntimeConfig:
        if not self.extras:
            # A node that had no backup by the extras before, and is about to get one: without
            # extras the config has to name one.
            nodes = [
                replace(node, backup=node.primary)
                if node.spec.stateful and node.backup is None
                else node
                for node in nodes
            ]
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
        entry_ip = self._nodes[1].pairs[0].ip
        proxy_port = self._pool.ports.proxy
        own = self._commands.frontend[-1:] == OWN_FRONTEND
        for attempt in range(ADDRESS_ATTEMPTS):
            if own and self._listener is None:
                self._listener, self._http_port = _listen(self._http_port)
            elif not own:
                self._http_port = _free_http_port(self._http_port)
            descriptors = [] if self._listener is None else [self._listener.fileno()]
            variables = {
                "GRAPH_NAME": self.name,
                "GRAPH_VERSION": self.version,
                "ENTRY_PROXY_NAME": entry_ip,
                "ENTRY_PROXY_PORT": str(proxy_port),
                "NODE_NAMES": ",".join(node.name for node in self.config.nodes),
                "MAX_WORKERS": "1024",
                "PROXY_PORT": str(proxy_port),
                "LISTEN_IP": self._frontend_ip,
                "FIRST_SEQ": str(await self._next_seq()),
                "HTTP_IP": _http_ip(),
                "HTTP_PORT": str(self._http_port),
            }
            if descriptors:
                variables["HTTP_FD"] = str(descriptors[0])
            try:
                child = await Child.start(
                    [*self._commands.frontend, f"{self.name}.frontend"],
                    process_environment(telemetry=True) | QUIET | variables,
                    self._folder,
                    self._folder / "logs" / "frontend.log",
                    self._frontend_ended,
                    home=self._commands.home,
                    needs_log=not self.wired,
                    descriptors=descriptors,
                )
            except LogError as error:
                raise StartError(
                    f"the frontend of {self.name} is not started: its log {error}"
                ) from None
            except OSError as error:
                raise StartError(
                    f"{self._commands.frontend[0]} cannot be started: {error}"
                ) from None
            self._starting_frontend = child
            self.changed()
            try:
                what = f"the frontend of {self.name}"
                await wait_until_up(child, what, self._ping_frontend(), FRONTEND_TIMEOUT)
            except AddressTakenError:
                # Which of its two addresses it was, only its log tells; this one can be another.
                self._close_listener()
                self._http_port += 1
                if attempt == ADDRESS_ATTEMPTS - 1:
                    raise
                continue
            except BaseException:
                await asyncio.shield(child.stop())
                raise
            finally:
                self._starting_frontend = None
            self._frontend = child
            self._url = _url(self._http_port)
            self.changed()
            if self._nodes[1].pairs[0].ip != entry_ip:
                await self.retarget(1, self._nodes[1].pairs[0].ip)
            if self.draining:
                await self._admit(False)
            return

    async def _ping_frontend(self) -> PingStatus:
        async with open_channel(self.frontend_address) as channel:
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
        # Nobody would answer those who wait.
        self._close_listener()
        self.tell("frontend", f"is given up after {GIVE_UP} failed starts")

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

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

    async def status(self, age: float = 0.0) -> GraphStatus:
        """What the graph does now, or has done so many seconds ago; see
        :meth:`RunningNode.recent_status`."""
        nodes = await asyncio.gather(
            *(self._nodes[index].recent_status(age) for index in sorted(self._nodes))
        )
        serving = self._frontend is not None and self._frontend.running
        return GraphStatus(
            name=self.name,
            version=self.version,
            url=self._url if serving else "",
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
        if self._url and self._commands.frontend[-1:] == OWN_FRONTEND:
            address = self._url.removeprefix("http://")
            targets.append(MetricsTarget(address, self.name, "", "frontend"))
        return targets

    async def drain(self, timeout: float, force: bool) -> int:
        """Take no new requests, and wait until those in the graph are answered; how many are left
        after ``timeout`` seconds.

        Where none are left, or with ``force``, the graph stays closed for :meth:`down`; else it
        serves again. Raises :class:`DeploymentError`.
        """
        if self.draining:
            raise DeploymentError(f"graph {self.name} is being drained already")
        if self._frontend is None:
            return 0
        self._set_draining(True)
        stays_closed = False
        try:
            left = await wait_until_drained(
                lambda: self._admit(False), lambda: self._closed, timeout
            )
            stays_closed = left == 0 or force
        except StartError as error:
            raise DeploymentError(f"graph {self.name} cannot be drained: {error}") from None
        finally:
            if not stays_closed and not self._closed:
                await asyncio.shield(self._start(self._reopen()))
        return left

    def _set_draining(self, draining: bool) -> None:
        self.draining = draining
        self.tell("graph", "takes no new requests" if draining else "takes requests again")
        self.changed()
        for node in self._nodes.values():
            self.look_soon(node)

    async def _admit(self, admit: bool) -> int:
        reply = await self._call_frontend("Admit", hogar_pb2.AdmissionRequest(admit=admit))
        return int(reply.waiting)

    async def leave(self) -> None:
        """End what this process does for it; the graph's processes run on."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def down(self) -> None:
        """Stop the frontend, then all nodes; returns when every process is gone."""
        await self.leave()
        if self._frontend is not None:
            await self._frontend.stop()
        if self._starting_frontend is not None:
            await self._starting_frontend.stop()
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
        self._close_listener()
        with contextlib.suppress(OSError):
            (self._folder / "runtime.earg").unlink()
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


def _http_ip() -> str:
    """Where frontends take HTTP. One that others reach needs :mod:`earg.security`."""
    return os.environ.get(HTTP_IP, "") or "127.0.0.1"


def _url(http_port: int) -> str:
    ip = _http_ip()
    host = "127.0.0.1" if ip == "0.0.0.0" else ip  # noqa: S104  the address is only read
    return f"{security().http_scheme}://{host}:{http_port}"


def _runtime_node(node: RunningNode) -> RuntimeNode:
    backup = node.pairs[1].pair if len(node.pairs) > 1 else None
    return RuntimeNode(node.spec, node.pairs[0].pair, backup)


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
