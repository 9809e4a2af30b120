"""The agent's samples of its nodes: what they did, and what their processes used, by time.

Every :data:`INTERVAL` seconds it reads two small files of /proc a process, and asks each primary's
proxy for the seconds since. Memory is read less often: Linux walks a process's pages for it. What a
platform's containers use is sampled as often as the platform was asked.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from earg.deployed import DeployedNode
from earg.node_history import NodeHistory
from earg.protos import hogar_pb2
from earg.recent_counts import WINDOW, RecentCounts
from earg.statistics import HISTORY_SECONDS
from earg.status import Role
from earg.usage import (
    ContainerUsage,
    ProcessUsage,
    UsageHistory,
    UsageSeries,
    read_cpu,
    read_memory,
)

log = logging.getLogger(__name__)

INTERVAL = 2.0
"""Seconds between samples."""

MEMORY_INTERVAL, MEMORY_SHARE = 10.0, 0.002
"""A process's memory is read every so many seconds, and less often where reading it would take
more than such a share of the time."""

Process = tuple[int, str, str]
"""A process's id, its kind (see :class:`earg.usage.ProcessUsage`), and the role of its pair."""

Ask = Callable[[DeployedNode, int], Awaitable[tuple[hogar_pb2.NodeStatistics | None, str]]]
"""Ask a node's primary for its statistics with so many seconds of history."""


@dataclass(slots=True)
class _Memory:
    size: int
    due: float


@dataclass(frozen=True, slots=True)
class _Used:
    """One kind of processes at one time."""

    cpu: float | None
    memory: int


class NodeUsage:
    """What one node's processes used in the last :data:`HISTORY_SECONDS`, and use."""

    def __init__(self) -> None:
        # Threads read, so that the kernel's work on a large process holds nobody up.
        self._lock = threading.Lock()
        self._samples: deque[tuple[float, dict[tuple[str, str], _Used]]] = deque()
        self._computed: dict[int, float] = {}
        self._at = 0.0
        self._memory: dict[int, _Memory] = {}
        self._taken: frozenset[tuple[str, float]] = frozenset()

    def take(self, containers: Sequence[tuple[Role, ContainerUsage]]) -> None:
        """Add what ``containers`` used when they were read last, unless it was taken before."""
        read = frozenset((one.id, one.at) for _, one in containers)
        with self._lock:
            if read == self._taken:
                return
            self._taken = read
            cores: dict[tuple[str, str], float | None] = {}
            memory: dict[tuple[str, str], int] = {}
            for role, one in containers:
                key = (_kind(one.kind), role.value)
                known = cores.get(key)
                cores[key] = known if one.cores is None else (known or 0.0) + one.cores
                memory[key] = memory.get(key, 0) + one.memory
            self._add(time.time(), cores, memory)

    def sample(self, processes: Iterable[Process]) -> None:
        """Add a sample of ``processes``."""
        with self._lock:
            self._sample(processes)

    def now(self, processes: Iterable[Process]) -> list[ProcessUsage]:
        """What ``processes`` use now, their memory as it was read last; without those that have
        ended."""
        with self._lock:
            return [
                ProcessUsage(pid, kind, role, *found, self._memory_of(pid, found[1]))
                for pid, kind, role in processes
                if (found := read_cpu(pid)) is not None
            ]

    def _sample(self, processes: Iterable[Process]) -> None:
        at, passed = time.time(), time.monotonic() - self._at
        self._at += passed
        computed: dict[int, float] = {}
        cores: dict[tuple[str, str], float | None] = {}
        memory: dict[tuple[str, str], int] = {}
        for pid, kind, role in processes:
            found = read_cpu(pid)
            if found is None:
                continue
            computed[pid], age = found
            key = (_kind(kind), role)
            before = self._computed.get(pid, 0.0 if age <= passed else None)
            used = None if before is None else max(0.0, computed[pid] - before) / passed
            known = cores.get(key)
            cores[key] = known if used is None else (known or 0.0) + used
            memory[key] = memory.get(key, 0) + self._memory_of(pid, age)
        self._computed = computed
        self._memory = {pid: kept for pid, kept in self._memory.items() if pid in computed}
        self._add(at, cores, memory)

    def _add(
        self,
        at: float,
        cores: Mapping[tuple[str, str], float | None],
        memory: Mapping[tuple[str, str], int],
    ) -> None:
        used_by = {key: _Used(cores[key], size) for key, size in memory.items()}
        self._samples.append((at, used_by))
        while self._samples[0][0] <= at - HISTORY_SECONDS:
            self._samples.popleft()

    def _memory_of(self, pid: int, age: float) -> int:
        kept = self._memory.get(pid)
        begun = time.monotonic()
        if kept is not None and begun < kept.due:
            return kept.size
        size = read_memory(pid) or 0
        now = time.monotonic()
        # One that has just started still loads.
        pause = max(min(age, MEMORY_INTERVAL), (now - begun) / MEMORY_SHARE)
        self._memory[pid] = _Memory(size, now + pause)
        return size

    def cores(self) -> float | None:
        """How many cores they used in the last :data:`WINDOW` seconds; None where that is not
        known."""
        since = time.time() - WINDOW
        with self._lock:
            # The newest first: of the many that are kept, few are of late.
            lately = takewhile(lambda one: one[0] > since, reversed(self._samples))
            used = [
                sum(cores)
                for _, by_kind in lately
                if (cores := [u.cpu for u in by_kind.values() if u.cpu is not None])
            ]
        return sum(used) / len(used) if used else None

    def history(self, seconds: float) -> UsageHistory:
        """The samples of the last ``seconds``."""
        since = time.time() - seconds
        with self._lock:
            samples = [one for one in self._samples if one[0] > since]
        keys = sorted({key for _, used in samples for key in used})
        return UsageHistory(
            tuple(at for at, _ in samples),
            tuple(
                UsageSeries(
                    kind,
                    role,
                    tuple(_rounded(used.get((kind, role))) for _, used in samples),
                    tuple(
                        used[kind, role].memory if (kind, role) in used else None
                        for _, used in samples
                    ),
                )
                for kind, role in keys
            ),
        )


