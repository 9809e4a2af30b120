"""What a proxy counts of its requests, always: totals, latencies, batch sizes, a short history.

All of it costs a few microseconds a batch, and nothing more for each request in it: requests that
came together are one entry, and a latency that many share is added once. Times are monotonic.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from earg.status import NodeState
from earg.usage import NO_USAGE, ProcessUsage, UsageHistory

HISTORY_SECONDS = 900
"""One-second samples that are kept."""

RATE_SECONDS = 5
"""Rates are means over so many of the last complete seconds."""

LATENCY_BOUNDS = tuple(50e-6 * (600 / 50e-6) ** (step / 47) for step in range(48))
"""Upper bounds of the latency buckets, in seconds: 50 microseconds to 600 s, each the one before
times 1.41. What took longer is counted in one more bucket, without a bound."""

SIZE_BOUNDS = tuple(float(2**power) for power in range(17))
"""Upper bounds of the buckets of batch sizes: 1, 2, 4 and so on, and one more without a bound."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts by bucket: ``counts[i]`` values were at most ``bounds[i]`` and above the bound
    before; the last count is of values above every bound. ``total`` is the sum of the values."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    @property
    def count(self) -> int:
        """How many values there are."""
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """The mean value; 0 where there is none."""
        count = self.count
        return self.total / count if count else 0.0

    def percentile(self, share: float) -> float:
        """The value below which ``share`` (0 to 1) of all lie, right within its bucket.

        0 where there are no values; the last bound for one that is above every bound.
        """
        return _percentile(self.bounds, self.counts, share)

    def since(self, earlier: Histogram) -> Histogram:
        """What was added after ``earlier``; all of it where that is of another run."""
        if earlier.bounds != self.bounds or any(
            now < then for now, then in zip(self.counts, earlier.counts, strict=True)
        ):
            return self
        counts = zip(self.counts, earlier.counts, strict=True)
        return Histogram(
            self.bounds, tuple(now - then for now, then in counts), self.total - earlier.total
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """One second. ``requests``, ``errors`` and ``batches`` ended in it; ``queued`` and ``running``
    were there at its end; percentiles are in seconds, 0 for none: of the total latency, of the
    time in the queue of what left it, of the computing of what was computed. ``sizes`` are its
    batches by :data:`SIZE_BOUNDS`, without the zeros at the end."""

    requests: int
    errors: int
    batches: int
    queued: int
    running: int
    p50: float
    p95: float
    p99: float
    queue_p95: float = 0.0
    compute_p95: float = 0.0
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeStatistics:
    """What a node's proxy has counted since it started, ``uptime`` seconds ago.

    ``queued`` requests wait for the model and ``running`` are in it. ``leaving`` are computed but
    not handed on: a backup does not hold their state yet, or the next node takes no more.
    ``requests`` were handed on, ``errors`` of them failed at this node; the rates are means over
    the last :data:`RATE_SECONDS` complete seconds. Latencies are in seconds: ``queue`` from arrival
    to the model, ``compute`` in the model, ``total`` from arrival until handed on.
    ``batches`` are the sizes of the model's batches. ``batch_limit`` is the limit in force: a
    dynamic one moves between 1 and ``batch_most`` so that a batch computes within
    ``batch_objective`` seconds (0: the usual one); a batch waits ``batch_wait`` seconds at most to
    fill. ``limit_set_by`` says who set it: "config", or who changed it. ``lag`` is how many seconds
    the oldest of ``uncommitted`` batches has waited for the backup to hold it. ``history`` is one
    sample a second, the last complete one last.
    """

    proxy: str
    uptime: float
    queued: int
    running: int
    leaving: int
    requests: int
    errors: int
    requests_per_second: float
    errors_per_second: float
    queue: Histogram
    compute: Histogram
    total: Histogram
    batches: Histogram
    batch_limit: int
    limit_set_by: str
    history: tuple[Sample, ...] = ()
    batch_most: int = 0
    batch_dynamic: bool = False
    batch_wait: float = 0.0
    batch_objective: float = 0.0
    lag: float = 0.0
    uncommitted: int = 0


@dataclass(frozen=True, slots=True)
class EarlierCounts:
    """What ``proxy`` had counted when it had been up for ``uptime`` seconds: the histograms of
    :class:`NodeStatistics`."""

    proxy: str
    uptime: float
    queue: Histogram
    compute: Histogram
    total: Histogram
    batches: Histogram


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One deployed node as the agent sees it: its primary's statistics and its processes.

    ``statistics`` is None where the primary's proxy does not answer; ``reason`` says why.
    ``exits`` counts processes of it that ended by themselves and were to be restarted.
    ``earlier`` are the seconds before those of ``statistics.history``, which proxies told that
    were the primary's then; the last second of all ended at ``history_end``, in Unix seconds.
    ``usage`` is what its processes used meanwhile. ``before`` is what the primary had counted half
    a minute ago, None where it had not started then or that is not known; ``cores`` is what the
    node's processes used since, None where that is not known.
    """

    index: int
    name: str
    state: NodeState
    exits: int
    statistics: NodeStatistics | None
    reason: str
    processes: tuple[ProcessUsage, ...]
    earlier: tuple[Sample, ...] = ()
    history_end: float = 0.0
    usage: UsageHistory = NO_USAGE
    before: EarlierCounts | None = None
    cores: float | None = None

    @property
    def history(self) -> tuple[Sample, ...]:
        """One sample a second, the last one ending at ``history_end``."""
        own = () if self.statistics is None else self.statistics.history
        return (*self.earlier, *own)


@dataclass(frozen=True, slots=True)
class GraphStatistics:
    """All deployed nodes of one graph, by index."""

    name: str
    version: str
    nodes: tuple[NodeReport, ...]


_Frozen = tuple[int, ...]


class _Counts:
    """A histogram that grows."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float, times: int) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def freeze(self) -> Histogram:
        return Histogram(self.bounds, tuple(self.counts), self.total)


@dataclass(slots=True)
class Batch:
    """A batch on its way: ``taken`` requests, ``size`` of them for the model; ``runs`` are their
    arrival times, each with how many came then."""

    started: float
    taken: int
    size: int
    runs: list[tuple[float, int]]


class Recorder:
    """Counts for one proxy. A request passes :meth:`arrive`, :meth:`begin`, :meth:`end` and
    :meth:`leave`, in that order; requests begin in the order in which they arrived."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._second_ends = self._started + 1.0
        self._arrivals: deque[tuple[float, int]] = deque()
        self._leaving: dict[int, Batch] = {}
        self._queued = self._running = self._leaving_count = 0
        self._requests = self._errors = self._batches = 0
        self._queue = _Counts(LATENCY_BOUNDS)
        self._compute = _Counts(LATENCY_BOUNDS)
        self._total = _Counts(LATENCY_BOUNDS)
        self._sizes = _Counts(SIZE_BOUNDS)
        self._history: deque[Sample] = deque(maxlen=HISTORY_SECONDS)
        self._seconds = 0
        self._before = (0, 0, 0, *self._counted())

    # --- a request's way ----------------------------------------------------------------------

    def arrive(self, count: int) -> None:
        """``count`` requests were queued."""
        if count:
            self._arrivals.append((self._now(), count))
            self._queued += count

    @property
    def oldest_arrival(self) -> float:
        """When the oldest request that is queued arrived; now where there is none."""
        return self._arrivals[0][0] if self._arrivals else self._clock()

    def begin(self, taken: int, computing: int) -> Batch:
        """``taken`` requests leave the queue; ``computing`` of them go to the model."""
        now = self._now()
        arrivals = self._arrivals
        runs = []
        left = taken
        while left > 0:
            at, count = arrivals[0]
            if count > left:
                arrivals[0] = (at, count - left)
                count = left
            else:
                arrivals.popleft()
            runs.append((at, count))
            self._queue.add(now - at, count)
            left -= count
        self._queued -= taken
        self._running += computing
        return Batch(now, taken, computing, runs)

    def end(self, batch: Batch, key: int, errors: int) -> float:
        """The model has answered, with ``errors`` failed requests; the seconds it took. ``key``
        names the batch until it leaves: the id of a request in it."""
        now = self._now()
        if batch.size:
            self._running -= batch.size
            self._compute.add(now - batch.started, batch.size)
            self._sizes.add(batch.size, 1)
            self._batches += 1
        self._errors += errors
        self._leaving_count += batch.taken
        self._leaving[key] = batch
        return now - batch.started

    def leave(self, key: int) -> None:
        """The batch was handed on."""
        batch = self._leaving.pop(key, None)
        if batch is None:
            return
        now = self._now()
        for at, count in batch.runs:
            self._total.add(now - at, count)
        self._requests += batch.taken
        self._leaving_count -= batch.taken

    # --- seconds ------------------------------------------------------------------------------

    def _now(self) -> float:
        now = self._clock()
        if now >= self._second_ends:
            self._close_seconds(now)
        return now

    def _close_seconds(self, now: float) -> None:
        """Add a sample for each second that is over: what has happened belongs to the first."""
        ended = int(now - self._second_ends) + 1
        now_counted = self._counted()
        requests, errors, batches, *counted = self._before
        total, queue, compute, sizes = (
            [new - old for new, old in zip(after, before, strict=True)]
            for after, before in zip(now_counted, counted, strict=True)
        )
        p50, p95, p99 = (_percentile(LATENCY_BOUNDS, total, share) for share in (0.5, 0.95, 0.99))
        while sizes and not sizes[-1]:
            sizes.pop()
        queued, running = self._queued, self._running
        self._history.append(
            Sample(
                self._requests - requests,
                self._errors - errors,
                self._batches - batches,
                queued,
                running,
                p50,
                p95,
                p99,
                _percentile(LATENCY_BOUNDS, queue, 0.95),
                _percentile(LATENCY_BOUNDS, compute, 0.95),
                tuple(sizes),
            )
        )
        still = Sample(0, 0, 0, queued, running, 0.0, 0.0, 0.0)
        self._history.extend([still] * min(ended - 1, HISTORY_SECONDS))
        self._before = (self._requests, self._errors, self._batches, *now_counted)
        self._second_ends += ended
        self._seconds += ended

    def _counted(self) -> tuple[_Frozen, _Frozen, _Frozen, _Frozen]:
        """The counts of which each second has its difference."""
        total, queue, compute = self._total.counts, self._queue.counts, self._compute.counts
        return tuple(total), tuple(queue), tuple(compute), tuple(self._sizes.counts)

    # --- reading ------------------------------------------------------------------------------

    @property
    def seconds(self) -> int:
        """Complete seconds that have a sample, counted from the start."""
        return self._seconds

    def snapshot(
        self,
        proxy: str,
        batch_limit: int,
        limit_set_by: str,
        history_seconds: int = 0,
        after: int | None = None,
    ) -> NodeStatistics:
        """Everything as it is now, with the last ``history_seconds`` samples, or with those after
        second ``after`` (see :attr:`seconds`)."""
        now = self._now()
        samples = tuple(self._history)
        if after is not None:
            history_seconds = self._seconds - after
        recent = samples[-RATE_SECONDS:]
        length = max(1, len(recent))
        return NodeStatistics(
            proxy=proxy,
            uptime=now - self._started,
            queued=self._queued,
            running=self._running,
            leaving=self._leaving_count,
            requests=self._requests,
            errors=self._errors,
            requests_per_second=sum(sample.requests for sample in recent) / length,
            errors_per_second=sum(sample.errors for sample in recent) / length,
            queue=self._queue.freeze(),
            compute=self._compute.freeze(),
            total=self._total.freeze(),
            batches=self._sizes.freeze(),
            batch_limit=batch_limit,
            limit_set_by=limit_set_by,
            history=samples[-history_seconds:] if history_seconds > 0 else (),
        )


def _percentile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float:
    wanted = share * sum(counts)
    if wanted <= 0:
        return 0.0
    below = 0
    for place, count in enumerate(counts[: len(bounds)]):
        if count and below + count >= wanted:
            lower = bounds[place - 1] if place else 0.0
            return lower + (bounds[place] - lower) * (wanted - below) / count
        below += count
    return bounds[-1]
