"""What a deployed graph, its nodes and their processes are doing, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum


class PingStatus(IntEnum):
    """What a proxy answers to ``ping`` (EARG's wire protocol; the numbers are the contract)."""

    READY = 0
    """The proxy has a model, knows the graph, and everything downstream of it is ready."""

    MODEL_UNSET = 1
    """The proxy runs but SetModel has not come yet."""

    MODEL_SET = 2
    """The proxy has its model, but does not serve yet: no SetDAG, or something downstream of it
    is not ready."""

    RECOVERING = 3
    """The proxy replays what a failed one had not finished."""

    MODEL_FAILED = 4
    """The model beside this proxy does not answer."""

    DOWNSTREAM_FAILED = 5
    """A proxy that this one sends to does not answer."""

    FAILURE_MANAGER = 6
    """The admin that handles failures does not answer."""

    UPSTREAM_FAILED = 7
    """A proxy that sends to this one does not answer."""


class NodeState(Enum):
    """What a node, or one of its pairs, is doing."""

    STARTING = "starting"
    """Its processes start, the model is constructed, or it waits to be wired."""

    READY = "ready"
    """Every pair of it answers ``ping``, and a backup holds the state."""

    BUSY = "busy"
    """It serves as one that is ready, but requests wait for longer than one batch: at least two
    full batches are queued, or the queue is nine tenths full."""

    DEGRADED = "degraded"
    """It serves, but a failure now would lose its state, as it has no backup that holds it; or only
    some of its replicas run."""

    RECOVERING = "recovering"
    """A process of it has died and is being replaced; its requests wait."""

    DEAD = "dead"
    """It was given up: its processes end on every start."""

    DRAINING = "draining"
    """It finishes what its graph has accepted, and is stopped then."""


SERVING = frozenset({NodeState.READY, NodeState.BUSY, NodeState.DEGRADED})
"""The states in which a node takes requests and answers them."""

BUSY_BATCHES, BUSY_SHARE = 2, 0.9
"""So many full batches in the queue, or so much of it filled, make a node busy."""


@dataclass(frozen=True, slots=True)
class QueueLoad:
    """A proxy's queue: requests in it, its batch limit, and how many it can hold."""

    queued: int
    limit: int
    capacity: int

    @property
    def is_busy(self) -> bool:
        """Whether it makes its node :attr:`NodeState.BUSY`."""
        return self.queued >= min(BUSY_BATCHES * self.limit, BUSY_SHARE * self.capacity)

    def __str__(self) -> str:
        return f"{self.queued} requests wait, at most {self.limit} are computed at once"


class Role(Enum):
    """Which pair of a node this is."""

    PRIMARY = "primary"
    """The pair that serves requests."""

    BACKUP = "backup"
    """The pair of a stateful operator that stands by."""


@dataclass(frozen=True, slots=True)
class PairStatus:
    """One model with its proxy. Pids are 0 while a process does not run.

    ``reason`` says why the pair is not ready, with the model's traceback where there is one;
    ``model_log`` and ``proxy_log`` are paths on the agent's machine. ``model_pids`` are those of
    all its models, ``model_pid`` the first of them. ``host`` is which of the engine's hosts it is
    on, empty where there is the agent's own alone.
    """

    role: Role
    state: NodeState
    address: str
    model_pid: int
    proxy_pid: int
    reason: str
    model_log: str
    proxy_log: str
    model_pids: tuple[int, ...] = ()
    host: str = ""


@dataclass(frozen=True, slots=True)
class HostStatus:
    """A host of the engine. ``dead`` while it does not answer; ``reason`` is a sentence about that,
    and ``since`` when this changed, in seconds since the Unix epoch. ``nodes`` are those of the
    graph that it has; of a dead one also those that it had when it answered last."""

    name: str
    dead: bool = False
    reason: str = ""
    since: float = 0.0
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One operator as deployed; ``index`` is its 1-based place in the EARG config."""

    index: int
    name: str
    version: str
    image: str
    state: NodeState
    reason: str
    pairs: tuple[PairStatus, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a node. ``time`` is in seconds since the Unix epoch.

    A change of state has ``before`` and ``after``, and ``what`` is its cause; of a node that was
    not there before, ``before`` is empty. Of all other events both are empty. ``number`` grows
    with each event, also from one agent to the next.
    """

    time: float
    graph: str
    node: str
    what: str
    before: str = ""
    after: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class GraphStatus:
    """One deployed graph. ``url`` is the frontend's base URL, empty before the graph is wired.

    ``operators`` counts those of the config; ``nodes`` holds those deployed so far, by index.
    ``warnings`` are sentences about what the agent cannot do at present, for this graph or for all.
    ``hosts`` are those that the graph's pairs may be on, none where the engine has the agent's own
    alone, and ``frontend_host`` is where the frontend is.
    """

    name: str
    version: str
    url: str
    operators: int
    nodes: tuple[NodeStatus, ...]
    warnings: tuple[str, ...] = ()
    hosts: tuple[HostStatus, ...] = ()
    frontend_host: str = ""
