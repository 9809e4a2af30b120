"""One node of a graph."""

from __future__ import annotations

from pydantic import BaseModel


class PairView(BaseModel):
    """A model and its proxy. ``host`` is which of the engine's hosts it is on, or the address
    without the port where it has one alone; pids are 0 for what does not run, or is a container."""

    role: str
    state: str
    host: str
    address: str
    model_pids: list[int]
    proxy_pid: int
    reason: str


class DeclaredView(BaseModel):
    """What UDGL declares of a node; ``batch`` as in an EARG config (0: one call a request, below 0:
    dynamic). ``more`` is what it says beyond that of how the node serves, in UDGL's words."""

    version: str
    image: str
    batch: int
    more: str = ""


class BatchView(BaseModel):
    """How a node batches. ``limit`` is in force, ``most`` the highest that a dynamic one takes;
    ``objective_ms`` 0 is the usual objective. ``mean`` is the mean batch of the last half minute
    and ``fill`` its share of the limit, both None while nothing was computed. ``declared`` is the
    declared batch, None for a node that is not declared."""

    limit: int
    most: int
    dynamic: bool
    wait_ms: float
    objective_ms: float
    set_by: str
    declared: int | None
    mean: float | None
    fill: float | None
    hint: str = ""


class TroubleStep(BaseModel):
    """Something that happened in the course of a trouble."""

    at: float
    what: str


class TroubleView(BaseModel):
    """A time in which a node was not whole, however short: ``worst`` is the worst state that it
    had (dead, recovering or degraded) and ``why`` how it came to it; ``steps`` happened after it
    ``began``. ``ended`` is None while it goes on."""

    worst: str
    began: float
    ended: float | None
    why: str
    steps: list[TroubleStep]


class NodeView(BaseModel):
    """One node as it is now. Figures are None where its proxy does not answer, latencies also where
    nothing passed in the last half minute. ``since`` is when its state began, None where the agent
    does not know any more. ``trouble`` is what goes on, or has ended in the last 15 s: also what
    was over between two looks. ``cpu`` is in cores, ``memory`` in bytes, of all its processes."""

    index: int
    name: str
    version: str
    image: str
    stateful: bool
    state: str
    reason: str
    since: float | None
    declared: DeclaredView | None
    drift: list[str]
    pairs: list[PairView]
    queued: int | None = None
    running: int | None = None
    leaving: int | None = None
    requests: int | None = None
    errors: int | None = None
    requests_per_second: float | None = None
    errors_per_second: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    queue_p95_ms: float | None = None
    compute_p95_ms: float | None = None
    batch: BatchView | None = None
    lag_ms: float | None = None
    exits: int = 0
    cpu: float | None = None
    memory: int | None = None
    trouble: TroubleView | None = None
