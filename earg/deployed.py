"""What an agent needs of a graph that is deployed, whatever runs its processes.

The local engine's is :class:`earg.deployment.Deployment`, that of a platform of containers
:class:`earg.wired_deployment.WiredDeployment`. :mod:`earg.agent` serves either by the same calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import grpc.aio

from earg.child import Child
from earg.config import NodeSpec, StaticConfig
from earg.images import Implementation
from earg.ledger import GraphRecord
from earg.metrics_targets import MetricsTarget
from earg.plan import Plan
from earg.protos import hogar_pb2
from earg.status import GraphStatus, NodeStatus, Role

if TYPE_CHECKING:
    from earg.sampling import Sampling
    from earg.usage import ContainerUsage


class DeploymentError(RuntimeError):
    """What was asked cannot be done with the graph as it is."""


class Tell(Protocol):
    """Adds to the event log; ``before`` and ``after`` are states, of a change of state."""

    def __call__(self, node: str, what: str, before: str = "", after: str = "") -> None: ...


class DeployedPair(Protocol):
    """A model with its proxy, for whoever reads what they do."""

    @property
    def role(self) -> Role:
        """Which of its node's pairs it is now."""

    @property
    def proxy_channel(self) -> grpc.aio.Channel | None:
        """The channel to its proxy; None while there is none."""

    @property
    def processes(self) -> Sequence[tuple[str, str, Child]]:
        """Its processes on this machine: what each is, and where it listens. None of a platform's
        own."""


class DeployedNode(Protocol):
    """One operator as deployed."""

    @property
    def index(self) -> int:
        """Its place in the config, from 1."""

    @property
    def spec(self) -> NodeSpec:
        """What it runs as."""

    @property
    def exits(self) -> int:
        """How often a process of it has ended by itself."""

    @property
    def pairs(self) -> Sequence[DeployedPair]:
        """Its pairs, the primary first."""

    @property
    def containers(self) -> Sequence[tuple[Role, ContainerUsage]] | None:
        """What its containers use, as was read last, each with its pair's role; None where it runs
        as processes of this machine, which can be read at any time."""

    async def recent_status(self) -> NodeStatus:
        """What it does, or has done a moment ago."""

    async def set_batch_limit(self, limit: hogar_pb2.BatchLimit) -> hogar_pb2.BatchLimit:
        """Set the primary's batch limit, and that of whoever follows it; what was set before.
        Raises :class:`earg.pair.StartError`."""


class Deployed(Protocol):
    """A graph on its way up, serving, or on its way down.

    Nodes are deployed in any order and in parallel; :meth:`wire` needs all of them. Methods raise
    :class:`DeploymentError` for what cannot be done with the graph as it is, and
    :class:`earg.pair.StartError` for what did not come up.
    """

    name: str
    version: str
    """What serves."""

    next_version: str
    """What is being deployed; the same where nothing is."""

    plan: Plan
    """What is being deployed."""

    deploying: int
    """How many nodes are being deployed right now; whoever calls :meth:`deploy` counts."""

    draining: bool
    """Whether it takes no new requests."""

    @property
    def nodes(self) -> Sequence[DeployedNode]:
        """Those whose proxies this process asks for samples."""

    def record(self) -> GraphRecord:
        """What an agent that follows this one needs to adopt it."""

    def targets(self) -> Sequence[MetricsTarget]:
        """What Prometheus is to scrape of it."""

    def retry_files(self) -> None:
        """Write again what could not be written."""

    def has_topology_of(self, config: StaticConfig) -> bool:
        """Whether ``config`` has the same nodes in the same order, and the same edges."""

    def replan(self, version: str, plan: Plan) -> None:
        """Deploy another plan of the same topology from now on: :meth:`deploy` replaces what
        differs node by node, and :meth:`wire` makes its version the graph's."""

    async def deploy(
        self,
        index: int,
        implementation: Implementation,
        timeout: float,
        *,
        force: bool = False,
    ) -> NodeStatus:
        """Start the node's processes, unless they run already as asked; with ``force`` also then.
        ``timeout`` seconds are for its model to come up."""

    async def wire(self) -> None:
        """Start the frontend and give every proxy the graph, where that is not done yet."""

    async def probe(self, index: int, timeout: float) -> NodeStatus:
        """Wait until every pair of the node is ready."""

    async def serve(self, timeout: float) -> None:
        """Wait until the frontend passes requests on."""

    async def status(self, age: float = 0.0) -> GraphStatus:
        """What it does now, or has done so many seconds ago."""

    async def log(
        self, index: int, lines: int, *, proxy: bool = False, backup: bool = False
    ) -> tuple[str, str]:
        """The last lines of a process, and where its log is on this machine (empty where it is not
        here): of index 0 the frontend; of a node its primary's model, or the proxy, or those of
        the backup."""

    async def statistics(
        self, history_seconds: int, sampling: Sampling, only: int = 0
    ) -> hogar_pb2.GraphStatistics:
        """What its nodes tell of themselves; ``only`` one of them where it is not 0."""

    async def requests(self, most: int) -> hogar_pb2.RequestsReply:
        """The oldest requests in it, ``most`` at most, and where each is."""

    async def recorded(self, most: int) -> hogar_pb2.TracesReply:
        """The newest requests whose way was recorded."""

    async def set_batch_limit(
        self, index: int, limit: hogar_pb2.BatchLimit
    ) -> hogar_pb2.BatchLimit:
        """Set a node's batch limit; what was set before."""

    async def drain(self, timeout: float, force: bool) -> int:
        """Take no new requests, and wait until those in it are answered; how many are left after
        ``timeout`` seconds. Where none are, or with ``force``, it stays closed for :meth:`down`;
        else it serves again."""

    async def down(self) -> None:
        """Stop everything of it."""

    async def leave(self) -> None:
        """End what this process does for it; what runs, runs on, for an agent that adopts it."""


class Engine(Protocol):
    """What an agent's graphs are deployed with."""

    name: str
    """``local``, or the name of the platform: as connections and ``HelloReply.engine`` have it."""

    runs_on: bool
    """Whether the graphs run on where the agent is told to stop by a signal: they do where
    something else than the agent keeps them running. ``Shutdown`` takes them down all the same."""

    async def open(self) -> None:
        """Begin; before the first deployment is made."""

    async def close(self) -> None:
        """End what :meth:`open` has begun; after the last deployment has ended."""

    def deployment(
        self,
        name: str,
        version: str,
        plan: Plan,
        folder: Path,
        changed: Callable[[], None],
        tell: Tell,
        record: GraphRecord | None = None,
    ) -> Deployed:
        """A graph to be deployed, or with ``record`` one that an agent before has left serving.
        ``changed`` is to be called whenever :meth:`Deployed.record` has changed; ``folder`` is
        where the graph's files may be, on this machine."""
