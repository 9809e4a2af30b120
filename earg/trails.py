"""Where the requests are whose way is recorded, and what each node adds to their trace.

A trace travels with its request: every node appends one hop to what it hands on, so that the
frontend has the whole way when it has the reply, and nothing is collected from anywhere. Requests
that are not recorded cost one look at a field.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from earg.protos import hogar_pb2

MOST = 1000
"""Recorded requests in one node at a time; the oldest are recorded no further."""


class Stage(Enum):
    """What a node does with a request that it holds."""

    GATHERING = "gathering"
    """A join waits for the request's other parts."""

    QUEUED = "queued"
    """It waits for the model."""

    RUNNING = "running"
    """It is in the model."""

    LEAVING = "leaving"
    """It is computed, but the backup does not hold its state yet."""


@dataclass(slots=True)
class _Trail:
    # By node: a join's parts have the beginning of their way in common.
    hops: dict[int, hogar_pb2.Hop]
    arrived: float
    began: float = 0.0
    computed: float = 0.0
    batch: int = 0
    replica: int = 0


@dataclass(slots=True)
class Trails:
    """The recorded requests in one node. Times are monotonic; a hop's start is told by the wall
    clock as it was when this process started, so a jump of it cannot bend a trace."""

    _trails: dict[int, _Trail] = field(default_factory=dict)
    _epoch: float = field(default_factory=lambda: time.time() - time.monotonic())

    def __bool__(self) -> bool:
        return bool(self._trails)

    def arrive(self, request_id: int, hops: Iterable[hogar_pb2.Hop]) -> None:
        """A request came in; of a join's parts the last one counts."""
        now = time.monotonic()
        trail = self._trails.get(request_id)
        if trail is None:
            while len(self._trails) >= MOST:
                del self._trails[next(iter(self._trails))]
            trail = self._trails[request_id] = _Trail({}, now)
        elif not trail.began:
            trail.arrived = now
        trail.hops.update((hop.index, hop) for hop in hops)

    def begin(self, batch: Sequence[hogar_pb2.Request], size: int, replica: int) -> None:
        """A batch of which ``size`` requests go to the model."""
        now = time.monotonic()
        for request in batch:
            trail = self._trails.get(request.id)
            if trail is not None:
                trail.began = trail.computed = now
                trail.batch, trail.replica = size, replica

    def end(self, batch: Sequence[hogar_pb2.Request]) -> None:
        """The model has answered."""
        now = time.monotonic()
        for request in batch:
            trail = self._trails.get(request.id)
            if trail is not None:
                trail.computed = now

    def leave(self, outputs: Sequence[hogar_pb2.Request], index: int) -> None:
        """Append this node's hop to those of ``outputs`` that are recorded."""
        now = time.monotonic()
        for output in outputs:
            trail = self._trails.pop(output.id, None)
            if trail is None:
                continue
            hop = hogar_pb2.Hop(
                index=index,
                start=self._epoch + trail.arrived,
                queue=trail.began - trail.arrived,
                compute=trail.computed - trail.began,
                leave=now - trail.computed,
                batch=trail.batch,
                replica=trail.replica,
            )
            output.trace.hops.extend([*trail.hops.values(), hop])