def _kind(kind: str) -> str:
    """All models of a pair are one kind."""
    return "model" if kind.startswith("model") else kind


def _rounded(used: _Used | None) -> float | None:
    return None if used is None or used.cpu is None else round(used.cpu, 4)


@dataclass(slots=True)
class NodeSamples:
    """Of one node."""

    history: NodeHistory = field(default_factory=NodeHistory)
    counts: RecentCounts = field(default_factory=RecentCounts)
    usage: NodeUsage = field(default_factory=NodeUsage)


class Sampling:
    """Those of all nodes, by graph and index. They go with the graph."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._nodes: dict[tuple[str, int], NodeSamples] = {}

    def of(self, graph: str, index: int) -> NodeSamples:
        """The samples of one node."""
        return self._nodes.setdefault((graph, index), NodeSamples())

    async def run(self, nodes: Callable[[], Sequence[tuple[str, DeployedNode]]]) -> None:
        """Sample what ``nodes`` gives, each with its graph's name, for ever."""
        due = time.monotonic()
        while True:
            try:
                await self.sample(nodes())
            except Exception:
                log.exception("the nodes could not be sampled")
            due = max(due + INTERVAL, time.monotonic() + INTERVAL / 2)
            await asyncio.sleep(due - time.monotonic())

    async def sample(self, nodes: Sequence[tuple[str, DeployedNode]]) -> None:
        """One sample of each node; forget those that are not there any more."""
        there = {(graph, node.index) for graph, node in nodes}
        for key in [key for key in self._nodes if key not in there]:
            del self._nodes[key]
        processes = []
        for graph, node in nodes:
            usage, containers = self.of(graph, node.index).usage, node.containers
            if containers is None:
                processes.append((usage, processes_of(node)))
            else:
                usage.take(containers)
        await asyncio.gather(
            asyncio.to_thread(_read_all, processes),
            *(self._take(self.of(graph, node.index), node) for graph, node in nodes),
        )

    async def _take(self, samples: NodeSamples, node: DeployedNode) -> None:
        said, _ = await self._ask(node, samples.history.wanted)
        if said is not None:
            samples.history.take(said)
            samples.counts.take(said)


def processes_of(node: DeployedNode) -> list[Process]:
    """The node's processes that run."""
    return [
        (child.pid, kind, pair.role.value)
        for pair in node.pairs
        for kind, _, child in pair.processes
        if child.running
    ]


def _read_all(nodes: Iterable[tuple[NodeUsage, Iterable[Process]]]) -> None:
    for usage, processes in nodes:
        usage.sample(processes)
