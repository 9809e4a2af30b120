"""What the graphs of every engine have alike: their config, their nodes, and what these tell."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from earg.config import NodeSpec, StaticConfig
from earg.deployed import DeployedNode, DeploymentError
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
    plan: Plan
    _nodes: dict[int, Node]

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
    def _set_draining(self, draining: bool) -> None:
        """Say whether it takes new requests, and show it."""

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
