"""The agent's memory on disk: what is deployed, and by which processes.

An agent that is killed leaves a serving graph behind. The one that follows reads here which
processes those are, and adopts them.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from earg.addresses import METRICS_PORT
from earg.config import NodeSpec
from earg.home import replace_file
from earg.images import Implementation

MAX_BYTES = 256 * 1024 * 1024
"""Largest ledger that is read."""

FORMAT = 2
"""Grows when the file's form changes; a file of another form is not adopted."""


class LedgerError(ValueError):
    """A ledger that cannot be read."""


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A process for good: pids are used again, but not with the same start (see
    :func:`started_at`)."""

    pid: int
    start: int
    log: str


@dataclass(frozen=True, slots=True)
class PairRecord:
    """A pair as it was; a process that did not run is None. ``generation`` tells the proxies of one
    place apart, where originals are beside it."""

    name: str
    ip: str
    wired: bool
    model: ProcessRecord | None
    proxy: ProcessRecord | None
    replicas: tuple[ReplicaRecord, ...] = ()
    generation: int = 0


@dataclass(frozen=True, slots=True)
class ReplicaRecord:
    """One more model of a pair as it was."""

    ip: str
    model: ProcessRecord | None


@dataclass(frozen=True, slots=True)
class BatchLimitRecord:
    """A limit that was set since SetDAG, as HOGAR's BatchLimit; None is what was not named."""

    who: str
    limit: int | None
    batch: int | None
    wait: float | None = None
    objective: float | None = None
    dynamic: bool | None = None


@dataclass(frozen=True, slots=True)
class PlaceRecord:
    """Where a platform of containers had a pair (or with index 0 the frontend, at ``proxy`` and
    ``url``): see :class:`earg.platform.PairFound`."""

    number: int
    proxy: str
    models: tuple[str, ...] = ()
    host: str = ""
    digest: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node as it was: the primary's pair first. ``spec`` is what it was deployed with, which is
    not what the graph's config says while that is being deployed. ``epoch`` numbers its backups,
    ``synced`` tells whether the backup held the state. Of a platform's node there are ``places``
    instead of pairs."""

    index: int
    spec: NodeSpec
    implementation: Implementation
    epoch: int
    synced: bool
    batch_limit: BatchLimitRecord | None
    pairs: tuple[PairRecord, ...]
    places: tuple[PlaceRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class GraphRecord:
    """A deployed graph as it was. ``version`` served; ``next_version`` and ``config`` are what is
    being deployed, the same where nothing is. ``leftovers`` are processes that were being started,
    or that finished what they held after others had taken their place."""

    name: str
    version: str
    next_version: str
    config: str
    model_port: int
    proxy_port: int
    frontend_ip: str
    http_port: int
    wired: bool
    draining: bool
    frontend: ProcessRecord | None
    nodes: tuple[NodeRecord, ...]
    leftovers: tuple[ProcessRecord, ...]
    metrics_port: int = METRICS_PORT
    extras: str = ""
    admin_ip: str = ""
    admin_port: int = 0
    frontend_place: PlaceRecord | None = None


def started_at(pid: int) -> int | None:
    """When the process started, in clock ticks since boot (proc(5), field 22); None if it is gone
    or a zombie. With its pid this names a process for good."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def is_alive(record: ProcessRecord) -> bool:
    """Whether exactly this process still runs."""
    return started_at(record.pid) == record.start


def write(path: Path, graphs: Iterable[GraphRecord]) -> None:
    """Replace the ledger, all at once; an empty one is no file."""
    rows = [asdict(graph) for graph in graphs]
    if not rows:
        # Not unlinked unseen: a read-only disk refuses that of a file that is not there, too.
        if path.exists():
            path.unlink()
        return
    replace_file(path, json.dumps({"format": FORMAT, "graphs": rows}))


def read(path: Path) -> list[GraphRecord]:
    """The graphs of a ledger, none where there is no file; raises :class:`LedgerError`."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LedgerError(f"{path}: {error.strerror}") from None
    if len(text) > MAX_BYTES:
        raise LedgerError(f"{path} is larger than {MAX_BYTES} bytes")
    try:
        loaded = json.loads(text)
        if loaded["format"] != FORMAT:
            raise LedgerError(f"{path} has format {loaded['format']}, not {FORMAT}")
        return [_graph(row) for row in loaded["graphs"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LedgerError(f"{path} is damaged: {error}") from None


def _graph(row: Any) -> GraphRecord:
    fields = dict(row)
    nodes = tuple(_node(node) for node in fields.pop("nodes"))
    leftovers = tuple(ProcessRecord(**one) for one in fields.pop("leftovers"))
    frontend = _process(fields.pop("frontend"))
    # One of an agent before there were such has none.
    place = fields.pop("frontend_place", None)
    return GraphRecord(
        **fields,
        nodes=nodes,
        leftovers=leftovers,
        frontend=frontend,
        frontend_place=_place(place) if place is not None else None,
    )


def _place(row: Any) -> PlaceRecord:
    fields = dict(row)
    return PlaceRecord(**fields | {"models": tuple(str(one) for one in fields["models"])})


def _node(row: Any) -> NodeRecord:
    fields = dict(row)
    pairs = []
    for pair in fields.pop("pairs"):
        model, proxy = _process(pair.pop("model")), _process(pair.pop("proxy"))
        replicas = tuple(
            ReplicaRecord(str(one["ip"]), _process(one["model"])) for one in pair.pop("replicas")
        )
        pairs.append(PairRecord(**pair, model=model, proxy=proxy, replicas=replicas))
    code = dict(fields.pop("implementation"))
    environment = tuple((str(name), str(value)) for name, value in code.pop("environment"))
    implementation = Implementation(**code, environment=environment)
    limit = fields.pop("batch_limit")
    places = tuple(_place(one) for one in fields.pop("places", ()))
    spec = NodeSpec(**fields.pop("spec"))
    return NodeRecord(
        **fields,
        spec=spec,
        implementation=implementation,
        batch_limit=BatchLimitRecord(**limit) if limit is not None else None,
        pairs=tuple(pairs),
        places=places,
    )


def _process(row: Any) -> ProcessRecord | None:
    return ProcessRecord(**row) if isinstance(row, dict) else None


def processes(graphs: Iterable[GraphRecord]) -> Iterator[ProcessRecord]:
    """All that the ledger names, whether they still run or not."""
    for graph in graphs:
        named = [graph.frontend, *graph.leftovers]
        for pair in (pair for node in graph.nodes for pair in node.pairs):
            named += [pair.model, pair.proxy, *(one.model for one in pair.replicas)]
        yield from (one for one in named if one is not None)


def kill(records: Iterable[ProcessRecord]) -> list[int]:
    """KILL the groups of those that still run; their pids."""
    killed = []
    for record in records:
        if is_alive(record):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(record.pid, signal.SIGKILL)
                killed.append(record.pid)
    return killed
