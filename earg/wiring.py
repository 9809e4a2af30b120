"""Wires a graph whose processes a container platform starts, and wires anew what comes back.

On one machine the agent does all this, and starts the processes as well. Here the platform starts
them (Kubernetes, Docker), and restarts what dies, at addresses that may change. This looks at
every proxy twice a second and does the rest of the agent's part: it gives a proxy that has no
graph its model, its extras and the graph, tells its neighbours where it is now, promotes the
backup of a stateful primary that is gone, attaches a backup to each primary, gives one that has
none a lease (:mod:`earg.wiring_roles` decides which), and lets the frontend send again what was
lost on the way. It keeps nothing: a new one reads from the proxies themselves what an earlier one
has done.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import socket
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import grpc.aio

from earg.answered import answered
from earg.channel import open_channel
from earg.config import MODEL_PORT, PROXY_PORT, Pair, RuntimeConfig, RuntimeNode, write_runtime
from earg.lease import LEASE, boot_clock
from earg.plan import Plan
from earg.protos import hogar_pb2, hogar_pb2_grpc, prediction_pb2, prediction_pb2_grpc
from earg.sender import RECONNECT_AFTER
from earg.status import PingStatus, QueueLoad
from earg.status_wire import read_load
from earg.wiring_places import PairPlace, Places
from earg.wiring_roles import FAIL_OVER_AFTER, Roles, Seen, Step, Word

log = logging.getLogger(__name__)

LOOK_INTERVAL = 0.5
"""Seconds between looks at all proxies."""

PING_TIMEOUT = 1.0
CALL_TIMEOUT = 10.0
MODEL_TIMEOUT = 40.0
"""Seconds for SetModel: the proxy itself waits up to 30 s for its model."""

ATTACH_TIMEOUT = 60.0
"""Seconds in which a backup must have the whole state."""

ROLE_TIMEOUT = 2.0
"""Seconds for what a proxy does at once."""

TELL_AGAIN = 5.0
"""Seconds after which the frontend is told again where the entry is: it may have come back at the
address that it had."""

FRONTEND = 0
"""The frontend's index where nodes are counted from 1."""

# How long an attempt to connect may take: on a machine with too much to do it is no short time.
_PATIENT = ("grpc.min_reconnect_backoff_ms", 1000)

_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class PairView:
    """What is known of a pair since the last look. ``number`` is its place among its node's places
    at first, ``address`` its proxy's IPv4 address. ``status`` and ``load`` are what ``ping`` has
    answered, None where it has not, for ``silent`` seconds. ``wired`` says that it has the graph,
    ``synced`` that a backup has the node's state; ``wirings`` counts how often it was given it."""

    number: int
    place: PairPlace
    address: str
    status: PingStatus | None
    load: QueueLoad | None
    silent: float
    wired: bool
    synced: bool
    wirings: int
    channel: grpc.aio.Channel | None


@dataclass(slots=True, eq=False)
class _Process:
    """A process that is reached by its host's name."""

    host: str
    port: int
    ip: str = ""
    channel: grpc.aio.Channel | None = None
    opened: float = 0.0

    async def resolve(self) -> bool:
        """Look its address up; whether it has another one than before. A host that has none any
        more keeps what it had: others still need something to write."""
        if self.ip == self.host and self.channel is not None:
            return False
        if _ADDRESS.match(self.host):
            await self._reach(self.host)
            return True
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                found = await loop.getaddrinfo(
                    self.host, None, family=socket.AF_INET, type=socket.SOCK_STREAM
                )
        except (OSError, UnicodeError, TimeoutError):
            return False
        addresses = [str(one[4][0]) for one in found]
        if self.ip in addresses and self.channel is not None:
            return False
        await self._reach(addresses[0])
        return True

    async def _reach(self, ip: str) -> None:
        self.ip = ip
        await self.close()
        self.channel = open_channel(f"{ip}:{self.port}", _PATIENT)
        self.opened = time.monotonic()

    async def reach_again(self) -> None:
        """It does not answer. TCP tries a connection that was cut off again after longer and longer
        pauses, as long as it was cut off; another one is there at once."""
        if time.monotonic() > self.opened + RECONNECT_AFTER:
            await self._reach(self.ip)

    async def close(self) -> None:
        channel, self.channel = self.channel, None
        if channel is not None:
            await channel.close()


