"""One operator as deployed, and how it comes back when a process of it dies."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import Protocol

from earg.child import STOP_GRACE
from earg.config import NodeSpec
from earg.images import Implementation
from earg.ledger import NodeRecord
from earg.pair import RunningPair, StartError
from earg.protos import hogar_pb2
from earg.status import NodeState, NodeStatus, Role

log = logging.getLogger(__name__)

GIVE_UP = 5
"""Starts that may fail one after the other before a node is given up."""

RESTART_TIMEOUT = 600.0
"""Seconds a model may take to come back."""

BUSY_WINDOW, FREE_RESTARTS = 10.0, 10
"""A node that dies more than so often in so many seconds is restarted after a pause, which doubles
from :data:`FIRST_PAUSE` to :data:`LONGEST_PAUSE` seconds."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0


class Surroundings(Protocol):
    """What a node needs of its graph to come back."""

    wired: bool
    """Whether the proxies know the graph."""

    def runtime(self) -> str:
        """The runtime config as it is now, of a graph that is wired."""

    async def retarget(self, index: int, address: str) -> None:
        """Let everybody who sends to node ``index`` send to ``address``."""

    async def replay(self) -> None:
        """Let the frontend send again what is in the graph."""

    def tell(self, node: str, what: str) -> None:
        """Add to the event log."""

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
        self._exits: deque[float] = deque(maxlen=64)
        self._recovery: asyncio.Task[None] | None = None
        self._again = False

    @property
    def running(self) -> bool:
        """Whether all processes of it run."""
        return all(pair.running for pair in self.pairs)

    def record(self) -> NodeRecord:
        """What :meth:`adopt` needs."""
        return NodeRecord(
            index=self.index,
            implementation=self.implementation,
            epoch=self._epoch,
            synced=self._synced,
            pairs=tuple(pair.record() for pair in self.pairs),
        )

    def adopt(self, record: NodeRecord) -> None:
        """Own what an agent before this one has started, and bring back what has died since."""
        self._epoch, self._synced = record.epoch, record.synced
        for pair, known in zip(self.pairs, record.pairs, strict=True):
            pair.adopt(known)
        if not self.running:
            self.process_ended("was found with dead processes by a new agent")

    async def settle(self) -> None:
        """Wait until it is not recovering."""
        if self._recovery is not None:
            await asyncio.shield(self._recovery)

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
        self._batch_limit = limit
        return before

    async def _restore_batch_limit(self) -> None:
        """Give a proxy that knows the config alone the limit that somebody has set since."""
        if self._batch_limit is None:
            return
        try:
            await self.pairs[0].set_batch_limit(self._batch_limit)
        except StartError as error:
            self._tell(f"has the batch limit of its config again: {error}")

    # --- coming back ------------------------------------------------------------------------

    def process_ended(self, what: str) -> None:
        """A process of it ended by itself: bring it back."""
        self._tell(what)
        self.exits += 1
        self._exits.append(time.monotonic())
        if self._dead:
            return
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
                return

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
        model_died = pair.model is None or not pair.model.running
        proxy_died = pair.proxy is None or not pair.proxy.running or self._lacks_graph(pair)
        if model_died:
            await pair.restart_model(self.implementation, RESTART_TIMEOUT)
            lost = "; with no backup its state is lost" if self.spec.stateful else ""
            self._tell(f"its model is back{lost}")
        if proxy_died:
            await pair.restart_proxy()
            if self._around.wired:
                await pair.send_graph(self._around.runtime())
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
                await backup.send_graph(self._around.runtime())
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
        self._tell(f"is given up after {self._failed_starts} failed starts: {text}")
        await asyncio.gather(*(pair.kill() for pair in self.pairs))

    def _tell(self, what: str) -> None:
        self._around.tell(self.spec.name, what)

    # --- watching ---------------------------------------------------------------------------

    async def status(self) -> NodeStatus:
        """What it does now."""
        pairs = tuple(await asyncio.gather(*(pair.status() for pair in self.pairs)))
        recovering = self._recovery is not None and not self._recovery.done()
        states = [pair.state for pair in pairs]
        reasons = [f"{pair.role.value}: {pair.reason}" for pair in pairs if pair.reason]
        if self._dead:
            state, reasons = NodeState.DEAD, [self._dead]
        elif states[0] is not NodeState.READY:
            state = NodeState.RECOVERING if recovering else states[0]
        elif self._degraded:
            state = NodeState.DEGRADED
            reasons.append(self._degraded)
        elif recovering:
            state = NodeState.DEGRADED
        elif all(state is NodeState.READY for state in states):
            state = NodeState.READY
        else:
            state = NodeState.STARTING
        spec = self.spec
        return NodeStatus(
            index=self.index,
            name=spec.name,
            version=spec.version,
            image=spec.image,
            state=state,
            reason="; ".join(reasons),
            pairs=pairs,
        )
