"""One operator as deployed, and how it comes back when a process of it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Protocol

from earg.child import STOP_GRACE
from earg.config import NodeSpec
from earg.extras import Extras
from earg.images import Implementation
from earg.ledger import BatchLimitRecord, NodeRecord
from earg.pair import RunningPair, StartError
from earg.protos import hogar_pb2
from earg.state_changes import StateChanges
from earg.status import SERVING, NodeState, NodeStatus, Role

log = logging.getLogger(__name__)

GIVE_UP = 5
"""Starts that may fail one after the other before a node is given up."""

RESTART_TIMEOUT = 600.0
"""Seconds a model may take to come back."""

BUSY_WINDOW, FREE_RESTARTS = 10.0, 10
"""A node that dies more than so often in so many seconds is restarted after a pause, which doubles
from :data:`FIRST_PAUSE` to :data:`LONGEST_PAUSE` seconds."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0

RECENT = 0.6
"""Seconds for which a status is good enough beside statistics: each costs a call to every proxy,
and the graph's own watch looks twice a second."""


class Surroundings(Protocol):
    """What a node needs of its graph to come back."""

    wired: bool
    """Whether the proxies know the graph."""

    @property
    def extras(self) -> Extras:
        """What the graph says beyond EARG's config."""

    draining: bool
    """Whether the graph finishes what it has accepted, and is stopped then."""

    async def connect(self, pair: RunningPair) -> None:
        """Give a pair of a node the graph; raises :class:`StartError`."""

    async def retarget(self, index: int, address: str) -> None:
        """Let everybody who sends to node ``index`` send to ``address``."""

    async def rejoin(self, index: int) -> None:
        """Tell originals that node ``index`` has another proxy; raises :class:`StartError`."""

    async def replay(self) -> None:
        """Let the frontend send again what is in the graph."""

    def tell(self, node: str, what: str, before: str = "", after: str = "") -> None:
        """Add to the event log; ``before`` and ``after`` are states, of a change of state."""

    def look_soon(self, node: RunningNode) -> None:
        """Look at a node's state without waiting for the next look at all."""

    def changed(self) -> None:
        """Write the ledger: who serves has changed."""