@dataclass(slots=True, eq=False)
class _Pair(_Process):
    """A proxy with its models, and what is known of it."""

    index: int = 0
    number: int = 0
    place: PairPlace = field(default_factory=lambda: PairPlace("", ()))
    status: int | None = None
    load: QueueLoad | None = None
    is_new: bool = False
    """Whether it was started anew since this wiring began, and has no graph whatever it says."""
    given_up: bool = False
    """Whether it is taken for dead while it is silent, without waiting."""
    word: Word | None = None
    stamp: float = 0.0
    word_at: float | None = None
    led: bool = False
    asked: int = 0
    heard: int = 0
    asking: asyncio.Task[None] | None = None
    answered_at: float = field(default_factory=time.monotonic)
    wired: bool = False
    wirings: int = 0
    replicas: set[int] = field(default_factory=set)
    told: dict[int, str] = field(default_factory=dict)
    """Where it sends to, by node, as far as it was told."""
    task: asyncio.Task[None] | None = None


class Wiring:
    """One graph. :meth:`run` goes on for ever; :meth:`close` cancels what it has begun."""

    def __init__(
        self,
        plan: Plan,
        places: Places,
        *,
        model_port: int = MODEL_PORT,
        proxy_port: int = PROXY_PORT,
        numbers: Sequence[Sequence[int]] | None = None,
        tell: Callable[[int, str], None] | None = None,
    ) -> None:
        """``tell`` is called with a node's index and what has happened to it. ``numbers`` name the
        pairs of each node where those are not counted from 0."""
        self._tell = tell
        self._plan = plan
        self._places = places
        self._model_port = model_port
        self._frontend = _Process(places.frontend, proxy_port)
        self._entry_told = ("", 0.0)
        self._frontend_answers = False
        # By node, the primary first.
        self._nodes: list[list[_Pair]] = [
            [
                _Pair(place.proxy, proxy_port, index=index, number=number, place=place)
                for number, place in zip(
                    numbers[index - 1] if numbers is not None else range(len(pairs)),
                    pairs,
                    strict=True,
                )
            ]
            for index, pairs in enumerate(places.nodes, 1)
        ]
        now = boot_clock()
        self._roles = {
            index: Roles(now) for index, spec in enumerate(plan.config.nodes, 1) if spec.stateful
        }
        self._leases: asyncio.Task[None] | None = None
        self._stays = True
        self._replay_due = False
        self._synced: set[int] = set()
        self._lost: set[int] = set()
        # Those that finish what they hold, by node.
        self._retired: dict[int, _Pair] = {}
        self._refusals: dict[int, str] = {}
        self._unattached: dict[int, str] = {}
        # A pair is not exchanged while it is being looked at.
        self._looking = asyncio.Lock()
        self._replaying = asyncio.Lock()
        self._replays_wanted = self._replays_done = 0
        # None of those that one before this may have used.
        self._epoch = secrets.randbits(30)
        self._missing = ""
        self._was_ready = False
        self._tasks: set[asyncio.Task[None]] = set()

    # --- life -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_INTERVAL)

    async def run_until_ready(self) -> None:
        """Look until every proxy is ready."""
        self._stays = False
        while not self.is_ready:
            await self.look()
            await asyncio.sleep(LOOK_INTERVAL)

    async def close(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for one in (self._frontend, *self._pairs(), *self._retired.values()):
            await one.close()

    @property
    def is_ready(self) -> bool:
        """Whether every proxy answers ``ping`` with READY, and every backup has its state."""
        pairs = list(self._pairs())
        return all(pair.wired and pair.status == PingStatus.READY for pair in pairs) and all(
            index in self._synced for index, node in enumerate(self._nodes, 1) if len(node) > 1
        )

    def pairs_of(self, index: int) -> tuple[PairView, ...]:
        """A node's pairs, the primary first."""
        now = time.monotonic()
        return tuple(
            PairView(
                number=pair.number,
                place=pair.place,
                address=pair.ip,
                status=None if pair.status is None else PingStatus(pair.status),
                load=pair.load,
                silent=0.0 if pair.status is not None else now - pair.answered_at,
                wired=pair.wired,
                synced=index in self._synced,
                wirings=pair.wirings,
                channel=pair.channel,
            )
            for pair in self._nodes[index - 1]
        )

    @property
    def plan(self) -> Plan:
        """By which it wires."""
        return self._plan

    def refusal(self, index: int) -> str:
        """Why a node's backup has refused a state since it was put there; empty: it has not."""
        return self._refusals.get(index, "")

    def unattached(self, index: int) -> str:
        """Why a node's primary got no backup when it was told of one last; empty where it did."""
        return self._unattached.get(index, "")

    @property
    def frontend_address(self) -> str:
        """Where the frontend takes gRPC ("ip:port"); empty where its address is not known."""
        return f"{self._frontend.ip}:{self._frontend.port}" if self._frontend.ip else ""

    @property
    def frontend_channel(self) -> grpc.aio.Channel | None:
        """The channel to the frontend; None while there is none."""
        return self._frontend.channel

    @property
    def frontend_is_silent(self) -> bool:
        """Whether the frontend did not answer when it was asked last."""
        return not self._frontend_answers

    # --- what changes from outside ----------------------------------------------------------

    async def put(self, index: int, number: int, place: PairPlace) -> None:
        """A pair has been started anew, perhaps elsewhere: it has no graph yet."""
        async with self._looking:
            node = self._nodes[index - 1]
            at = next((at for at, pair in enumerate(node) if pair.number == number), None)
            fresh = _Pair(place.proxy, self._frontend.port, index=index, number=number, place=place)
            fresh.is_new = True
            if at is None:
                self._refusals.pop(index, None)
                node.append(fresh)
                return
            self._refusals.pop(index, None)
            old, node[at] = node[at], fresh
            # Others need something to write until it has been looked up.
            fresh.ip = old.ip
            self._lost.add(index)
            await self._let_go(old)
            if at == 1:
                await self._detach(index, node)

    async def drop(self, index: int, number: int) -> None:
        """A pair is there no more, and another one of its node is the primary."""
        async with self._looking:
            node = self._nodes[index - 1]
            for pair in [pair for pair in node[1:] if pair.number == number]:
                node.remove(pair)
                await self._let_go(pair)
                await self._detach(index, node)

    async def _detach(self, index: int, node: list[_Pair]) -> None:
        # Else the primary would hold its outputs back for its backup.
        self._synced.discard(index)
        if node[0].word is not None and node[0].word.leads and not node[0].word.alone:
            await self._take_away(index, node[0])

    async def take_in(self, index: int, number: int, place: PairPlace, deadline: float) -> None:
        """Let another pair take the place of a node's only one once it is ready. The one before
        finishes what it holds: see :meth:`finish`. Raises TimeoutError at ``deadline`` (of the
        monotonic clock)."""
        fresh = _Pair(place.proxy, self._frontend.port, index=index, number=number, place=place)
        why: BaseException | None = None
        try:
            while not (fresh.status == PingStatus.READY and fresh.wired) or self._lacks_replicas(
                fresh
            ):
                if time.monotonic() > deadline:
                    said = "" if why is None else f": {_details(why)}"
                    raise TimeoutError(f"{place.proxy} is not ready to take over{said}")
                await self._see(fresh)
                try:
                    await self._give_graph_to_heir(fresh)
                except (grpc.aio.AioRpcError, OSError) as error:
                    why = error
                await asyncio.sleep(LOOK_INTERVAL / 5)
        except BaseException:
            await fresh.close()
            raise
        async with self._looking:
            node = self._nodes[index - 1]
            self._retired[index] = node[0]
            node[0] = fresh
            await self._tell_all()
        log.info("%s is in the place of %s", fresh.host, self._retired[index].host)

    async def _give_graph_to_heir(self, fresh: _Pair) -> None:
        if fresh.status is None:
            return
        if not fresh.wired:
            await self._give_graph(fresh)
            fresh.wired = True
            fresh.wirings += 1
        if self._lacks_replicas(fresh):
            await self._give_replicas(fresh)

    async def finish(self, index: int, patience: float) -> None:
        """Wait until the pair whose place was taken holds no request any more, ``patience`` seconds
        at most, and let it go."""
        pair = self._retired.pop(index)
        deadline = time.monotonic() + patience
        request = hogar_pb2.StatsRequest()
        while pair.channel is not None and time.monotonic() < deadline:
            stub = hogar_pb2_grpc.StatisticsStub(pair.channel)
            try:
                seen = await answered(stub.Stats(request, timeout=PING_TIMEOUT))
            except (grpc.aio.AioRpcError, OSError):
                break
            if not (seen.queued or seen.running or seen.leaving):
                break
            await asyncio.sleep(LOOK_INTERVAL / 5)
        await self._let_go(pair)

    async def replay(self) -> None:
        """Let the frontend send again what is in the graph: some of it was lost."""
        await self._replay()

    async def _let_go(self, pair: _Pair) -> None:
        for task in (pair.task, pair.asking):
            if task is not None:
                task.cancel()
        await pair.close()

    async def put_frontend(self, host: str) -> None:
        """The frontend has been started anew, perhaps elsewhere."""
        async with self._looking:
            old = self._frontend
            self._frontend = _Process(host, old.port, old.ip)
            self._entry_told = ("", 0.0)
            await old.close()

    async def tell_frontend(self) -> None:
        """Tell the frontend now where the entry is, and the graph's version."""
        async with self._looking:
            if self._nodes[0][0].wired:
                await self._retarget_frontend(self._nodes[0][0].ip)

    def give_up(self, index: int, number: int, dead: bool = True) -> None:
        """Take a pair for dead as soon as it is silent: its host is known to be."""
        for pair in self._nodes[index - 1]:
            if pair.number == number:
                pair.given_up = dead

    def replan(self, plan: Plan, version: str) -> None:
        """Wire what comes by another plan of the same topology, and call the graph by another
        version."""
        self._plan = plan
        self._places = replace(self._places, version=version)
        self._entry_told = ("", 0.0)

    def _say(self, index: int, text: str, *values: object) -> None:
        log.warning(text, *values)
        if self._tell is not None:
            self._tell(index, text % values)

    def _pairs(self) -> Iterator[_Pair]:
        for node in self._nodes:
            yield from node

    # --- one look ---------------------------------------------------------------------------

    async def look(self) -> None:
        """Look at everything once, and begin what is to be done."""
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        if self._leases is None:
            self._leases = self._start(self._keep_asking())
        await asyncio.gather(self._see_frontend(), *map(self._see, self._pairs()))
        missing = [one.host for one in (self._frontend, *self._pairs()) if not one.ip]
        if missing:
            # The graph's text names every address.
            self._say_missing(f"waiting for an address of {', '.join(missing[:5])}")
            return
        self._say_missing("")
        # At the same time: one that does not answer must not keep the others waiting.
        await asyncio.gather(*(self._settle(*one) for one in enumerate(self._nodes, 1)))
        await self._tell_all()
        if self._replay_due:
            self._start(self._replay())
        if self.is_ready != self._was_ready:
            self._was_ready = self.is_ready
            log.info("the graph is %s", "ready" if self._was_ready else "not ready")

    async def _settle(self, index: int, node: list[_Pair]) -> None:
        roles = self._roles.get(index)
        may_be_wired = node
        if roles is not None:
            step = await self._settle_roles(index, node, roles)
            # One that is given the graph as the primary may come to have a state of its own.
            may_be_wired = [
                pair
                for at, pair in enumerate(node)
                if _has_graph(pair) or (_has_graph(node[0]) if at else step is Step.START)
            ]
        for pair in may_be_wired:
            if pair.status is not None and (not pair.wired or self._lacks_replicas(pair)):
                self._begin(pair, self._wire(pair))

    def _say_missing(self, text: str) -> None:
        if text and text != self._missing:
            log.info("%s", text)
        self._missing = text

    async def _see_frontend(self) -> None:
        await self._frontend.resolve()
        if self._frontend.channel is None:
            return
        stub = prediction_pb2_grpc.ProxyServerStub(self._frontend.channel)
        try:
            await answered(stub.ping(prediction_pb2.ping_req(), timeout=PING_TIMEOUT))
        except (grpc.aio.AioRpcError, OSError):
            self._frontend_answers = False
            await self._frontend.reach_again()
        else:
            self._frontend_answers = True

    async def _see(self, pair: _Pair) -> None:
        moved = await pair.resolve()
        if pair.channel is None:
            return
        stub = prediction_pb2_grpc.ProxyServerStub(pair.channel)
        call = stub.ping(prediction_pb2.ping_req(), timeout=PING_TIMEOUT)
        try:
            reply = await answered(call)
            # It came with the reply: there is nothing to wait for.
            metadata = await answered(call.trailing_metadata())
        except (grpc.aio.AioRpcError, OSError):
            pair.status = None
            if pair.task is None or pair.task.done():
                await pair.reach_again()
            return
        if pair.status is None and _is_silent(pair):
            # What was under way to it and from it may have been given up.
            self._replay_due = True
        pair.status = int(reply.status)
        pair.load = read_load(metadata or ())
        pair.answered_at = time.monotonic()
        if pair.wired and (moved or pair.status == PingStatus.MODEL_UNSET):
            self._say(pair.index, "%s has come back without its graph", pair.host)
            self._forget(pair)

    def _forget(self, pair: _Pair) -> None:
        """It has to be wired anew."""
        pair.wired = False
        pair.replicas.clear()
        pair.told.clear()
        self._lost.add(pair.index)

    def _begin(self, pair: _Pair, work: Coroutine[Any, Any, None]) -> None:
        if pair.task is not None and not pair.task.done():
            work.close()
            return
        pair.task = self._start(work)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the wiring of a proxy failed and is tried again: %s", error)

    # --- giving a proxy its graph -----------------------------------------------------------

    async def _wire(self, pair: _Pair) -> None:
        if not pair.wired:
            had_graph = not await self._give_graph(pair)
            pair.wired, pair.is_new = True, False
            pair.wirings += 1
            log.info("%s %s", pair.host, "has its graph already" if had_graph else "has its graph")
        await self._give_replicas(pair)
        if pair.index in self._lost:
            self._lost.discard(pair.index)
            if (
                pair is self._nodes[pair.index - 1][0]
                and self._plan.config.nodes[pair.index - 1].stateful
            ):
                self._say(
                    pair.index,
                    "%s goes on with the state that its model has: no backup",
                    pair.host,
                )
            await self._tell_all()
            self._replay_due = True

    async def _give_graph(self, pair: _Pair) -> bool:
        """Model, extras and graph; whether it had none yet."""
        assert pair.channel is not None
        stub = prediction_pb2_grpc.ProxyServerStub(pair.channel)
        own = self._model_host(pair, 0)
        try:
            await answered(stub.SetModel(self._model_info(pair, 0, own), timeout=MODEL_TIMEOUT))
        except grpc.aio.AioRpcError as error:
            if error.details() != "Model Already Set":
                raise
        if self._plan.extras_text:
            control = hogar_pb2_grpc.ControlStub(pair.channel)
            extras = hogar_pb2.Extras(text=self._plan.extras_text)
            try:
                await answered(control.SetExtras(extras, timeout=CALL_TIMEOUT))
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                    return False
                raise
        runtime = self._runtime(pair)
        text = write_runtime(runtime, choices=bool(self._plan.extras))
        try:
            await answered(stub.SetDAG(prediction_pb2.dag(dag_=text), timeout=CALL_TIMEOUT))
        except grpc.aio.AioRpcError as error:
            # Of one that has its model, it says that it has its graph.
            if error.details() == "Model Not Set":
                return False
            raise
        targets = self._plan.config.targets_of(pair.index)
        pair.told = {target: runtime.nodes[target - 1].primary.proxy_ip for target in targets} or {
            FRONTEND: runtime.frontend_ip
        }
        return True

    def _lacks_replicas(self, pair: _Pair) -> bool:
        return pair.wired and len(pair.replicas) < len(pair.place.models) - 1

    async def _give_replicas(self, pair: _Pair) -> None:
        """Each by itself: one that is not up yet must not keep the others away."""
        assert pair.channel is not None
        stub = prediction_pb2_grpc.ProxyServerStub(pair.channel)
        for number in range(1, len(pair.place.models)):
            if number in pair.replicas:
                continue
            info = self._model_info(pair, number, self._model_host(pair, number))
            message = prediction_pb2.modelinfolist(list=[info])
            try:
                await answered(stub.SetModelReplica(message, timeout=MODEL_TIMEOUT))
            except (grpc.aio.AioRpcError, OSError) as error:
                log.warning("%s: replica %d: %s", pair.host, number, _details(error))
                continue
            pair.replicas.add(number)

    def _model_host(self, pair: _Pair, number: int) -> str:
        host = pair.place.models[number]
        return pair.ip if host == pair.host else host

    def _model_info(self, pair: _Pair, number: int, host: str) -> prediction_pb2.modelinfo:
        return model_info(pair.place, pair.index, number, host, self._model_port)

    def _runtime(self, for_pair: _Pair) -> RuntimeConfig:
        """The graph as ``for_pair`` is to know it: in it, at its node."""
        config, places = self._plan.config, self._places
        nodes = []
        for index, (spec, node) in enumerate(zip(config.nodes, self._nodes, strict=True), 1):
            of_node = node if index != for_pair.index or for_pair in node else [for_pair]
            pairs = [_fields(pair) for pair in of_node]
            nodes.append(RuntimeNode(spec, pairs[0], pairs[1] if len(pairs) > 1 else None))
        return RuntimeConfig(
            places.name,
            places.version,
            "frontend",
            "frontend",
            self._frontend.ip,
            tuple(nodes),
            config.dist,
            config.reduce,
        )

    # --- stateful nodes ---------------------------------------------------------------------

    async def _keep_asking(self) -> None:
        """Ask all proxies of stateful nodes how they are, and give leases, for ever: apart from the
        looks, which may have to wait for others."""
        while True:
            for index in self._roles:
                for pair in self._nodes[index - 1]:
                    if pair.asking is None or pair.asking.done():
                        pair.asking = self._start(self._ask(pair))
            await asyncio.sleep(LOOK_INTERVAL)

    async def _ask(self, pair: _Pair) -> None:
        """How it is; with that, its lease where it is to have one."""
        channel = pair.channel
        if channel is None:
            return
        request = hogar_pb2.LeaseRequest()
        roles, node = self._roles[pair.index], self._nodes[pair.index - 1]
        word = pair.word
        # Somebody who does not stay leaves a node that never has a backup as it is.
        may_give = pair is node[0] and (self._stays or len(node) > 1)
        if may_give and word is not None and roles.entitled == (word.process, word.epoch):
            roles.granting(boot_clock())
            request = hogar_pb2.LeaseRequest(
                process=word.process, stamp=pair.stamp, seconds=LEASE, epoch=word.epoch
            )
        if word is not None and pair is not node[0] and word.follows and roles.expect:
            request = hogar_pb2.LeaseRequest(process=word.process, epoch=roles.expect)
        pair.asked += 1
        asked = pair.asked
        call = hogar_pb2_grpc.ControlStub(channel).Lease(request, timeout=PING_TIMEOUT)
        try:
            reply = await answered(call)
        except (grpc.aio.AioRpcError, OSError):
            reply = None
        if pair.channel is not channel or asked < pair.heard:
            # How it was before what it has said since.
            return
        pair.heard = asked
        if reply is None:
            pair.word = None
        else:
            pair.word, pair.stamp = _word(reply), reply.stamp
            pair.word_at = time.monotonic()
            pair.led = pair.word.leads

    async def _give_lease(self, pair: _Pair) -> None:
        """At once: first it has to tell a stamp."""
        await self._ask(pair)
        await self._ask(pair)

    async def _settle_roles(self, index: int, node: list[_Pair], roles: Roles) -> Step:
        """See to it that one of the two answers, and the other one follows."""
        first, second = node[0], node[1] if len(node) > 1 else None
        step = roles.decide(boot_clock(), _seen(first), None if second is None else _seen(second))
        if step is Step.TAKE_AWAY:
            if first.word is not None and first.word.refused:
                self._refusals[index] = first.word.refused
            await self._take_away(index, first)
            lost = "" if second is None else second.host
            self._say(index, "%s has lost its backup %s", first.host, lost)
        elif step is Step.END_FIRST:
            await self._end(roles, first)
        elif second is not None and step is not Step.WAIT:
            await self._settle_two(step, index, node, roles)
        word = node[0].word
        if word is not None and word.leads and word.synced and word.epoch == roles.attached:
            if index not in self._synced:
                self._synced.add(index)
                log.info("%s is the backup of %s", node[-1].host, node[0].host)
        else:
            self._synced.discard(index)
        return step

    async def _settle_two(self, step: Step, index: int, node: list[_Pair], roles: Roles) -> None:
        first, second = node
        if step is Step.SWAP:
            node.reverse()
            if second.word is not None:
                roles.swapped(second.word)
            log.info("%s is the primary", second.host)
        elif step is Step.END_SECOND:
            await self._end(roles, second)
        elif step is Step.FENCE:
            if first.word is not None:
                self._epoch += 1
                roles.fencing(first.word, self._epoch)
                await self._ask(second)
        elif step is Step.ATTACH:
            if first.wired and second.wired:
                self._begin(second, self._attach_backup(first, second, roles))
        elif step in (Step.PROMOTE, Step.PROMOTE_OLD):
            await self._promote(index, node, roles, surely=step is Step.PROMOTE)

    async def _end(self, roles: Roles, pair: _Pair) -> None:
        """Its place was taken while it was cut off: it ends, and is started anew as a backup."""
        if pair.channel is None or pair.word is None:
            return
        process = pair.word.process
        log.warning("%s still takes itself for the primary", pair.host)
        request = hogar_pb2.LeaseRequest(process=process, replaced=True)
        control = hogar_pb2_grpc.ControlStub(pair.channel)
        try:
            reply = await answered(control.Lease(request, timeout=ROLE_TIMEOUT))
        except (grpc.aio.AioRpcError, OSError):
            return
        if reply.process == process and reply.fenced:
            roles.ended(process)
            pair.word, pair.led = None, False

    async def _promote(self, index: int, node: list[_Pair], roles: Roles, *, surely: bool) -> None:
        primary, backup = node
        word = backup.word
        if backup.channel is None or word is None:
            return
        started = time.monotonic()
        if not surely:
            self._say(
                index, "%s goes on with the state that it has, perhaps an old one", backup.host
            )
        self._epoch += 1
        request = hogar_pb2.PromoteRequest(held=word.epoch, epoch=self._epoch)
        roles.promoting()
        control = hogar_pb2_grpc.ControlStub(backup.channel)
        try:
            await answered(control.Promote(request, timeout=CALL_TIMEOUT))
        except (grpc.aio.AioRpcError, OSError) as error:
            log.error("%s does not take over: %s", backup.host, _details(error))
            return
        roles.promoted(word.process, request.epoch)
        node.reverse()
        self._synced.discard(index)
        primary.wired = False
        primary.told.clear()
        await self._give_lease(backup)
        await self._tell_all()
        self._replay_due = True
        took = (time.monotonic() - started) * 1000
        self._say(index, "%s took the place of %s in %.0f ms", backup.host, primary.host, took)

    async def _attach_backup(self, primary: _Pair, backup: _Pair, roles: Roles) -> None:
        if primary.word is None or not primary.word.leads or not primary.word.alone:
            return
        self._epoch += 1
        epoch = self._epoch
        roles.attaching(primary.word, epoch)
        await self._ask(backup)
        told = backup.word is not None and backup.word.expected == epoch
        address = f"{backup.ip}:{backup.port}"
        if not told or not await self._set_backup(primary, address, epoch, ATTACH_TIMEOUT):
            roles.attach_failed(boot_clock())
        await self._ask(primary)

    async def _take_away(self, index: int, primary: _Pair) -> None:
        self._epoch += 1
        if await self._set_backup(primary, "", self._epoch, ROLE_TIMEOUT):
            self._synced.discard(index)
        await self._ask(primary)

    async def _set_backup(self, primary: _Pair, address: str, epoch: int, timeout: float) -> bool:
        if primary.channel is None:
            return False
        request = hogar_pb2.BackupRequest(address=address, epoch=epoch)
        control = hogar_pb2_grpc.ControlStub(primary.channel)
        try:
            await answered(control.SetBackup(request, timeout=timeout))
        except (grpc.aio.AioRpcError, OSError) as error:
            log.warning("%s has no backup: %s", primary.host, _details(error))
            self._unattached[primary.index] = _details(error)
            return False
        if address:
            self._unattached.pop(primary.index, None)
        return True

    # --- neighbours -------------------------------------------------------------------------

    async def _tell_all(self) -> None:
        """Let everybody send to where the nodes are now."""
        calls = []
        for pair in self._pairs():
            if not pair.wired or pair.status is None:
                continue
            targets = self._plan.config.targets_of(pair.index)
            wanted = {target: self._nodes[target - 1][0].ip for target in targets}
            for target, ip in (wanted or {FRONTEND: self._frontend.ip}).items():
                if pair.told.get(target) != ip:
                    calls.append(self._retarget(pair, target, ip))
        entry = self._nodes[0][0]
        told, at = self._entry_told
        if entry.wired and (told != entry.ip or time.monotonic() - at > TELL_AGAIN):
            calls.append(self._retarget_frontend(entry.ip))
        await asyncio.gather(*calls)

    async def _retarget(self, pair: _Pair, target: int, ip: str) -> None:
        if await self._control(pair, hogar_pb2.RetargetRequest(index=target, address=ip)):
            pair.told[target] = ip
            # What it had sent to the one before may be lost with that.
            self._replay_due = True

    async def _retarget_frontend(self, ip: str) -> None:
        if not await self._control(self._frontend, hogar_pb2.RetargetRequest(index=1, address=ip)):
            self._replay_due = True
            return
        if self._entry_told[0] != ip:
            self._replay_due = True
        self._entry_told = (ip, time.monotonic())
        # It was started with the graph's version, which may have changed since.
        control = hogar_pb2_grpc.ControlStub(self._frontend.channel)
        version = hogar_pb2.GraphVersion(version=self._places.version)
        with contextlib.suppress(grpc.aio.AioRpcError, OSError):
            await answered(control.SetVersion(version, timeout=PING_TIMEOUT))

    async def _control(self, process: _Process, request: hogar_pb2.RetargetRequest) -> bool:
        if process.channel is None:
            return False
        control = hogar_pb2_grpc.ControlStub(process.channel)
        try:
            await answered(control.Retarget(request, timeout=PING_TIMEOUT))
        except (grpc.aio.AioRpcError, OSError):
            # It is told at the next look.
            return False
        return True

    async def _replay(self) -> None:
        """Let the frontend send again what is in the graph; proxies that have computed it already
        give the same output."""
        self._replays_wanted += 1
        wanted = self._replays_wanted
        async with self._replaying:
            if self._replays_done < wanted:
                # One is enough for all who have asked until now.
                begun = self._replays_wanted
                self._replay_due = False
                await self._replay_now()
                self._replays_done = begun

    async def _replay_now(self) -> None:
        if self._frontend.channel is None:
            return
        control = hogar_pb2_grpc.ControlStub(self._frontend.channel)
        try:
            await answered(control.Replay(hogar_pb2.Done(), timeout=CALL_TIMEOUT))
        except (grpc.aio.AioRpcError, OSError) as error:
            self._replay_due = True
            log.warning("the frontend does not send again: %s", _details(error))


def model_info(
    place: PairPlace, index: int, number: int, host: str, port: int
) -> prediction_pb2.modelinfo:
    """What SetModel tells a proxy of node ``index`` of model ``number`` at ``host``."""
    return prediction_pb2.modelinfo(
        modelName=place.models[number].partition(".")[0],
        modelPort=port,
        modelId=index,
        modelIp=host,
        modelHost=host,
        replicaId=number,
    )


def _has_graph(pair: _Pair) -> bool:
    if pair.is_new or pair.status in (None, PingStatus.MODEL_UNSET):
        # What it told may be what another process at its address told before.
        return False
    return pair.word is not None and pair.word.has_graph


def _seen(pair: _Pair) -> Seen:
    at = pair.answered_at if pair.word_at is None else pair.word_at
    is_silent = pair.word is None and (pair.given_up or time.monotonic() - at > FAIL_OVER_AFTER)
    return Seen(pair.word, is_silent, pair.word_at is not None, pair.is_new, pair.led)


def _word(reply: hogar_pb2.LeaseReply) -> Word:
    return Word(
        process=reply.process,
        has_graph=reply.has_graph,
        is_primary=reply.is_primary,
        epoch=reply.epoch,
        alone=reply.alone,
        synced=reply.synced,
        backup_silent=reply.backup_silent,
        refused=reply.refused,
        lease_age=reply.lease_age,
        expected=reply.expected,
    )


def _is_silent(pair: _Pair) -> bool:
    silent = time.monotonic() - pair.answered_at
    return pair.status is None and (pair.given_up or silent > FAIL_OVER_AFTER)


def _fields(pair: _Pair) -> Pair:
    model = pair.place.models[0].partition(".")[0]
    name = pair.place.proxy_name
    # The config takes addresses alone; a proxy has its model's from SetModel.
    return Pair(f"{model}.model", f"{model}.model", pair.ip, name, name, pair.ip)


def _details(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name} {error.details() or ''}".strip()
    return str(error)
