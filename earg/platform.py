"""What starts the processes of a graph that are not the agent's own: a platform of containers.

This is the whole of what an engine has to be able to do. Which pair is the primary, who sends to
whom, and what has to be started anew elsewhere is decided by whoever calls this
(:mod:`earg.wired_deployment`), by the same rules for every platform.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from earg.config import NodeSpec
from earg.images import Implementation
from earg.plan import Plan
from earg.status import HostStatus
from earg.usage import ContainerUsage
from earg.wiring_places import PairPlace


class Part(Enum):
    """Which process of a pair."""

    MODEL = "model"
    """The first of its models."""

    PROXY = "proxy"
    """Its proxy."""


@dataclass(frozen=True, slots=True)
class PairOrder:
    """A pair that is to run: a proxy with its model, or with all replicas of it.

    ``number`` is 0 or 1. A stateful node has both: which of the two is the primary changes while
    the graph runs. Any other has one, and the other, too, while another version takes its place.
    ``implementation`` is what stands in for the image where its entrypoint is not empty; else the
    image itself is run. ``token`` is what the processes show each other, never written where
    others can read it.
    """

    graph: str
    version: str
    plan: Plan = field(repr=False)
    index: int
    number: int
    implementation: Implementation
    token: str = field(default="", repr=False)

    @property
    def spec(self) -> NodeSpec:
        """The node's line of the config."""
        return self.plan.config.nodes[self.index - 1]

    @property
    def digest(self) -> str:
        """Of all that the pair's processes are told and given when they start, and where they may
        be: another one means that they have to be started anew. The batch limit changes while they
        run."""
        spec, runs = self.spec, self.plan.implementation(self.index, self.implementation)
        share = self.plan.extras.of(self.index).share
        told = repr((spec.name, spec.version, spec.image, spec.stateful, runs, share))
        return hashlib.sha256(told.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class PairFound:
    """A pair that a platform has. ``place`` says how others reach it, ``host`` where it is and
    ``digest`` by which order it was started. ``failure`` is empty where all of it runs; else it
    says in the platform's own words what does not, and how it ended."""

    place: PairPlace
    host: str
    digest: str
    failure: str = ""


@dataclass(frozen=True, slots=True)
class FrontendFound:
    """A graph's frontend. ``address`` is the IPv4 address or host name under which proxies reach
    it, ``url`` where clients do; the others are as those of :class:`PairFound`."""

    address: str
    url: str
    host: str
    failure: str = ""


@dataclass(frozen=True, slots=True)
class GraphFound:
    """What a platform has of one graph: pairs by (index, number). ``version`` is the graph's by
    which its frontend was started."""

    version: str
    pairs: Mapping[tuple[int, int], PairFound]
    frontend: FrontendFound | None = None


PairKey = tuple[str, int, int]
"""A pair by its graph, the index of its node and its number."""


class PlatformError(RuntimeError):
    """What the platform refuses, in its own words; ``log`` is the end of what the process to blame
    has written, where there is one."""

    def __init__(self, sentence: str, log: str = "") -> None:
        super().__init__(sentence)
        self.log = log


class Platform(Protocol):
    """Containers on one host or several. Every call has a deadline of its own, may be repeated,
    and raises :class:`PlatformError`.

    What could not be stopped because its host was dead, the platform stops when the host is back:
    of a pair there is one, the one that was started last.
    """

    async def hosts(self) -> tuple[HostStatus, ...]:
        """All hosts, the dead ones too."""

    async def look(self) -> Mapping[str, GraphFound]:
        """What there is on all hosts that answer, by graph."""

    async def usage(self) -> Mapping[PairKey, tuple[ContainerUsage, ...]]:
        """What the containers of all pairs use that are known by the last look. Those of hosts that
        do not answer at once are missing; nothing where the platform cannot tell."""

    async def start_pair(self, order: PairOrder, avoid: Collection[str] = ()) -> PairFound:
        """Start a pair, on none of the hosts ``avoid`` if there are others that fit; one that runs
        by the same order is left, unless it is on one of them and another fits. One of another
        order, or on a host that is dead, is replaced."""

    async def start_frontend(
        self, graph: str, version: str, plan: Plan, token: str = "", avoid: Collection[str] = ()
    ) -> FrontendFound:
        """Start the frontend, unless it runs; as :meth:`start_pair`."""

    async def stop_pair(self, graph: str, index: int, number: int) -> None:
        """Stop a pair, TERM then KILL, and take away what is left of it."""

    async def stop(self, graph: str) -> None:
        """Stop everything of a graph and take it away."""

    async def tail(self, graph: str, index: int, number: int, part: Part, lines: int) -> str:
        """The last lines that a process has written; index 0 is the frontend."""

    async def close(self) -> None:
        """Close what is open to the platform; what runs there runs on."""
