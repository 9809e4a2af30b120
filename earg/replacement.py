"""Puts another version of a node in the place of one that serves, without a failed request.

The new pairs are started beside the old ones. A stateless node's senders are turned to the new
proxy, and the old one finishes what it holds. A stateful node's new pair takes the state over as a
backup would, and follows until the old primary is held: so no state is lost or changed twice, and
the old version serves on where the new one does not take its state.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Protocol

from earg.config import NodeSpec
from earg.images import Implementation
from earg.node import RunningNode
from earg.pair import RunningPair, StartError
from earg.status import PingStatus, Role

log = logging.getLogger(__name__)

READY_PATIENCE = 5.0
"""Seconds that a new proxy may take to find everything behind it ready, before it is used anyway:
a node behind it that is being replaced must not hold it up."""

RECOVERY_PATIENCE = 30.0
"""Seconds that a recovery of a stateful node may take before it is replaced all the same."""

SHORT_PATIENCE = 1.0
"""The same for a stateless node: it may be replaced because it does not come back."""

RETIRE_TIMEOUT = 60.0
"""Seconds in which an old proxy may finish what it holds: no client waits longer for a reply."""

RETIRE_POLL = 0.05
"""Seconds between looks at an old proxy."""


class Graph(Protocol):
    """What a replacement needs of the graph."""

    async def connect(
        self,
        pair: RunningPair,
        node: RunningNode | None = None,
        primary: RunningPair | None = None,
    ) -> None:
        """Give ``pair`` the graph as it will be when ``pair`` is the primary of ``node``, or its
        backup, by its role; the primary is ``primary`` then, or the one it has. Raises
        :class:`StartError`."""

    async def follow(self, pair: RunningPair) -> None:
        """Let a proxy send to where its targets are by now."""

    def is_join(self, index: int) -> bool:
        """Whether several nodes flow into node ``index``."""

    async def retarget(self, index: int, address: str) -> None:
        """Let everybody who sends to node ``index`` send to ``address``."""

    async def replay(self) -> None:
        """Let the frontend send again what is in the graph."""

    def set_aside(self, pairs: list[RunningPair]) -> None:
        """Write the ledger: others have taken the place of ``pairs``, which still run."""

    def retire(self, pairs: list[RunningPair]) -> None:
        """Let pairs that were set aside finish what they hold, and stop them."""


async def replace(
    graph: Graph,
    node: RunningNode,
    pairs: list[RunningPair],
    spec: NodeSpec,
    implementation: Implementation,
) -> None:
    """Put ``pairs``, which run and have their model, in the place of those of ``node``.

    Raises :class:`StartError` where the new version cannot take over; the old one serves on then,
    and ``pairs`` are the caller's to stop.
    """
    if not spec.stateful:
        await _replace_stateless(graph, node, pairs, spec, implementation)
        return
    await node.rest(RECOVERY_PATIENCE)
    if node.pairs[0].running:
        await _hand_over(graph, node, pairs, spec, implementation)
    else:
        # There is no state any more that could be handed over.
        await _replace_dead(graph, node, pairs, spec, implementation)


async def _replace_stateless(
    graph: Graph,
    node: RunningNode,
    pairs: list[RunningPair],
    spec: NodeSpec,
    implementation: Implementation,
) -> None:
    (pair,) = pairs
    await graph.connect(pair, node)
    await _wait_until_ready(graph, pair)
    await node.rest(SHORT_PATIENCE)
    old = node.become(pairs, spec, implementation)
    graph.set_aside(old)
    try:
        await graph.follow(pair)
        await graph.retarget(node.index, pair.ip)
        if graph.is_join(node.index) or not old[0].running:
            # The old one has parts of requests whose other parts come to the new one, or it has
            # died with what it held.
            await graph.replay()
        await node.settle_in()
    finally:
        graph.retire(old)


async def _replace_dead(
    graph: Graph,
    node: RunningNode,
    pairs: list[RunningPair],
    spec: NodeSpec,
    implementation: Implementation,
) -> None:
    first, *spares = pairs
    first.role = Role.PRIMARY
    await graph.connect(first, node)
    old = node.become(pairs, spec, implementation)
    graph.set_aside(old)
    try:
        await asyncio.gather(*(pair.kill() for pair in old))
        await graph.follow(first)
        for spare in spares:
            await graph.connect(spare)
        await graph.retarget(node.index, first.ip)
        await graph.replay()
        await node.settle_in()
    finally:
        graph.retire(old)


async def _hand_over(
    graph: Graph,
    node: RunningNode,
    pairs: list[RunningPair],
    spec: NodeSpec,
    implementation: Implementation,
) -> None:
    primary = node.pairs[0]
    heir, *spares = pairs
    if spares and heir.name == primary.name:
        # The graph knows proxies by name, and the primary was another one when these were started.
        spares, heir = [heir], spares[0]
    heir.role = Role.BACKUP
    await graph.connect(heir, node)
    for spare in spares:
        spare.role = Role.BACKUP
        await graph.connect(spare, node, heir)
    async with node.handing_over():
        try:
            await node.give_state(heir)
            await heir.catch_up()
            # From here on the old one must not act: what it had answered, the new one could not
            # know. It is held, not ended, so that it can go on where the new one fails after all.
            primary.freeze()
            await heir.promote()
        except BaseException as error:
            primary.thaw()
            if not isinstance(error, StartError):
                raise
            raise StartError(
                f"version {spec.version} of {spec.name} does not take over the state of version "
                f"{node.spec.version}, which serves on: {error}. Give the new version a "
                "set_state() that reads the old one's, or take the graph down first, which loses "
                "the state",
                error.log,
            ) from None
        old = node.become([heir, *spares], spec, implementation)
        graph.set_aside(old)
        try:
            await asyncio.gather(*(pair.kill() for pair in old))
            await graph.follow(heir)
            await graph.retarget(node.index, heir.ip)
            await graph.replay()
            await node.settle_in()
            for spare in spares:
                await graph.follow(spare)
        except StartError as error:
            # The new version serves; what its backup lacks is mended as after any failure.
            log.warning("%s", error)
        finally:
            graph.retire(old)


async def _wait_until_ready(graph: Graph, pair: RunningPair) -> None:
    deadline = time.monotonic() + READY_PATIENCE
    while time.monotonic() < deadline:
        # The nodes behind it may be replaced at the same time.
        await graph.follow(pair)
        answer, _ = await pair.ping()
        if answer is PingStatus.READY:
            return
        if not pair.running:
            raise StartError(f"{pair.name} of the new version ended before it could serve")
        await asyncio.sleep(RETIRE_POLL)


async def finish(pair: RunningPair) -> None:
    """Wait until a proxy that nobody sends to any more has handed on what it holds."""
    deadline = time.monotonic() + RETIRE_TIMEOUT
    idle = 0
    while pair.running and time.monotonic() < deadline:
        try:
            idle = 0 if await pair.holds_requests() else idle + 1
        except StartError:
            # It is an original, or dying: what it holds is sent again.
            return
        # Twice: the last batch may be between the queue and the model, or on its way out.
        if idle == 2:
            return
        await asyncio.sleep(RETIRE_POLL)
