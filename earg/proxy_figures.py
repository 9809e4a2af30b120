"""What a proxy's metrics are made of, as values."""

from __future__ import annotations

from dataclasses import dataclass

from earg.model_usage import ModelUsage
from earg.statistics import NodeStatistics
from earg.status import Role


@dataclass(frozen=True, slots=True)
class ReplicationFigures:
    """How far a primary's backup is behind: ``requests`` are computed but held back until the
    backup has their state, or, without one, until there is a lease; the oldest of them for
    ``seconds``."""

    has_backup: bool
    requests: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ProxyFigures:
    """A proxy at one moment. ``ready`` tells what ``ping`` answers; ``replication`` is None but
    for the primary of a stateful node. ``model_pid`` is 0 where it is not known; ``told_usage`` is
    what the agent has told of a model in another container."""

    graph: str
    node: str
    role: Role
    ready: bool
    statistics: NodeStatistics
    replication: ReplicationFigures | None
    model_pid: int = 0
    told_usage: ModelUsage | None = None
