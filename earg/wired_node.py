"""One operator whose processes a platform of containers runs, as its wiring sees it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import grpc
import grpc.aio

from earg.answered import answered
from earg.child import Child
from earg.config import NodeSpec
from earg.extras import Extras
from earg.images import Implementation
from earg.ledger import NodeRecord, PlaceRecord
from earg.node import limit_record
from earg.pair import CALL_TIMEOUT, StartError
from earg.plan import Plan
from earg.platform import PairFound, Part
from earg.protos import hogar_pb2, hogar_pb2_grpc
from earg.state_changes import StateChanges
from earg.status import SERVING, NodeState, NodeStatus, PairStatus, PingStatus, Role
from earg.usage import ContainerUsage
from earg.wiring import PairView

BACKUP_PATIENCE = 30.0
"""Seconds in which a primary that has just come up is expected to get its first backup."""


class Surroundings(Protocol):
    """What a node needs of its graph."""

    draining: bool
    """Whether the graph finishes what it has accepted, and is stopped then."""

    @property
    def extras(self) -> Extras:
        """What the graph says beyond EARG's config."""

    def views(self, index: int) -> Sequence[PairView]:
        """The node's pairs as the wiring has seen them last, the primary first; none before the
        graph is wired."""

    def used(self, index: int, number: int) -> Sequence[ContainerUsage]:
        """What the containers of a pair use, as was read last."""

    def tell(self, node: str, what: str, before: str = "", after: str = "") -> None:
        """Add to the event log; ``before`` and ``after`` are states, of a change of state."""

    def changed(self) -> None:
        """Write the ledger."""


@dataclass(slots=True, eq=False)
class WiredPair:
    """A pair where the platform has it. ``failure`` is what the platform says of it now, and
    ``dead`` why its host is taken for dead; ``stuck`` is why it could not be started again, which
    is tried again. All are empty where all is well."""

    number: int
    found: PairFound
    role: Role
    view: PairView | None = None
    failure: str = ""
    dead: str = ""
    stuck: str = ""
    starts: int = 0
    """How often it was started again without having answered since."""
    back_at: float = 0.0
    """When its host was no longer taken for dead, by the keeper's clock; 0 where it never was."""
    placed_at: float = 0.0
    """When it was put there, by the monotonic clock; 0 where somebody else did."""
    was_ready: bool = False

    @property
    def proxy_channel(self) -> grpc.aio.Channel | None:
        """The channel to its proxy; None while there is none."""
        return None if self.view is None else self.view.channel

    @property
    def processes(self) -> Sequence[tuple[str, str, Child]]:
        """None: they are the platform's."""
        return ()

    @property
    def address(self) -> str:
        """Its proxy's, as others reach it."""
        known = "" if self.view is None else self.view.address
        return known or self.found.place.proxy

    @property
    def is_silent(self) -> bool:
        """Whether its proxy has not answered when it was asked last."""
        return self.view is None or self.view.status is None

    def is_at(self, place: PairFound) -> bool:
        """Whether it is what the platform has found."""
        return (self.found.host, self.found.place) == (place.host, place.place)

    def status(self) -> PairStatus:
        """What it does, as was seen last."""
        state, reason = self._state()
        if self.failure:
            reason = f"{reason}; {self.failure}" if reason else self.failure
            if state in SERVING:
                # One of several models; all of them would be missed.
                state = NodeState.DEGRADED
        if self.stuck and state not in SERVING:
            state = NodeState.DEAD
            reason = "; ".join(filter(None, (reason, f"it cannot be started again: {self.stuck}")))
        return PairStatus(
            role=self.role,
            state=state,
            address=self.address,
            model_pid=0,
            proxy_pid=0,
            reason=reason,
            model_log="",
            proxy_log="",
            host=self.found.host,
        )

    def _state(self) -> tuple[NodeState, str]:
        view = self.view
        if self.dead:
            return NodeState.DEAD, self.dead
        if view is None:
            return NodeState.STARTING, "not wired yet"
        come_back = NodeState.RECOVERING if self.was_ready else NodeState.STARTING
        if view.status is None:
            return come_back, "its proxy does not answer"
        if view.status is PingStatus.MODEL_FAILED:
            return NodeState.RECOVERING, "its model does not answer"
        if view.status is PingStatus.READY and view.wired:
            self.was_ready = True
            if view.load is not None and view.load.is_busy:
                return NodeState.BUSY, str(view.load)
            return NodeState.READY, ""
        if view.status is PingStatus.DOWNSTREAM_FAILED and self.was_ready:
            # That one says so itself; this one keeps for it what it does not take.
            return NodeState.READY, "a node behind it does not answer"
        waits = "its proxy waits for the nodes behind it" if view.wired else "not wired yet"
        return come_back, f"{waits} (ping: {view.status.name})"


