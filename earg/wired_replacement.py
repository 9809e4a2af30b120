"""Another version of a node in the place of the one that serves, on a platform of containers.

A stateless node's is started beside the old one. Of a stateful node a platform has two pairs, so
the new version takes the backup's place first, and with it the state.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

import grpc
import grpc.aio

from earg.answered import answered
from earg.images import Implementation
from earg.pair import StartError
from earg.pair_starts import PairStarts
from earg.plan import Plan
from earg.platform import PairFound, PairOrder, Platform, PlatformError
from earg.protos import hogar_pb2, hogar_pb2_grpc
from earg.wired_node import WiredNode
from earg.wiring import PairView, Wiring

POLL_INTERVAL = 0.05
"""Seconds between looks at whether it is where it should be."""

TAKE_IN_TIMEOUT, SYNC_TIMEOUT = 30.0, 120.0
"""Seconds for a new version that has its model to become ready, and to take a state over."""

FINISH_PATIENCE = 10.0
"""Seconds that a pair whose place was taken may finish what it holds."""

HAND_OVER_TIMEOUT = 30.0
"""Seconds for a backup to take the place of a primary that was stopped for it."""


class Graph(Protocol):
    """What it needs of a graph that serves."""

    name: str
    version: str

    plan: Plan
    """What is being deployed."""

    @property
    def is_closed(self) -> bool:
        """Whether it is being taken down."""

    def views(self, index: int) -> Sequence[PairView]:
        """The node's pairs as the wiring has seen them last, the primary first."""

    def order(self, index: int, number: int, implementation: Implementation) -> PairOrder:
        """A pair as it is to be."""

    def order_again(self, node: WiredNode, number: int) -> PairOrder:
        """A pair as the node runs."""

    async def put(self, node: WiredNode, number: int, found: PairFound) -> None:
        """A pair of the node was started there."""

    def begin(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something that is to be finished, whoever has asked for it."""

    def tell(self, node: str, what: str, before: str = "", after: str = "") -> None:
        """Add to the event log."""

    def changed(self) -> None:
        """Write the ledger."""


class Replacement:
    """Of one node, which is to run by ``implementation``; :meth:`run` raises :class:`StartError`
    and :class:`PlatformError`, and what served before serves on then."""

    def __init__(
        self,
        graph: Graph,
        node: WiredNode,
        implementation: Implementation,
        platform: Platform,
        starts: PairStarts,
        wiring: Wiring,
    ) -> None:
        self._graph = graph
        self._node = node
        self._implementation = implementation
        self._platform = platform
        self._starts = starts
        self._wiring = wiring

    async def run(self, timeout: float) -> None:
        """Do it; ``timeout`` seconds are for the model to come up."""
        if self._node.spec.stateful:
            await self._replace_stateful(timeout)
        else:
            await self._replace_stateless(timeout)

    async def _replace_stateless(self, timeout: float) -> None:
        graph, node, wiring = self._graph, self._node, self._wiring
        index, before = node.index, node.pairs[0].number
        after, plan_before = 1 - before, wiring.plan
        try:
            order = graph.order(index, after, self._implementation)
            found = await self._starts.start(order)
            await self._starts.wait_for_model(order, found, timeout)
            wiring.replan(graph.plan, graph.version)
            latest = time.monotonic() + TAKE_IN_TIMEOUT
            await wiring.take_in(index, after, found.place, latest)
        except BaseException as error:
            wiring.replan(plan_before, graph.version)
            await asyncio.shield(self._starts.discard(index, after))
            if isinstance(error, TimeoutError):
                raise StartError(str(error)) from None
            raise
        node.put(after, found)
        node.drop(before)
        self._becomes()
        await asyncio.shield(graph.begin(self._retire(before)))

    async def _retire(self, number: int) -> None:
        index = self._node.index
        await self._wiring.finish(index, FINISH_PATIENCE)
        await self._starts.discard(index, number)
        # What it had computed may have been on its way to the next proxy.
        await self._wiring.replay()

    async def _replace_stateful(self, timeout: float) -> None:
        graph, node, wiring = self._graph, self._node, self._wiring
        index, primary = node.index, node.pairs[0]
        old, new = primary.number, 1 - primary.number
        had_backup, plan_before = len(node.pairs) > 1, wiring.plan
        try:
            wiring.replan(graph.plan, graph.version)
            # First, so that the primary does not hold its outputs back for it.
            await wiring.drop(index, new)
            await self._platform.stop_pair(graph.name, index, new)
            order = graph.order(index, new, self._implementation)
            found = await self._starts.start(order, {primary.found.host})
            await self._starts.wait_for_model(order, found, timeout)
            await graph.put(node, new, found)
            await self._wait_until_followed(time.monotonic() + SYNC_TIMEOUT)
        except BaseException:
            wiring.replan(plan_before, graph.version)
            await asyncio.shield(graph.begin(self._roll_back(new, had_backup)))
            raise
        await asyncio.shield(graph.begin(self._hand_over(old)))

    async def _wait_until_followed(self, deadline: float) -> None:
        """Until the backup's model has the primary's state; raises :class:`StartError`."""
        index = self._node.index
        while True:
            refusal = self._wiring.refusal(index)
            if refusal:
                raise self._no_heir(refusal)
            views = self._graph.views(index)
            if len(views) > 1 and views[1].synced and views[1].channel is not None:
                control = hogar_pb2_grpc.ControlStub(views[1].channel)
                left = max(1.0, deadline - time.monotonic())
                try:
                    await answered(control.CatchUp(hogar_pb2.Done(), timeout=left))
                except grpc.aio.AioRpcError as error:
                    raise self._no_heir(error.details() or error.code().name) from None
                except OSError as error:
                    raise self._no_heir(str(error)) from None
                return
            if time.monotonic() > deadline:
                said = self._wiring.unattached(index)
                raise self._no_heir(said or "it does not follow the old one in time")
            await asyncio.sleep(POLL_INTERVAL)

    def _no_heir(self, why: str) -> StartError:
        name = self._node.spec.name
        return StartError(f"the new version of {name} does not take its state over: {why}")

    async def _roll_back(self, number: int, had_backup: bool) -> None:
        """The version that serves goes on, with a backup if it had one."""
        graph, node = self._graph, self._node
        if graph.is_closed:
            return
        await self._starts.discard(node.index, number)
        if not had_backup:
            await self._wiring.drop(node.index, number)
            node.drop(number)
            return
        order = graph.order_again(node, number)
        try:
            found = await self._starts.start(order, {node.pairs[0].found.host})
            await graph.put(node, number, found)
        except (PlatformError, StartError) as error:
            # It is tried again by the keeper.
            graph.tell(node.spec.name, f"its backup did not come back: {error}")

    async def _hand_over(self, old: int) -> None:
        """The old primary is stopped before the new one takes over: of a node one pair acts at a
        time."""
        graph, node, wiring = self._graph, self._node, self._wiring
        index = node.index
        host = next(pair.found.host for pair in node.pairs if pair.number != old)
        wiring.give_up(index, old)
        await self._platform.stop_pair(graph.name, index, old)
        deadline = time.monotonic() + HAND_OVER_TIMEOUT
        while (views := graph.views(index))[0].number == old:
            if time.monotonic() > deadline:
                raise StartError(
                    f"the new version of {node.spec.name} has its state, but did not take over "
                    f"within {HAND_OVER_TIMEOUT:g} s: {views[0].status}"
                )
            await asyncio.sleep(POLL_INTERVAL)
        self._becomes()
        if not node.wants_backup:
            await wiring.drop(index, old)
            node.drop(old)
            return
        try:
            found = await self._starts.start(graph.order(index, old, self._implementation), {host})
            await graph.put(node, old, found)
        except (PlatformError, StartError) as error:
            # The new version serves; the keeper tries its backup again.
            graph.tell(node.spec.name, f"its backup did not come back: {error}")

    def _becomes(self) -> None:
        graph, node = self._graph, self._node
        before, spec = node.spec, graph.plan.config.nodes[node.index - 1]
        runs = graph.plan.implementation(node.index, self._implementation)
        node.become(spec, runs, graph.plan)
        what = f"version {spec.version} takes the place of version {before.version}"
        graph.tell(spec.name, what)
        graph.changed()
