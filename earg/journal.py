"""What a proxy knows of the requests that are in the graph, so that each counts once.

When a proxy is replaced, the frontend sends every unanswered request again, with a higher attempt.
A proxy that holds its output sends that again; one that still computes it lets it be; only one
that has never seen it computes. So a stateful model sees each request exactly once, and a
stateless one computes again only what died with a neighbour.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from earg.payload import join
from earg.protos import hogar_pb2
from earg.routing import RoutingError


class Again(Enum):
    """What to do with a request that is not to be computed now."""

    WAIT = "wait"
    """Nothing: it is incomplete, under way, or answered."""

    RESEND = "resend"
    """Send its output again."""


@dataclass(slots=True)
class _Entry:
    attempt: int
    parts: list[hogar_pb2.Payload | None]
    arrived: float
    seq: int = 0
    queued: bool = False
    output: hogar_pb2.Payload | None = None
    size: int = 0


class Journal:
    """The requests of one node. ``sources`` are those of a join, in its order, else empty.

    It holds ``capacity`` requests and ``max_bytes`` of outputs at most; past that the oldest are
    forgotten for good, as if they were answered: their clients' deadlines have long passed.
    """

    def __init__(self, sources: Sequence[int], capacity: int, max_bytes: int) -> None:
        self._order = {source: place for place, source in enumerate(sources)}
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._bytes = 0
        self._highest_answered = 0
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        # Ids alone are kept four times as long: a copy may still be on its way along a slow path.
        self._finished: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def arrive(self, request: hogar_pb2.Request, source: int) -> hogar_pb2.Payload | Again:
        """The payload to compute, where ``request`` completes it for the first time.

        Raises :class:`RoutingError` for a source that does not flow into this join.
        """
        place = 0
        if self._order:
            found = self._order.get(source)
            if found is None:
                raise RoutingError(f"node {source} does not flow into this join")
            place = found
        if request.id in self._finished:
            return Again.WAIT
        entry = self._entries.get(request.id)
        if entry is None:
            parts: list[hogar_pb2.Payload | None] = [None] * max(1, len(self._order))
            entry = _Entry(request.attempt, parts, time.monotonic(), request.seq)
            self._entries[request.id] = entry
            self._forget_oldest()
        if entry.output is not None:
            if request.attempt <= entry.attempt:
                return Again.WAIT
            entry.attempt = request.attempt
            return Again.RESEND
        entry.attempt = max(entry.attempt, request.attempt)
        if entry.queued:
            return Again.WAIT
        if entry.parts[place] is None:
            entry.parts[place] = request.payload
        complete = [part for part in entry.parts if part is not None]
        if len(complete) < len(entry.parts):
            return Again.WAIT
        entry.queued = True
        entry.parts = []
        return join(complete) if self._order else complete[0]

    def complete(
        self, request_id: int, output: hogar_pb2.Payload, seq: int = 0
    ) -> hogar_pb2.Request:
        """Keep a request's output; what to send on. One that was finished meanwhile is sent, too:
        nobody waits for it, and nobody minds."""
        entry = self._entries.get(request_id)
        if entry is None:
            return hogar_pb2.Request(id=request_id, payload=output, seq=seq)
        self._keep(entry, output)
        return hogar_pb2.Request(
            id=request_id, payload=output, attempt=entry.attempt, seq=entry.seq
        )

    def output_of(self, request_id: int) -> hogar_pb2.Request:
        """The output of a request for which :meth:`arrive` said RESEND."""
        entry = self._entries[request_id]
        return _output(request_id, entry)

    def adopt(self, outputs: Iterable[hogar_pb2.Request]) -> None:
        """Take over outputs that a primary has computed."""
        for output in outputs:
            if output.id in self._finished:
                continue
            entry = self._entries.get(output.id)
            if entry is None:
                entry = _Entry(output.attempt, [], time.monotonic(), output.seq)
                self._entries[output.id] = entry
            entry.queued, entry.parts = True, []
            self._keep(entry, output.payload)
        self._forget_oldest()

    def finished(self) -> list[int]:
        """The requests that are answered, as far as it remembers them, oldest first: a new backup
        must not take a copy of one for a new one."""
        return list(self._finished)

    def outputs(self) -> Iterator[hogar_pb2.Request]:
        """All outputs it keeps, oldest first: what a new backup needs."""
        for request_id, entry in self._entries.items():
            if entry.output is not None:
                yield _output(request_id, entry)

    def outputs_after(self, seq: int) -> list[hogar_pb2.Request]:
        """The outputs it keeps with a higher EARG number than ``seq``, lowest first."""
        return sorted((one for one in self.outputs() if one.seq > seq), key=lambda one: one.seq)

    def answered_to(self) -> int:
        """An EARG number up to which nothing is needed any more: all it has seen is answered."""
        lowest = min((entry.seq for entry in self._entries.values()), default=0)
        return max(0, lowest - 1) if self._entries else self._highest_answered

    def highest_seq(self) -> int:
        """The highest EARG number that it has seen."""
        kept = max((entry.seq for entry in self._entries.values()), default=0)
        return max(kept, self._highest_answered)

    def held(self, request_ids: Iterable[int]) -> Iterator[tuple[int, float, bool]]:
        """Those of the requests whose output is not computed yet: the id, the monotonic time at
        which it arrived, and whether all its parts have."""
        for request_id in request_ids:
            entry = self._entries.get(request_id)
            if entry is not None and entry.output is None:
                yield request_id, entry.arrived, entry.queued

    def finish(self, request_ids: Iterable[int]) -> list[int]:
        """Forget requests whose clients have their reply; those it did not know yet."""
        fresh = [one for one in dict.fromkeys(request_ids) if one not in self._finished]
        for request_id in fresh:
            self._drop(request_id)
        while len(self._finished) > 4 * self._capacity:
            self._finished.popitem(last=False)
        return fresh

    def _keep(self, entry: _Entry, output: hogar_pb2.Payload) -> None:
        entry.output = output
        size = output.ByteSize()
        self._bytes += size - entry.size
        entry.size = size

    def _drop(self, request_id: int) -> None:
        self._finished[request_id] = None
        entry = self._entries.pop(request_id, None)
        if entry is not None:
            self._bytes -= entry.size
            if entry.seq > self._highest_answered:
                self._highest_answered = entry.seq

    def _forget_oldest(self) -> None:
        while len(self._entries) > self._capacity or (
            self._bytes > self._max_bytes and len(self._entries) > 1
        ):
            self._drop(next(iter(self._entries)))


def _output(request_id: int, entry: _Entry) -> hogar_pb2.Request:
    return hogar_pb2.Request(
        id=request_id, payload=entry.output, attempt=entry.attempt, seq=entry.seq
    )