async def _tell_usage(channel: grpc.aio.Channel, usage: hogar_pb2.ModelUsage) -> None:
    stub = hogar_pb2_grpc.StatisticsStub(channel)
    # The next time will do; an original keeps no metrics.
    with contextlib.suppress(grpc.aio.AioRpcError, OSError):
        await answered(stub.TellUsage(usage, timeout=CALL_TIMEOUT))


class WiredNode:
    """A pair, and for a stateful operator a backup pair; ``pairs[0]`` is the primary."""

    def __init__(
        self,
        index: int,
        spec: NodeSpec,
        implementation: Implementation,
        pairs: list[WiredPair],
        plan: Plan,
        around: Surroundings,
    ) -> None:
        self.index = index
        self.spec = spec
        self.implementation = implementation
        self.plan = plan
        """By which it was started."""
        self.exits = 0
        self.moving = ""
        """What is being done to bring it back, as a part of a sentence; empty where nothing is."""
        self._pairs = pairs
        self._around = around
        self._batch_limit: hogar_pb2.BatchLimit | None = None
        self._told_limit = self._config_limit()
        self._limit_of: tuple[int, int] | None = None
        self._has_served = False
        self._serves_since = 0.0
        self._states = StateChanges(
            lambda cause, before, after: around.tell(self.spec.name, cause, before, after)
        )

    # --- pairs ------------------------------------------------------------------------------

    @property
    def pairs(self) -> list[WiredPair]:
        """Its pairs, the primary first, with what the wiring has seen of them last."""
        views = {view.number: (at, view) for at, view in enumerate(self._around.views(self.index))}
        for pair in self._pairs:
            pair.view = views[pair.number][1] if pair.number in views else None
        if views:
            self._pairs.sort(key=lambda pair: views[pair.number][0] if pair.number in views else 9)
        for at, pair in enumerate(self._pairs):
            pair.role = Role.PRIMARY if at == 0 else Role.BACKUP
        return self._pairs

    @property
    def containers(self) -> list[tuple[Role, ContainerUsage]]:
        """What its containers use, as was read last, each with its pair's role."""
        return [
            (pair.role, one)
            for pair in self.pairs
            for one in self._around.used(self.index, pair.number)
        ]

    async def tell_usage(self) -> None:
        """Tell its proxies what their models use, for their metrics."""
        calls = []
        for pair in self.pairs:
            models = [
                one
                for one in self._around.used(self.index, pair.number)
                if one.kind == Part.MODEL.value
            ]
            if pair.proxy_channel is not None and models:
                usage = hogar_pb2.ModelUsage(
                    cpu_seconds=sum(one.cpu_seconds for one in models),
                    memory=sum(one.memory for one in models),
                )
                calls.append(_tell_usage(pair.proxy_channel, usage))
        await asyncio.gather(*calls)

    def pair(self, number: int) -> WiredPair | None:
        """The pair of this number."""
        return next((pair for pair in self.pairs if pair.number == number), None)

    def put(self, number: int, found: PairFound) -> None:
        """Its pair ``number`` is at another place, or was started anew."""
        for pair in self._pairs:
            if pair.number == number:
                pair.found, pair.failure, pair.dead, pair.stuck = found, found.failure, "", ""
                pair.placed_at = time.monotonic()
                return
        pair = WiredPair(number, found, Role.BACKUP, failure=found.failure)
        pair.placed_at = time.monotonic()
        self._pairs.append(pair)

    def drop(self, number: int) -> None:
        """It has no pair ``number`` any more."""
        self._pairs = [pair for pair in self._pairs if pair.number != number]

    @property
    def wants_backup(self) -> bool:
        """Whether it is to have one."""
        return self.spec.stateful and bool(self._around.extras.of(self.index).backup)

    def runs_as(self, spec: NodeSpec, implementation: Implementation) -> bool:
        """Whether it was started as these say; its batch limit can be set while it runs."""
        return (self.spec.version, self.spec.image, self.implementation) == (
            spec.version,
            spec.image,
            implementation,
        )

    def become(self, spec: NodeSpec, implementation: Implementation, plan: Plan) -> None:
        """Another version of it has taken its place."""
        if spec.batch != self.spec.batch:
            self._batch_limit = None
        self.spec, self.implementation, self.plan = spec, implementation, plan
        self._told_limit = self._config_limit()

    def record(self) -> NodeRecord:
        """What :meth:`adopt` needs."""
        return NodeRecord(
            index=self.index,
            spec=self.spec,
            implementation=self.implementation,
            epoch=0,
            synced=False,
            batch_limit=limit_record(self._batch_limit),
            pairs=(),
            places=tuple(
                PlaceRecord(
                    number=pair.number,
                    proxy=pair.found.place.proxy,
                    models=pair.found.place.models,
                    host=pair.found.host,
                    digest=pair.found.digest,
                )
                for pair in self.pairs
            ),
        )

    def adopt(self, limit: hogar_pb2.BatchLimit | None) -> None:
        """Go on where an agent before this one has ended."""
        self._batch_limit = limit
        # Its backup may have taken over meanwhile.
        self._limit_of = (-1, 0)
        self._has_served = True
        for pair in self._pairs:
            pair.was_ready = True

    # --- batches ----------------------------------------------------------------------------

    async def set_batch_limit(self, limit: hogar_pb2.BatchLimit) -> hogar_pb2.BatchLimit:
        """Set the primary's batch limit, and that of whoever follows it; what was set before.
        Raises :class:`StartError`."""
        before = await self._call_limit(limit)
        if self._batch_limit is None:
            self._batch_limit = hogar_pb2.BatchLimit()
        # What this one does not name stays as one before it has said.
        self._batch_limit.MergeFrom(limit)
        self._around.changed()
        return before

    async def _call_limit(self, limit: hogar_pb2.BatchLimit) -> hogar_pb2.BatchLimit:
        channel = self.pairs[0].proxy_channel
        if channel is None:
            raise StartError(f"the proxy of {self.spec.name} does not run; try again later")
        stub = hogar_pb2_grpc.StatisticsStub(channel)
        try:
            reply: hogar_pb2.BatchLimit = await answered(
                stub.SetBatchLimit(limit, timeout=CALL_TIMEOUT)
            )
        except grpc.aio.AioRpcError as error:
            raise StartError(f"{self.spec.name}: {error.details()}") from None
        except OSError as error:
            raise StartError(f"{self.spec.name}: {error}") from None
        return reply

    def _config_limit(self) -> hogar_pb2.BatchLimit:
        own = self._around.extras.of(self.index)
        return hogar_pb2.BatchLimit(
            batch=self.spec.batch, who="config", wait=own.wait, objective=own.latency or 0.0
        )

    async def set_config_batch(self, spec: NodeSpec, wired: bool) -> None:
        """Take over ``spec``, which differs in its batch alone, and what the extras say of batches,
        while it runs; raises :class:`StartError`."""
        before, self.spec = self.spec, spec
        limit = self._config_limit()
        if limit == self._told_limit:
            return
        if wired:
            try:
                await self._call_limit(limit)
            except StartError:
                self.spec = before
                raise
            # Its backup learned the one before with the graph.
            self._batch_limit = limit
            what = f"has batch {spec.batch} of its config now, before: {before.batch}"
            self._around.tell(spec.name, what)
        self._told_limit = limit
        self._around.changed()

    async def keep_batch_limit(self) -> None:
        """Give a primary that knows the config alone the limit that somebody has set since."""
        primary = self.pairs[0]
        if primary.view is None or not primary.view.wired:
            return
        now = primary.number, primary.view.wirings
        before, self._limit_of = self._limit_of, now
        if self._batch_limit is None or before in (None, now):
            return
        try:
            # First: it may have been given the graph before the config's batch changed its kind.
            await self._call_limit(self._config_limit())
            await self._call_limit(self._batch_limit)
        except StartError:
            # It is tried again.
            self._limit_of = before

    # --- watching ---------------------------------------------------------------------------

    def status(self) -> NodeStatus:
        """What it does, as was seen last."""
        pairs = self.pairs
        found = tuple(pair.status() for pair in pairs)
        states = [one.state for one in found]
        reasons = [f"{one.role.value}: {one.reason}" for one in found if one.reason]
        view = pairs[0].view
        # One that has just been put elsewhere has no state before the wiring knows of it.
        known = all(pair.view is None or pair.view.place == pair.found.place for pair in pairs)
        backed = len(pairs) == 2 and view is not None and view.synced and known
        state = states[0]
        if state is NodeState.DEAD and (self.moving or set(states) != {NodeState.DEAD}):
            # Its backup is about to take over, or it is being started elsewhere.
            state = NodeState.RECOVERING
        elif state in SERVING and self.wants_backup and not backed:
            self._serves_since = self._serves_since or time.monotonic()
            waited = time.monotonic() - self._serves_since > BACKUP_PATIENCE
            if self._has_served or waited or (len(pairs) == 2 and states[1] is NodeState.DEAD):
                state = NodeState.DEGRADED
                reasons.append("no backup has its state")
            else:
                state = NodeState.STARTING
                reasons.append("its backup takes its state over")
        elif state in SERVING and backed and states[1] not in SERVING:
            state = NodeState.DEGRADED
        if state in SERVING:
            self._has_served = True
        elif state is NodeState.STARTING and self._has_served:
            # What was replaced starts, but to the node that is the end of its recovery.
            state = NodeState.RECOVERING
        if self.moving:
            reasons.append(self.moving)
        if self._around.draining and state in SERVING:
            state = NodeState.DRAINING
            reasons.append("the graph takes no new requests")
        return NodeStatus(
            index=self.index,
            name=self.spec.name,
            version=self.spec.version,
            image=self.spec.image,
            state=state,
            reason="; ".join(reasons),
            pairs=found,
        )

    async def recent_status(self) -> NodeStatus:
        """As :meth:`status`, which costs no call."""
        return self.status()

    def look(self) -> None:
        """Tell of a change of its state."""
        self._states.look(self.status(), "it answers")