class RunningNode:
    """A pair, and for a stateful operator a backup pair; ``pairs[0]`` is the primary.

    A dead process is replaced: a stateless node's alone, a stateful primary by its backup, which
    gets a new backup. What was in the graph is sent again by the frontend; proxies that have an
    output give it again, so a stateful model sees each request once.
    """

    def __init__(
        self,
        index: int,
        spec: NodeSpec,
        implementation: Implementation,
        pairs: list[RunningPair],
        around: Surroundings,
    ) -> None:
        self.index = index
        self.spec = spec
        self.implementation = implementation
        self.pairs = pairs
        self._around = around
        self._epoch = 0
        self._synced = False
        self._degraded = ""
        self._dead = ""
        self._failed_starts = 0
        self.exits = 0
        self._batch_limit: hogar_pb2.BatchLimit | None = None
        self._told_limit = self._config_limit()
        self._exits: deque[float] = deque(maxlen=64)
        self._recovery: asyncio.Task[None] | None = None
        self._again = False
        self._handing_over = False
        self._states = StateChanges(
            lambda cause, before, after: around.tell(self.spec.name, cause, before, after)
        )
        self._seen: tuple[float, NodeStatus] | None = None
        self._has_served = False
        self._last_told = ""

    @property
    def running(self) -> bool:
        """Whether all processes of it run."""
        return all(pair.running for pair in self.pairs)

    @property
    def recovering(self) -> bool:
        """Whether a recovery is under way."""
        return self._recovery is not None and not self._recovery.done()

    def record(self) -> NodeRecord:
        """What :meth:`adopt` needs."""
        return NodeRecord(
            index=self.index,
            spec=self.spec,
            implementation=self.implementation,
            epoch=self._epoch,
            synced=self._synced,
            batch_limit=limit_record(self._batch_limit),
            pairs=tuple(pair.record() for pair in self.pairs),
        )

    def adopt(self, record: NodeRecord) -> None:
        """Own what an agent before this one has started, and bring back what has died since."""
        self._epoch, self._synced = record.epoch, record.synced
        limit = record.batch_limit
        if limit is not None:
            self._batch_limit = hogar_pb2.BatchLimit(**asdict(limit))
        self._has_served = self._around.wired
        self._last_told = "a new agent has adopted it"
        for pair, known in zip(self.pairs, record.pairs, strict=True):
            pair.adopt(known)
        if not self.running:
            self.process_ended("was found with dead processes by a new agent")
        elif len(self.pairs) == 2 and not self._synced and self._around.wired:
            self._start_recovery()

    async def settle(self) -> None:
        """Wait until it is not recovering."""
        recovery = self._recovery
        if recovery is not None:
            # Not its result: one that was ended has none.
            await asyncio.wait({recovery})

    async def stop(self, grace: float = STOP_GRACE) -> None:
        """Stop all its processes, KILL ``grace`` seconds after TERM."""
        recovery, self._recovery = self._recovery, None
        if recovery is not None:
            recovery.cancel()
            await asyncio.gather(recovery, return_exceptions=True)
        await asyncio.gather(*(pair.stop(grace) for pair in self.pairs))

    async def attach_backup(self) -> None:
        """Let the primary replicate to the backup, where there is one that does not follow yet."""
        if len(self.pairs) < 2 or self._synced:
            return
        primary, backup = self.pairs
        self._epoch += 1
        try:
            await primary.set_backup(backup.ip, self._epoch)
        except StartError as error:
            self._degraded = str(error)
            self._tell(f"has no backup: {error}")
            return
        self._synced = True
        self._degraded = ""
        self._around.changed()
        if self._epoch > 1:
            self._tell("has a new backup")

    async def set_batch_limit(self, limit: hogar_pb2.BatchLimit) -> hogar_pb2.BatchLimit:
        """Set the primary's batch limit, and that of whoever follows it; what was set before.
        Raises :class:`StartError`."""
        before = await self.pairs[0].set_batch_limit(limit)
        if self._batch_limit is None:
            self._batch_limit = hogar_pb2.BatchLimit()
        # What this one does not name stays as one before it has said.
        self._batch_limit.MergeFrom(limit)
        self._around.changed()
        return before

    def _config_limit(self) -> hogar_pb2.BatchLimit:
        own = self._around.extras.of(self.index)
        return hogar_pb2.BatchLimit(
            batch=self.spec.batch, who="config", wait=own.wait, objective=own.latency or 0.0
        )

    async def set_config_batch(self, spec: NodeSpec) -> None:
        """Take over ``spec``, which differs in its batch alone, and what the extras say of batches,
        while serving; raises :class:`StartError`."""
        before = self.spec
        self.has_spec(spec)
        limit = self._config_limit()
        if limit != self._told_limit:
            try:
                await self.pairs[0].set_batch_limit(limit)
            except StartError:
                self.has_spec(before)
                raise
            # The backup learned the one before with the graph.
            self._told_limit = self._batch_limit = limit
            self._tell(f"has batch {spec.batch} of its config now, before: {before.batch}")
        self._around.changed()

    def has_spec(self, spec: NodeSpec) -> None:
        """Take over a spec that differs in its batch alone."""
        self.spec = spec
        for pair in self.pairs:
            pair.spec = spec

    async def _restore_batch_limit(self) -> None:
        """Give a proxy that knows the config alone the limit that somebody has set since."""
        if self._batch_limit is None:
            return
        config = self._config_limit()
        try:
            # First: it may have been given the graph before the config's batch changed its kind.
            await self.pairs[0].set_batch_limit(config)
            await self.pairs[0].set_batch_limit(self._batch_limit)
        except StartError as error:
            self._tell(f"has the batch limit of its config again: {error}")

    # --- coming back ------------------------------------------------------------------------

    def process_ended(self, what: str) -> None:
        """A process of it ended by itself: bring it back."""
        self._tell(what)
        self._seen = None
        self.exits += 1
        self._exits.append(time.monotonic())
        if self._dead:
            return
        if self._around.wired:
            serves = self.pairs[0].serves
            self._states.becomes(NodeState.DEGRADED if serves else NodeState.RECOVERING, what)
        if not self._handing_over:
            self._start_recovery()

    def _start_recovery(self) -> None:
        if self._recovery is None or self._recovery.done():
            self._recovery = asyncio.get_running_loop().create_task(self._recover())
        else:
            self._again = True

    async def _recover(self) -> None:
        while True:
            self._again = False
            try:
                if self._can_fail_over():
                    # At once: nothing is started for it, so there is nothing to pause for.
                    await self._fail_over()
                await asyncio.sleep(self._pause())
                await self._mend()
            except StartError as error:
                self._failed_starts += 1
                self._tell(f"did not come back: {error}")
                if self._failed_starts >= GIVE_UP:
                    await self._give_up(error)
                    return
                continue
            except Exception as error:
                log.exception("the recovery of %s failed", self.spec.name)
                await self._give_up(StartError(f"{type(error).__name__}: {error}"))
                return
            self._failed_starts = 0
            self._around.changed()
            if self.running and not self._again:
                break
        # For whoever reads the events: a look after the next pause of the watch comes late.
        asyncio.get_running_loop().call_soon(self._around.look_soon, self)

    def _pause(self) -> float:
        """Seconds before the next try: none at first, more for one that dies again and again."""
        now = time.monotonic()
        recent = sum(1 for at in self._exits if now - at < BUSY_WINDOW)
        tries = max(self._failed_starts, recent - FREE_RESTARTS)
        return 0.0 if tries <= 0 else float(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (tries - 1)))

    async def _mend(self) -> None:
        if self._can_fail_over():
            await self._fail_over()
        elif not self.pairs[0].running or self._lacks_graph(self.pairs[0]):
            await self._restart_primary()
        if len(self.pairs) == 2:
            if not self.pairs[1].running or self._lacks_graph(self.pairs[1]):
                await self._restart_backup()
            if self._around.wired:
                await self.attach_backup()

    def _can_fail_over(self) -> bool:
        """Whether the primary is dead and a backup holds its state."""
        primary, *backups = self.pairs
        return not primary.running and self._synced and any(pair.running for pair in backups)

    def _lacks_graph(self, pair: RunningPair) -> bool:
        """Whether a start of its proxy ended half-way: it runs, but does not know the graph."""
        return not pair.wired and self._around.wired

    async def _fail_over(self) -> None:
        """The backup becomes the primary. What is left of the old one is ended first: of a node,
        one pair acts at a time."""
        started = time.monotonic()
        failed, backup = self.pairs
        self._synced = False
        await failed.kill()
        await backup.promote()
        failed.role = Role.BACKUP
        self.pairs = [backup, failed]
        self._around.changed()
        await self._around.retarget(self.index, backup.ip)
        await self._around.replay()
        await self._restore_batch_limit()
        self._tell(f"its backup took over in {(time.monotonic() - started) * 1000:.0f} ms")

    async def _restart_primary(self) -> None:
        pair = self.pairs[0]
        self._synced = False
        model_died = any(one is None or not one.running for one in pair.models)
        proxy_died = pair.proxy is None or not pair.proxy.running or self._lacks_graph(pair)
        # An original does not see that its model died.
        proxy_died = proxy_died or (model_died and pair.is_original)
        if model_died:
            await pair.restart_models(self.implementation, RESTART_TIMEOUT)
            lost = "; with no backup its state is lost" if self.spec.stateful else ""
            self._tell(f"its model is back{lost}")
        if proxy_died:
            await pair.restart_proxy()
            if self._around.wired:
                await self._around.connect(pair)
                await self._around.rejoin(self.index)
                await self._around.replay()
                await self._restore_batch_limit()
            self._tell("its proxy is back")

    async def _restart_backup(self) -> None:
        primary, backup = self.pairs
        self._synced = False
        self._degraded = "its backup is being replaced"
        if self._around.wired:
            await primary.set_backup("", 0)
        await backup.kill()
        try:
            await backup.start(self.implementation, RESTART_TIMEOUT)
            if self._around.wired:
                await self._around.connect(backup)
        except StartError:
            await backup.kill()
            raise

    async def _give_up(self, error: StartError) -> None:
        text = f"{error}\n{error.log}".strip()
        if self.pairs[0].running:
            # It serves, if without a backup: that is better than not at all.
            self._degraded = f"its backup does not start: {text}"
            self._tell("serves without a backup, which does not start")
            return
        self._dead = text
        self._states.becomes(NodeState.DEAD, f"{self._failed_starts} starts failed: {error}")
        self._tell(f"is given up after {self._failed_starts} failed starts: {text}")
        await asyncio.gather(*(pair.kill() for pair in self.pairs))

    def _tell(self, what: str) -> None:
        self._last_told = what
        self._around.tell(self.spec.name, what)

    # --- another version --------------------------------------------------------------------

    def runs_as(self, spec: NodeSpec, implementation: Implementation) -> bool:
        """Whether it was started as these say; its batch limit can be set while it runs."""
        return (self.spec.version, self.spec.image, self.implementation) == (
            spec.version,
            spec.image,
            implementation,
        )

    async def rest(self, patience: float) -> None:
        """Wait for a recovery that is under way, and end it after ``patience`` seconds."""
        recovery = self._recovery
        if recovery is None:
            return
        await asyncio.wait({recovery}, timeout=patience)
        self._recovery = None
        recovery.cancel()
        await asyncio.gather(recovery, return_exceptions=True)

    def become(
        self, pairs: list[RunningPair], spec: NodeSpec, implementation: Implementation
    ) -> list[RunningPair]:
        """Let other pairs stand in its place from now on; the ones before, which the caller must
        set aside for the ledger before it waits for anything."""
        before, self.pairs = self.pairs, pairs
        self._seen = None
        self._tell(f"version {spec.version} takes the place of version {self.spec.version}")
        if spec.batch != self.spec.batch:
            self._batch_limit = None
        self.implementation = implementation
        self.has_spec(spec)
        self._synced = False
        self._degraded = self._dead = ""
        self._failed_starts = 0
        self._exits.clear()
        for pair, role in zip(pairs, Role, strict=False):
            pair.role = role
        return before

    async def settle_in(self) -> None:
        """After :meth:`become`: the limit that somebody has set, and a backup with the state."""
        await self._restore_batch_limit()
        if len(self.pairs) == 2 and self.pairs[1].running:
            await self.attach_backup()
        if not self.running:
            self.process_ended("lost a process while it took its place")

    @contextlib.asynccontextmanager
    async def handing_over(self) -> AsyncIterator[None]:
        """While this lasts, its processes are not brought back; what is missing is afterwards."""
        self._handing_over = True
        had_backup = self._synced
        try:
            yield
        finally:
            self._handing_over = False
            primary, *backups = self.pairs
            if had_backup and not primary.running and any(pair.running for pair in backups):
                # It followed until the state began to move: better than no state at all.
                self._synced = True
                self._tell("died as it handed its state over; its backup may lack its last batches")
            if not self.running or (len(self.pairs) == 2 and not self._synced):
                self._start_recovery()

    async def give_state(self, heir: RunningPair) -> None:
        """Let ``heir`` have the whole state, and follow it from now on in the backup's place.
        Raises :class:`StartError` where it does not take it."""
        self._synced = False
        self._degraded = "another version of it takes its state over"
        self._epoch += 1
        self._around.changed()
        await self.pairs[0].set_backup(heir.ip, self._epoch)
        await heir.catch_up()

    # --- watching ---------------------------------------------------------------------------

    async def status(self) -> NodeStatus:
        """What it does now."""
        before = self.exits, self.pairs
        pairs = tuple(await asyncio.gather(*(pair.status() for pair in self.pairs)))
        recovering = self._recovery is not None and not self._recovery.done()
        backed = len(pairs) == 2
        has_replicas = bool(self.pairs[0].replicas)
        states = [pair.state for pair in pairs]
        reasons = [f"{pair.role.value}: {pair.reason}" for pair in pairs if pair.reason]
        if self._dead:
            state, reasons = NodeState.DEAD, [self._dead]
        elif states[0] not in SERVING or (recovering and not backed and not has_replicas):
            state = NodeState.RECOVERING if recovering else states[0]
        elif self._degraded:
            state = NodeState.DEGRADED
            reasons.append(self._degraded)
        elif recovering:
            state = NodeState.DEGRADED
        elif all(state in SERVING for state in states):
            state = states[0]
        else:
            state = NodeState.STARTING
        if state in SERVING:
            self._has_served = True
        elif state is NodeState.STARTING and self._has_served:
            # What was replaced starts, but to the node that is the end of its recovery.
            state = NodeState.RECOVERING
        if self._around.draining and state in SERVING:
            state = NodeState.DRAINING
            reasons.append("the graph takes no new requests")
        spec = self.spec
        found = NodeStatus(
            index=self.index,
            name=spec.name,
            version=spec.version,
            image=spec.image,
            state=state,
            reason="; ".join(reasons),
            pairs=pairs,
        )
        # Not what was asked before a process ended.
        if before == (self.exits, self.pairs):
            self._seen = (time.monotonic(), found)
        return found

    @property
    def containers(self) -> None:
        """None: they are processes of this machine."""
        return None

    async def recent_status(self, age: float = RECENT) -> NodeStatus:
        """As :meth:`status`, or what that has found in the last ``age`` seconds, unless a process
        has ended since."""
        if age > 0 and self._seen is not None and time.monotonic() - self._seen[0] <= age:
            return self._seen[1]
        return await self.status()

    async def look(self) -> None:
        """Tell of a change of state that did not announce itself."""
        status = await self.status()
        self._states.look(status, self._last_told or "it answers")


def limit_record(limit: hogar_pb2.BatchLimit | None) -> BatchLimitRecord | None:
    """A limit that was set, as the ledger has it."""
    if limit is None:
        return None
    told = {
        name: getattr(limit, name) if limit.HasField(name) else None
        for name in ("limit", "batch", "wait", "objective", "dynamic")
    }
    return BatchLimitRecord(who=limit.who, **told)
