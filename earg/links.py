"""Who sends to whom in a graph of this machine, and EARG's sequence by which all get to know.

A proxy is given the graph once; later its senders are turned to whoever stands in a node's place by
then: ours by ``Retarget``, originals by the sequence of :mod:`earg.recovery_sequence`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import grpc
import grpc.aio

from earg import recovery_sequence
from earg.addresses import Ports
from earg.config import StaticConfig
from earg.local_frontend import LocalFrontend
from earg.management import Handled
from earg.node import RunningNode
from earg.pair import RunningPair, StartError
from earg.plan import Plan
from earg.protos import prediction_pb2
from earg.recovery_sequence import Neighbour
from earg.runtime_file import RuntimeFile
from earg.sender import FRONTEND_NAME
from earg.status import Role

log = logging.getLogger(__name__)

REPORT_PATIENCE = 30.0
"""Seconds that one who reports a failure waits for its end."""

FALSE_ALARM_PAUSE = 0.2
"""Seconds before one that runs is tried again: gRPC remembers for up to a second that its address
did not answer, and fails what is sent there."""

RUNS = "it runs and answers"
"""What is said of a failure that is none."""

POLL_INTERVAL = 0.05
"""Seconds between looks at a node that is not back yet."""


class Graph(Protocol):
    """What the links need of their graph."""

    name: str
    version: str
    plan: Plan

    wired: bool
    """Whether the proxies know it."""

    has_originals: bool
    """Whether some of its proxies are not ours."""

    @property
    def config(self) -> StaticConfig:
        """Its nodes and edges."""

    def tell(self, node: str, what: str) -> None:
        """Add to the event log."""

    def changed(self) -> None:
        """Write the ledger."""


class Links:
    """Those of one graph. ``nodes`` are the graph's by index; ``retiring`` are pairs that finish
    what they hold after others have taken their place."""

    def __init__(
        self,
        graph: Graph,
        nodes: Mapping[int, RunningNode],
        retiring: Collection[RunningPair],
        frontend: LocalFrontend,
        ports: Ports,
        runtime: RuntimeFile,
    ) -> None:
        self._graph = graph
        self._nodes = nodes
        self._retiring = retiring
        self._frontend = frontend
        self._proxy_port = ports.proxy
        self._runtime = runtime
        # As the neighbours of each node know its primary, by index.
        self._told: dict[int, prediction_pb2.proxy_info] = {}
        self._telling = asyncio.Lock()
        self._former: dict[int, str] = {}

    # --- ours -------------------------------------------------------------------------------

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
            runtime = self._runtime.config()
        else:
            runtime = self._runtime.config_with(pair, node, primary or node.pairs[0])
        targets = {
            target: runtime.nodes[target - 1].primary.proxy_ip
            for target in self._graph.config.targets_of(pair.index)
        }
        text = self._runtime.text_of(runtime)
        await pair.send_graph(text, targets, self._graph.plan.extras_text)
        await self.follow(pair)

    async def follow(self, pair: RunningPair) -> None:
        """Let a proxy send to where its targets are by now: one may have moved while it was given
        the graph."""
        if pair.is_original:
            # It is told in rejoin().
            return
        for target in self._graph.config.targets_of(pair.index):
            while pair.targets.get(target) != (ip := self._nodes[target].pairs[0].ip):
                try:
                    await pair.retarget(target, ip)
                except StartError as error:
                    # It is dying itself, or an original.
                    log.warning("%s", error)
                    break

    def is_join(self, index: int) -> bool:
        """Whether several nodes flow into node ``index``."""
        return len(self._graph.config.sources_of(index)) > 1

    async def retarget(self, index: int, address: str) -> None:
        """Let everybody who sends to node ``index`` send to ``address``."""
        new = self._nodes[index].pairs[0]
        if new.is_sink and new.is_original:
            await self.hold(index)
            new.before_restart = partial(self.hold, index)
        calls = [
            pair.retarget(index, address)
            for source in self._graph.config.sources_of(index)
            for pair in (*self._nodes[source].pairs, *self._retiring)
            if pair.index == source and pair.running and not pair.is_original
        ]
        if index == 1:
            calls.append(self._frontend.retarget(address))
        # One that does not answer is dying itself: it will read the new runtime config.
        for result in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(result, StartError):
                log.warning("%s", result)
            elif isinstance(result, BaseException):
                raise result
        if self._graph.wired:
            self._runtime.write()
            try:
                await self.rejoin(index)
            except StartError as error:
                log.warning("%s", error)

    # --- originals --------------------------------------------------------------------------

    @property
    def has_told(self) -> bool:
        """Whether the neighbours know the primaries."""
        return bool(self._told)

    def note_told(self) -> None:
        """The neighbours of each node know its primary as it is."""
        for index, node in self._nodes.items():
            self._told[index] = self._info(node.pairs[0], index)

    async def rejoin(self, index: int) -> None:
        """Tell all around node ``index`` in EARG's own sequence that it has another proxy; raises
        :class:`StartError`. Where there are no originals nobody needs it."""
        if not self._graph.has_originals or not self._graph.wired:
            return
        async with self._telling:
            pair = self._nodes[index].pairs[0]
            new = self._info(pair, index)
            failed = self._told.get(index, new)
            if failed == new and not pair.recovers:
                return
            before = self._runtime.text()
            await self._drive(index, pair, failed, new)
            self._told[index] = new
            self._former[index] = before
        self._runtime.write()
        self._graph.changed()

    async def _drive(
        self,
        index: int,
        pair: RunningPair,
        failed: prediction_pb2.proxy_info,
        new: prediction_pb2.proxy_info,
    ) -> None:
        graph = self._graph
        predecessors = self._neighbours(graph.config.sources_of(index))
        successors = self._neighbours(graph.config.targets_of(index))
        # An original in the sink's place is started as in a new graph, and counts so.
        anew = pair.is_original and pair.is_sink and failed != new
        if anew and any(one.is_original for one in predecessors):
            graph.tell(
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
                    dag_name=f"{graph.name}-{graph.version}",
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
        log.info("node %d of %s is replaced from request %d on", index, graph.name, start)
        if not pair.is_original and pair.spec.stateful:
            # What its backup took over it may not have handed on, and nobody asks for it.
            await self._replay_to(pair, successors, start)

    async def hold(self, index: int) -> None:
        """Let nothing be sent to an original at the sink, until one in its place is told of."""
        told = self._told.get(index)
        if told is not None:
            predecessors = self._neighbours(self._graph.config.sources_of(index))
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
            return await recovery_sequence.call(f"{pair.ip}:{self._proxy_port}", call, request)
        except (grpc.aio.AioRpcError, OSError) as error:
            what = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
            raise StartError(f"the proxy of {pair.name} did not {call}: {what}") from None

    def _info(self, pair: RunningPair, index: int) -> prediction_pb2.proxy_info:
        return prediction_pb2.proxy_info(
            ip=pair.ip,
            port=self._proxy_port,
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
            ip=self._frontend.ip, port=self._proxy_port, container_name=FRONTEND_NAME
        )

    async def _answered_to(self) -> int:
        request = prediction_pb2.successor_prepare_req()
        try:
            reply = await recovery_sequence.call(
                self._frontend.address, "prepare_recover_successor", request
            )
        except (grpc.aio.AioRpcError, OSError):
            return 0
        return int(reply.seq)

    async def next_seq(self) -> int:
        """The number with which a frontend goes on that comes in another one's place."""
        if not self._graph.wired or not self._graph.has_originals:
            return 1
        entry = self._nodes[1].pairs[0]
        neighbour = Neighbour(self._info(entry, 1))
        return 1 + await recovery_sequence.ask_highest(neighbour, self._frontend_info())

    # --- what originals report -------------------------------------------------------------

    async def handle_failure(self, index: int, ip: str) -> Handled:
        """Look at the proxy of node ``index`` at ``ip``, and replace it where it is dead or hangs;
        raises ValueError for one that is not the graph's."""
        node = self._nodes.get(index)
        if node is None or not self._graph.wired:
            raise ValueError(f"graph {self._graph.name} has no node {index} that serves")
        before = self._runtime.text()
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
            sources = self._neighbours(self._graph.config.sources_of(index))
            originals = [one for one in sources if one.is_original]
            info = self._info(node.pairs[0], index)
            await recovery_sequence.commit_again(originals, info, await self._answered_to() + 1)
        now = self._runtime.text()
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
