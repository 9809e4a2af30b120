"""What the graphs of every engine have alike: their config, their nodes, and what these tell."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

from earg.config import NodeSpec, StaticConfig
from earg.deployed import DeployedNode, DeploymentError, Tell
from earg.draining import wait_until_drained
from earg.extras import Extras
from earg.graph_statistics import graph_statistics, set_batch_limit
from earg.pair import StartError
from earg.plan import Plan
from earg.protos import hogar_pb2
from earg.sampling import Sampling

log = logging.getLogger(__name__)

Node = TypeVar("Node", bound=DeployedNode)


class DeployedGraph(ABC, Generic[Node]):
    """The part of a :class:`earg.deployed.Deployed` that does not know what runs its processes."""

    name: str
    version: str
    next_version: str
    plan: Plan
    draining: bool
    changed: Callable[[], None]
    tell: Tell
    _nodes: dict[int, Node]
    _closed: bool
    _tasks: set[asyncio.Task[None]]

    @property
    def config(self) -> StaticConfig:
        """The graph as it is being deployed."""
        return self.plan.config

    @property
    def extras(self) -> Extras:
        """What it says beyond EARG's config."""
        return self.plan.extras

    def has_topology_of(self, config: StaticConfig) -> bool:
        """Whether ``config`` has the same nodes in the same order, and the same edges."""

        def topology(one: StaticConfig) -> tuple[object, ...]:
            return tuple((n.name, n.stateful) for n in one.nodes), one.dist, one.reduce

        return topology(self.config) == topology(config)

    def spec(self, index: int) -> NodeSpec:
        """The node's line of the config; raises :class:`DeploymentError`."""
        if not 1 <= index <= len(self.config.nodes):
            raise DeploymentError(
                f"graph {self.name} has {len(self.config.nodes)} nodes, there is no node {index}"
            )
        return self.config.nodes[index - 1]

    @property
    def indexes(self) -> range:
        """Its nodes, by their place in the config."""
        return range(1, len(self.config.nodes) + 1)

    @property
    def nodes(self) -> list[Node]:
        """Those that are deployed."""
        return list(self._nodes.values())

    def node(self, index: int) -> Node:
        """The node as deployed; raises :class:`DeploymentError`."""
        spec = self.spec(index)
        try:
            return self._nodes[index]
        except KeyError:
            raise DeploymentError(
                f"{spec.name} of graph {self.name} is not deployed; deploy it first"
            ) from None

    async def statistics(
        self, history_seconds: int, sampling: Sampling, only: int = 0
    ) -> hogar_pb2.GraphStatistics:
        """What its nodes tell of themselves; see :mod:`earg.graph_statistics`."""
        return await graph_statistics(self, history_seconds, sampling, only)

    async def set_batch_limit(
        self, index: int, limit: hogar_pb2.BatchLimit
    ) -> hogar_pb2.BatchLimit:
        """Set a node's batch limit; what was set before. Raises :class:`DeploymentError`."""
        return await set_batch_limit(self.node(index), limit)

    @abstractmethod
    def begin(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something that is to be finished, whoever has asked for it."""

    def replan(self, version: str, plan: Plan) -> None:
        """Deploy another plan of the same topology from now on: what differs is replaced node by
        node by ``deploy``, and ``wire`` makes its version the graph's."""
        self.next_version, self.plan = version, plan
        self.changed()

    def _check_whole(self, missing: Sequence[str]) -> None:
        """Raise :class:`DeploymentError` where nodes are ``missing``, or not deployed as the graph
        is to be."""
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

    # --- the end ----------------------------------------------------------------------------

    async def drain(self, timeout: float, force: bool) -> int:
        """Take no new requests, and wait until those in the graph are answered; how many are left
        after ``timeout`` seconds.

        Where none are left, or with ``force``, the graph stays closed for ``down``; else it
        serves again. Raises :class:`DeploymentError`.
        """
        if self.draining:
            raise DeploymentError(f"graph {self.name} is being drained already")
        if not self._has_frontend:
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
                await asyncio.shield(self.begin(self._reopen()))
        return left

    @property
    @abstractmethod
    def _has_frontend(self) -> bool:
        """Whether clients can reach it."""

    def _set_draining(self, draining: bool) -> None:
        """Say whether it takes new requests, and show it."""
        self.draining = draining
        self.tell("graph", "takes no new requests" if draining else "takes requests again")
        self.changed()

    @abstractmethod
    async def _admit(self, admit: bool) -> int:
        """Let the frontend take new requests, or none; how many it has. Raises
        :class:`earg.pair.StartError`."""

    async def _reopen(self) -> None:
        self._set_draining(False)
        try:
            await self._admit(True)
        except StartError as error:
            log.warning("%s", error)

    async def leave(self) -> None:
        """End what this process does for it; what runs, runs on, for an agent that adopts it."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
