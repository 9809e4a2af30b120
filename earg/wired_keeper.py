"""Starts elsewhere what a graph has lost with a host, and anew what its platform has lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from earg.pair import StartError
from earg.platform import FrontendFound, GraphFound, PlatformError
from earg.status import HostStatus
from earg.survey import Survey
from earg.tenants import Tenants
from earg.warning import Warnings
from earg.wired_node import WiredNode, WiredPair
from earg.wiring import Wiring

log = logging.getLogger(__name__)

KEEP_INTERVAL = 0.5
"""Seconds between looks at what is where: as often as the wiring looks."""

HOST_GRACE = 5.0
"""Seconds from the death of a host to the start elsewhere of what was there: one that is back by
then goes on with it."""

STATE_GRACE = 30.0
"""Seconds for which a state that nobody else has is waited for: its host may come back with it."""

FAILURE_GRACE = 30.0
"""Seconds in which a platform may start anew by itself what has ended."""

SILENT_GRACE, MOST_DOUBLED = 30.0, 4
"""Seconds after which a pair that does not answer is started anew, though the platform has it;
doubled with each start after which it has not answered, so often at most: its host may be that
slow."""

SPREAD_GRACE, SPREAD_INTERVAL = 10.0, 30.0
"""Seconds for which primary and backup share a host before the backup is moved to another one that
answers, and between two tries: perhaps none fits."""

FRESH = 15.0
"""A look at the platform that is older, in seconds, says nothing any more."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before a start is tried again that has failed: the first, doubled up to the second. Where
a host answers again or room is made, it is the first in any case."""

NOTHING = GraphFound("", {})
"""What a platform has of a graph that it does not know."""


class Kept(Protocol):
    """The graph that is kept."""

    name: str

    @property
    def nodes(self) -> Sequence[WiredNode]:
        """Those that are deployed."""

    @property
    def wiring(self) -> Wiring | None:
        """None before the graph is wired."""

    @property
    def frontend(self) -> FrontendFound | None:
        """Where the frontend is."""

    def is_busy(self, index: int) -> bool:
        """Whether somebody deploys the node right now."""

    def tell(self, node: str, what: str, before: str = "", after: str = "") -> None:
        """Add to the event log."""

    async def start_again(self, node: WiredNode, number: int) -> None:
        """Let the platform start a pair of a node again, elsewhere where its host is dead; raises
        :class:`PlatformError` and :class:`StartError`."""

    async def spread(self, node: WiredNode, number: int) -> None:
        """Let the platform move a backup to another host than its primary's, where one fits; raises
        :class:`PlatformError` and :class:`StartError`."""

    async def move_pair(self, node: WiredNode, number: int) -> None:
        """Take over that the platform has a pair elsewhere than it was known to be."""

    @property
    def frontend_placed_at(self) -> float:
        """When it was put there, by the monotonic clock; 0 where somebody else did."""

    async def start_frontend(self) -> None:
        """Let the platform start the frontend, unless it runs; raises :class:`StartError`."""

    async def move_frontend(self, found: FrontendFound) -> None:
        """Take over that the platform has the frontend elsewhere than it was known to be."""


@dataclass(slots=True)
class _Lost:
    """Something that is not there: why, since when, when its start was tried last (0 where it was
    not yet), when that had failed, and how long the next try waits then."""

    why: str
    since: float
    tried_at: float = 0.0
    failed_at: float = 0.0
    pause: float = 0.0

    def is_due(self, grace: float, now: float, freed_at: float) -> bool:
        """Whether to try; ``freed_at`` is when there was more room than before."""
        if now - self.since < grace:
            return False
        pause = min(self.pause, FIRST_PAUSE) if freed_at > self.tried_at else self.pause
        return now >= self.failed_at + pause


def _patience(pair: WiredPair) -> float:
    """Seconds for which a pair that the platform has may be silent."""
    return SILENT_GRACE * float(2 ** min(pair.starts, MOST_DOUBLED))


class Keeper:
    """Of one graph. :meth:`run` goes on for ever; :meth:`close` ends what it has begun."""

    def __init__(
        self,
        graph: Kept,
        survey: Survey,
        warnings: Warnings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._graph = graph
        self._survey = survey
        self._warnings = warnings
        # By (index, number); (0, 0) is the frontend.
        self._lost: dict[tuple[int, int], _Lost] = {}
        self._starting: dict[int, asyncio.Task[None]] = {}
        self._dead_hosts: frozenset[str] = frozenset()
        self._tenants = Tenants()
        # When a node's backup is to be moved away from its primary, by index.
        self._spread_at: dict[int, float] = {}

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(KEEP_INTERVAL)
            try:
                await self.look()
            except Exception:
                log.exception("what graph %s has lost is looked for again", self._graph.name)

    async def close(self) -> None:
        """End the starts that are under way."""
        tasks = list(self._starting.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def hosts(self) -> tuple[HostStatus, ...]:
        """The platform's hosts. One that the platform does not reach, but whose pairs answer, is
        not dead. Each with the nodes that it has, or had when it died."""
        answering = {
            pair.found.host
            for node in self._graph.nodes
            for pair in node.pairs
            if not pair.is_silent
        }
        hosts = [
            HostStatus(host.name, False, f"{host.reason}; its pairs answer", host.since)
            if host.dead and host.name in answering
            else host
            for host in self._survey.hosts
        ]
        return self._tenants.follow(
            hosts,
            [
                (node.spec.name, {pair.found.host for pair in node.pairs})
                for node in self._graph.nodes
            ],
        )

    async def look(self) -> None:
        """Look once, and begin what is to be done."""
        wiring = self._graph.wiring
        if wiring is None:
            return
        self._tell_of_hosts()
        found: GraphFound | None = self._survey.found.get(self._graph.name, NOTHING)
        at = self._survey.found_at
        if not at or self._clock() - at > FRESH:
            found = None
        for node in self._graph.nodes:
            if self._is_starting(node.index):
                continue
            if self._graph.is_busy(node.index):
                for pair in node.pairs:
                    self._forget((node.index, pair.number), pair)
                continue
            await self._look_at(node, wiring, found, at)
        await self._look_at_frontend(wiring, found, at)

    def _tell_of_hosts(self) -> None:
        """Of those that have something of the graph, or had when they died."""
        hosts = {host.name: host for host in self.hosts()}
        used = {pair.found.host for node in self._graph.nodes for pair in node.pairs}
        if self._graph.frontend is not None:
            used.add(self._graph.frontend.host)
        dead = {name for name, host in hosts.items() if host.dead}
        for name in sorted((dead & used) - self._dead_hosts):
            self._graph.tell("host", f"{name} is dead: {hosts[name].reason}")
        for name in sorted(self._dead_hosts - dead):
            self._graph.tell("host", f"{name} answers again")
        self._dead_hosts = (self._dead_hosts | used) & frozenset(dead)

    async def _look_at(
        self, node: WiredNode, wiring: Wiring, found: GraphFound | None, at: float
    ) -> None:
        pairs = list(node.pairs)
        for pair in pairs:
            self._see_host(node, pair, wiring)
            there = None if found is None else found.pairs.get((node.index, pair.number))
            known = found is not None and at > pair.placed_at
            pair.failure = there.failure if known and there is not None else ""
            if known and there is not None and not there.failure and not pair.is_at(there):
                await self._graph.move_pair(node, pair.number)
                continue
            key = (node.index, pair.number)
            if not pair.is_silent:
                pair.starts = 0
                self._found_again(key, pair)
                continue
            if pair.dead:
                self._is_lost(key, pair.dead)
            elif known and there is None:
                self._is_lost(key, "the platform has it no more")
            elif pair.failure:
                self._is_lost(key, pair.failure)
            elif known and self._hangs(pair, pairs):
                self._is_lost(key, f"it has not answered for {_patience(pair):g} s")
            else:
                self._forget(key, pair)
        for pair in pairs:
            lost = self._lost.get((node.index, pair.number))
            if lost is not None and self._is_due(node, pair, pairs, lost):
                self._begin(node.index, self._start_pair(node, pair.number, lost))
                # One after the other: the second one is to be elsewhere than the first.
                break
        if self._may_spread(node, pairs):
            self._begin(node.index, self._spread(node, pairs[1].number))

    def _may_spread(self, node: WiredNode, pairs: Sequence[WiredPair]) -> bool:
        """Whether its backup is beside its primary, and might be on another host by now."""
        together = (
            len(pairs) == 2
            and pairs[0].found.host == pairs[1].found.host
            and not any(pair.is_silent or pair.failure for pair in pairs)
            and pairs[0].view is not None
            and pairs[0].view.synced
            and any(
                not host.dead and host.name != pairs[0].found.host for host in self._survey.hosts
            )
        )
        if not together:
            self._spread_at.pop(node.index, None)
            return False
        now = self._clock()
        if now < self._spread_at.setdefault(node.index, now + SPREAD_GRACE):
            return False
        self._spread_at[node.index] = now + SPREAD_INTERVAL
        return True

    async def _spread(self, node: WiredNode, number: int) -> None:
        try:
            await self._graph.spread(node, number)
        except (PlatformError, StartError) as error:
            log.warning("the backup of %s stays where it is: %s", node.spec.name, error)

    def _hangs(self, pair: WiredPair, pairs: Sequence[WiredPair]) -> bool:
        """Whether to start anew what runs, as the platform says, but does not answer. Not where
        nothing of the graph does, as it may be this process that is cut off, nor where it may be
        the only one that has a state."""
        view = pair.view
        # What has come back with its host has the same time to start as any other.
        if view is None or min(view.silent, self._clock() - pair.back_at) < _patience(pair):
            return False
        if pair is pairs[0] and len(pairs) > 1:
            return False
        return any(not one.is_silent for node in self._graph.nodes for one in node.pairs)

    def _see_host(self, node: WiredNode, pair: WiredPair, wiring: Wiring) -> None:
        host = self._survey.host(pair.found.host)
        dead = host is not None and host.dead and pair.is_silent
        if dead and not pair.dead:
            assert host is not None
            pair.dead = f"host {host.name} is dead: {host.reason}"
            wiring.give_up(node.index, pair.number)
            node.exits += 1
            self._graph.tell(node.spec.name, f"its {pair.role.value} is lost: {pair.dead}")
        elif pair.dead and not dead:
            pair.dead, pair.back_at = "", self._clock()
            wiring.give_up(node.index, pair.number, dead=False)

    def _is_lost(self, key: tuple[int, int], why: str) -> None:
        lost = self._lost.get(key)
        if lost is None:
            self._lost[key] = _Lost(why, self._clock())
        else:
            lost.why = why

    def _found_again(self, key: tuple[int, int], pair: WiredPair | None = None) -> None:
        self._lost.pop(key, None)
        self._unstick(key, pair, "is back")

    def _forget(self, key: tuple[int, int], pair: WiredPair | None = None) -> None:
        """It is where it was, or somebody else starts it."""
        self._lost.pop(key, None)
        self._unstick(key, pair, "is expected back")

    def _unstick(self, key: tuple[int, int], pair: WiredPair | None, what: str) -> None:
        if pair is not None:
            pair.stuck = ""
        self._warnings.end(f"lost {key}", f"{self._name_of(key)} {what}")

    def _name_of(self, key: tuple[int, int]) -> str:
        index, _ = key
        if index == 0:
            return f"the frontend of graph {self._graph.name}"
        names = {node.index: node.spec.name for node in self._graph.nodes}
        return f"a pair of {names.get(index, index)}"

    def _is_due(
        self, node: WiredNode, pair: WiredPair, pairs: Sequence[WiredPair], lost: _Lost
    ) -> bool:
        grace = HOST_GRACE
        if pair.failure and not pair.dead:
            grace = FAILURE_GRACE
        elif node.spec.stateful and pair is pairs[0]:
            view = pair.view
            other = pairs[1] if len(pairs) > 1 else None
            if other is not None and not other.is_silent and view is not None and view.synced:
                # It is about to take over; this one is the backup then.
                return False
            if pair.dead:
                grace = STATE_GRACE
        elif node.spec.stateful and pairs[0].is_silent and pair.dead:
            # Both may have the state.
            grace = STATE_GRACE
        return lost.is_due(grace, self._clock(), self._survey.freed_at)

    def _is_starting(self, index: int) -> bool:
        running = self._starting.get(index)
        return running is not None and not running.done()

    def _begin(self, index: int, work: Coroutine[Any, Any, None]) -> None:
        if self._is_starting(index):
            work.close()
            return
        self._starting[index] = asyncio.get_running_loop().create_task(work)

    async def _start_pair(self, node: WiredNode, number: int, lost: _Lost) -> None:
        key, pair = (node.index, number), node.pair(number)
        if not lost.tried_at:
            # While it is tried again and again it is what it is: dead.
            node.moving = "it is started again"
        lost.tried_at = self._clock()
        try:
            await self._graph.start_again(node, number)
        except (PlatformError, StartError) as error:
            self._failed(key, lost, error, pair)
        except Exception as error:
            log.exception("%s could not be started again", self._name_of(key))
            self._failed(key, lost, error, pair)
        else:
            self._lost.pop(key, None)
            if pair is not None:
                pair.starts += 1
            self._unstick(key, pair, "was started again")
        finally:
            node.moving = ""

    def _failed(
        self, key: tuple[int, int], lost: _Lost, error: Exception, pair: WiredPair | None = None
    ) -> None:
        lost.failed_at = self._clock()
        lost.pause = min(LONGEST_PAUSE, 2 * lost.pause) or FIRST_PAUSE
        if pair is not None:
            pair.stuck = str(error)
        what = f"{self._name_of(key)} cannot be started again yet: {error}"
        self._warnings.go_on(f"lost {key}", what)

    # --- the frontend -----------------------------------------------------------------------

    async def _look_at_frontend(self, wiring: Wiring, found: GraphFound | None, at: float) -> None:
        key, frontend = (0, 0), self._graph.frontend
        if frontend is None or not wiring.frontend_is_silent:
            self._found_again(key)
            return
        host = self._survey.host(frontend.host)
        if at <= self._graph.frontend_placed_at:
            found = None
        there = None if found is None else found.frontend
        if there is not None and not there.failure and there.address != frontend.address:
            await self._graph.move_frontend(there)
            return
        grace = HOST_GRACE
        if host is not None and host.dead:
            self._is_lost(key, f"host {host.name} is dead: {host.reason}")
        elif found is not None and there is None:
            self._is_lost(key, "the platform has it no more")
        elif there is not None and there.failure:
            self._is_lost(key, there.failure)
            grace = FAILURE_GRACE
        else:
            self._forget(key)
            return
        lost = self._lost[key]
        if lost.is_due(grace, self._clock(), self._survey.freed_at):
            self._begin(0, self._start_frontend(lost))

    async def _start_frontend(self, lost: _Lost) -> None:
        key = (0, 0)
        if not lost.tried_at:
            self._graph.tell("frontend", f"is lost: {lost.why}")
        lost.tried_at = self._clock()
        try:
            await self._graph.start_frontend()
        except StartError as error:
            self._failed(key, lost, error)
        except Exception as error:
            log.exception("the frontend could not be started again")
            self._failed(key, lost, error)
        else:
            frontend = self._graph.frontend
            where = "" if frontend is None else f" at {frontend.url}"
            self._graph.tell("frontend", f"was started again{where}")
            self._lost.pop(key, None)
            self._unstick(key, None, "was started again")
