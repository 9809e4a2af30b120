"""The EARG static and runtime configs, read and written exactly.

The format is a contract with EARG's published proxies, whose own parser is unforgiving and
silently wrong: it reads ``True`` as stateless, drops nodes when the count is too small, ignores a
block in upper case. So :func:`write_static` and :func:`write_runtime` emit the one exact form, and
:func:`read_static` and :func:`read_runtime` reject everything else with a line and a column.

This module imports nothing but the standard library: the ``udgl`` compiler depends on it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

MODEL_PORT = 22222
"""The TCP port every model listens on; the runtime config has no room for another."""

PROXY_PORT = 22223
"""The TCP port every proxy, and the frontend, listens on."""

MAX_NODES = 1_000_000
"""More nodes than this is a damaged file, not a graph."""

MAX_TEXT = 256 * 1024 * 1024
"""Most characters of a config that are read."""


class ConfigError(ValueError):
    """An EARG config, or the graph for one, that EARG would misread.

    ``line`` and ``column`` are 1-based; both are 0 where the fault is in a value that was to be
    written rather than in a text that was read.
    """

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(f"line {line}, column {column}: {message}" if line else message)
        self.message = message
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One operator as EARG sees it: a line of the static config.

    ``batch`` is the batch limit in requests: above 0 a fixed size, 0 one call a request, below 0
    dynamic with at most ``-batch``.
    """

    name: str
    version: str
    image: str
    stateful: bool
    batch: int


@dataclass(frozen=True, slots=True)
class Edge:
    """One edge entry between 1-based node indexes.

    In ``dist`` it has one source and one or more targets; in ``reduce`` two or more sources, in
    the order in which the join hands them to its model, and one target.
    """

    sources: tuple[int, ...]
    targets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StaticConfig:
    """A graph as compiled: ``nodes[i]`` has index ``i + 1``, and the entry is ``nodes[0]``."""

    nodes: tuple[NodeSpec, ...]
    dist: tuple[Edge, ...] = ()
    reduce: tuple[Edge, ...] = ()

    def sources_of(self, index: int) -> tuple[int, ...]:
        """The nodes that flow into node ``index``, in the order a join keeps; all of a merge."""
        for edge in self.reduce:
            if edge.targets == (index,):
                return edge.sources
        return tuple(e.sources[0] for e in self.dist if index in e.targets)

    def targets_of(self, index: int) -> tuple[int, ...]:
        """The nodes that node ``index`` flows into, in the order of the file."""
        found: list[int] = []
        for edge in (*self.dist, *self.reduce):
            if index in edge.sources:
                found.extend(edge.targets)
        return tuple(found)

    def sinks(self) -> tuple[int, ...]:
        """The nodes that flow into nothing: their output is the graph's reply.

        One, unless the graph was checked with ``choices``.
        """
        flowing = {s for e in (*self.dist, *self.reduce) for s in e.sources}
        return tuple(i for i in range(1, len(self.nodes) + 1) if i not in flowing)


@dataclass(frozen=True, slots=True)
class Pair:
    """One model with the proxy beside it, as the runtime config names them. Addresses are IPv4."""

    model_name: str
    model_id: str
    model_ip: str
    proxy_name: str
    proxy_id: str
    proxy_ip: str


@dataclass(frozen=True, slots=True)
class RuntimeNode:
    """A node that has addresses: a primary pair, and for a stateful operator a backup pair."""

    spec: NodeSpec
    primary: Pair
    backup: Pair | None = None


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """A deployed graph: what SetDAG carries. Neither ``name`` nor ``version`` may hold a ``-``."""

    name: str
    version: str
    frontend_name: str
    frontend_id: str
    frontend_ip: str
    nodes: tuple[RuntimeNode, ...]
    dist: tuple[Edge, ...] = ()
    reduce: tuple[Edge, ...] = ()

    @property
    def static(self) -> StaticConfig:
        """The same graph without its addresses."""
        return StaticConfig(tuple(n.spec for n in self.nodes), self.dist, self.reduce)


_FIELD = re.compile(r"[^\s,]+\Z")
_INTEGER = re.compile(r"(?:0|-?[1-9][0-9]{0,8})\Z")
_COUNT = re.compile(r"(?:0|[1-9][0-9]{0,8})\Z")
_GRAPH_NAME = re.compile(r"[^\s,\-]+\Z")


def check_static(config: StaticConfig, *, choices: bool = False) -> None:
    """Raise :class:`ConfigError` for a graph that EARG cannot express or would answer wrongly.

    Sources: EARG's published parser and runs of its proxies. Each rule names the harm it prevents.
    With ``choices`` a node may have several dist inputs (a merge) and the graph several sinks:
    then extras lie beside the config, and :func:`earg.extras.check_extras` sees to it that every
    request comes along one input and reaches one sink.
    """
    count = len(config.nodes)
    if count == 0:
        raise ConfigError("a graph needs at least one node")
    for node in config.nodes:
        _check_spec(node)
    seen: set[tuple[int, int]] = set()
    dist_into: dict[int, int] = {}
    reduce_into: dict[int, int] = {}
    for kind, edges in (("dist", config.dist), ("reduce", config.reduce)):
        for edge in edges:
            _check_arity(kind, edge)
            for index in (*edge.sources, *edge.targets):
                if not 1 <= index <= count:
                    raise ConfigError(f"{kind} names node {index}, but there are {count} nodes")
            for source in edge.sources:
                for target in edge.targets:
                    if (source, target) in seen:
                        raise ConfigError(f"duplicate edge {source}->{target}")
                    seen.add((source, target))
            into = dist_into if kind == "dist" else reduce_into
            for target in edge.targets:
                into[target] = into.get(target, 0) + 1
    for index in range(1, count + 1):
        dist, reduce = dist_into.get(index, 0), reduce_into.get(index, 0)
        name = config.nodes[index - 1].name
        if index == 1 and dist + reduce:
            raise ConfigError(f"node 1 ({name}) must be the entry, but something flows into it")
        if index > 1 and dist + reduce == 0:
            raise ConfigError(f"nothing flows into node {index} ({name}); only node 1 is an entry")
        if choices and dist + reduce > 1 and reduce:
            raise ConfigError(
                f"node {index} ({name}) has {dist} dist and {reduce} reduce inputs; a node has "
                "dist inputs, of which each request comes along one, or exactly one reduce"
            )
        if dist + reduce > 1 and not choices:
            raise ConfigError(
                f"node {index} ({name}) has {dist} dist and {reduce} reduce inputs; EARG needs "
                "exactly one dist input or exactly one reduce"
            )
    _check_acyclic(config, seen)
    sinks = config.sinks()
    if len(sinks) != 1 and not choices:
        names = ", ".join(config.nodes[i - 1].name for i in sinks)
        raise ConfigError(f"EARG answers from one sink; this graph has {len(sinks)}: {names}")


def _check_spec(node: NodeSpec) -> None:
    for what, value in (("name", node.name), ("version", node.version), ("image", node.image)):
        if not _FIELD.match(value):
            raise ConfigError(f"{what} {value!r} is empty or holds a comma or white space")
    if not -999_999_999 <= node.batch <= 999_999_999:
        raise ConfigError(f"batch {node.batch} of node {node.name} is out of range")


def _check_arity(kind: str, edge: Edge) -> None:
    if kind == "dist" and (len(edge.sources) != 1 or not edge.targets):
        raise ConfigError("a dist edge has exactly one source and at least one target")
    if kind == "reduce" and (len(edge.sources) < 2 or len(edge.targets) != 1):
        raise ConfigError("a reduce edge has at least two sources and exactly one target")


def _check_acyclic(config: StaticConfig, edges: set[tuple[int, int]]) -> None:
    waiting = dict.fromkeys(range(1, len(config.nodes) + 1), 0)
    out: dict[int, list[int]] = {}
    for source, target in edges:
        waiting[target] += 1
        out.setdefault(source, []).append(target)
    free = [index for index, count in waiting.items() if count == 0]
    while free:
        index = free.pop()
        del waiting[index]
        for target in out.get(index, ()):
            waiting[target] -= 1
            if waiting[target] == 0:
                free.append(target)
    if waiting:
        names = ", ".join(config.nodes[i - 1].name for i in sorted(waiting))
        raise ConfigError(f"the graph has a cycle through or before: {names}")


def write_static(config: StaticConfig, *, choices: bool = False) -> str:
    """The exact text of a static config. Raises :class:`ConfigError` as :func:`check_static`."""
    check_static(config, choices=choices)
    edge_lines = _edge_lines(config.dist, config.reduce)
    lines = [str(len(config.nodes)), str(len(edge_lines))]
    lines += [_spec_text(n) for n in config.nodes]
    return "\n".join([*lines, *edge_lines]) + "\n"


def write_runtime(config: RuntimeConfig, *, choices: bool = False) -> str:
    """The exact text of a runtime config. Raises :class:`ConfigError` for what cannot be said.

    ``choices`` as in :func:`check_static`.
    """
    check_static(config.static, choices=choices)
    _check_graph_name(config)
    edge_lines = _edge_lines(config.dist, config.reduce)
    lines = [f"{config.name}-{config.version}", str(len(config.nodes)), str(len(edge_lines))]
    lines.append(f"{config.frontend_name},{config.frontend_id},{config.frontend_ip}")
    for node in config.nodes:
        pairs = (node.primary,) if node.backup is None else (node.primary, node.backup)
        lines.append(",".join([_spec_text(node.spec), *(_pair_text(p) for p in pairs)]))
    return "\n".join([*lines, *edge_lines]) + "\n"


def _check_graph_name(config: RuntimeConfig) -> None:
    for what, value in (("name", config.name), ("version", config.version)):
        if not _GRAPH_NAME.match(value):
            raise ConfigError(
                f"graph {what} {value!r} is empty or holds '-', a comma or white space; "
                "EARG's daemon splits name-version at '-'"
            )


def _spec_text(spec: NodeSpec) -> str:
    stateful = "true" if spec.stateful else "false"
    return f"{spec.name},{spec.version},{spec.image},{stateful},{spec.batch}"


def _pair_text(pair: Pair) -> str:
    fields = (
        pair.model_name,
        pair.model_id,
        pair.model_ip,
        pair.proxy_name,
        pair.proxy_id,
        pair.proxy_ip,
    )
    for value in fields:
        if not _FIELD.match(value):
            raise ConfigError(f"{value!r} is empty or holds a comma or white space")
    return ",".join(fields)


def _edge_lines(dist: Iterable[Edge], reduce: Iterable[Edge]) -> list[str]:
    lines = []
    for kind, edges in (("dist", dist), ("reduce", reduce)):
        texts = [f"{','.join(map(str, e.sources))}->{','.join(map(str, e.targets))}" for e in edges]
        if texts:
            lines.append(f"{kind}[{';'.join(texts)}]")
    return lines


def read_static(text: str, *, choices: bool = False) -> StaticConfig:
    """Read a static config, or raise :class:`ConfigError` with the line and column of a fault.

    ``choices`` as in :func:`check_static`.
    """
    lines = _Lines(text)
    nodes, edge_count = lines.counts()
    specs = []
    for _ in range(nodes):
        fields = lines.fields("name,version,image,stateful,batch", (5,))
        specs.append(_read_spec(lines, fields))
    dist, reduce = _read_edges(lines, edge_count)
    config = StaticConfig(tuple(specs), dist, reduce)
    lines.check(config, choices)
    return config


def read_runtime(text: str, *, choices: bool = False) -> RuntimeConfig:
    """Read a runtime config, or raise :class:`ConfigError` with the line and column of a fault.

    ``choices`` as in :func:`check_static`: the graph has extras, and by them a stateful node may
    also have no backup.
    """
    lines = _Lines(text)
    first = lines.next("name-version")
    name, dash, version = first.partition("-")
    if not dash or not _GRAPH_NAME.match(name) or not _GRAPH_NAME.match(version):
        raise lines.error(f"expected name-version with exactly one '-', found {first!r}")
    nodes, edge_count = lines.counts()
    frontend = lines.fields("frontend-name,frontend-id,frontend-address", (3,))
    _check_address(lines, frontend, 2)
    runtime_nodes = []
    for _ in range(nodes):
        fields = lines.fields(
            "name,version,image,stateful,batch and 6 fields for each model and proxy", (11, 17)
        )
        spec = _read_spec(lines, fields)
        for position in range(7, len(fields), 6):
            _check_address(lines, fields, position)
            _check_address(lines, fields, position + 3)
        if spec.stateful != (len(fields) == 17) and not (choices and spec.stateful):
            raise lines.error(
                "a stateful node has a primary and a backup (17 fields), a stateless one "
                f"one pair (11 fields); {spec.name} has {len(fields)} fields",
                lines.column_of(fields, 3),
            )
        pairs = [Pair(*fields[at : at + 6]) for at in range(5, len(fields), 6)]
        runtime_nodes.append(RuntimeNode(spec, pairs[0], pairs[1] if len(pairs) == 2 else None))
    dist, reduce = _read_edges(lines, edge_count)
    config = RuntimeConfig(
        name, version, frontend[0], frontend[1], frontend[2], tuple(runtime_nodes), dist, reduce
    )
    lines.check(config.static, choices)
    return config


class _Lines:
    """The lines of a config, one after the other, and errors that point into them."""

    def __init__(self, text: str) -> None:
        self.number = 0
        self._edges_at = 0
        if len(text) > MAX_TEXT:
            raise ConfigError(f"the config is longer than {MAX_TEXT} characters", 1, 1)
        if "\r" in text:
            before = text[: text.index("\r")]
            raise ConfigError(
                "line ends must be LF, not CR LF",
                before.count("\n") + 1,
                len(before) - before.rfind("\n"),
            )
        self._lines = text.split("\n")
        if self._lines[-1] != "":
            raise ConfigError(
                "the last line must end with a newline",
                len(self._lines),
                len(self._lines[-1]) + 1,
            )
        self._lines.pop()

    def error(self, message: str, column: int = 1) -> ConfigError:
        return ConfigError(message, max(self.number, 1), column)

    def next(self, expected: str) -> str:
        self.number += 1
        if self.number > len(self._lines):
            raise self.error(f"the config ends where {expected} is expected")
        return self._lines[self.number - 1]

    def counts(self) -> tuple[int, int]:
        found = []
        for what in ("the number of nodes", "the number of edge lines"):
            line = self.next(what)
            if not _COUNT.match(line):
                raise self.error(f"expected {what}, found {line!r}")
            found.append(int(line))
        nodes, edges = found
        if not 1 <= nodes <= MAX_NODES:
            self.number -= 1
            raise self.error(f"the number of nodes must be from 1 to {MAX_NODES}, found {nodes}")
        if edges > len(self._lines):
            raise self.error(f"there are fewer than {edges} edge lines")
        return nodes, edges

    def fields(self, expected: str, counts: tuple[int, ...]) -> list[str]:
        line = self.next(expected)
        fields = line.split(",")
        for position, field in enumerate(fields):
            bad = re.search(r"\s", field)
            if bad or not field:
                raise self.error(
                    "no white space and no empty field is allowed",
                    self.column_of(fields, position) + (bad.start() if bad else 0),
                )
        if len(fields) not in counts:
            wanted = " or ".join(map(str, counts))
            raise self.error(
                f"expected {wanted} fields ({expected}), found {len(fields)}"
                + ("; does the image hold a comma?" if len(fields) > counts[-1] else "")
            )
        return fields

    @staticmethod
    def column_of(fields: list[str], position: int) -> int:
        return sum(len(f) + 1 for f in fields[:position]) + 1

    def rest(self) -> list[str]:
        return self._lines[self.number :]

    def mark_edges(self) -> None:
        self._edges_at = self.number + 1

    def check(self, config: StaticConfig, choices: bool) -> None:
        """Check the whole graph; a fault is shown at the first edge line, where flows are said."""
        try:
            check_static(config, choices=choices)
        except ConfigError as error:
            line = min(self._edges_at, len(self._lines)) or 1
            raise ConfigError(error.message, line, 1) from None


def _read_spec(lines: _Lines, fields: list[str]) -> NodeSpec:
    name, version, image, stateful, batch = fields[:5]
    if stateful not in ("true", "false"):
        raise lines.error(
            f"stateful must be true or false in lower case, found {stateful!r}",
            lines.column_of(fields, 3),
        )
    if not _INTEGER.match(batch):
        raise lines.error(
            f"batch must be a whole number, found {batch!r}", lines.column_of(fields, 4)
        )
    return NodeSpec(name, version, image, stateful == "true", int(batch))


def _check_address(lines: _Lines, fields: list[str], position: int) -> None:
    try:
        ipaddress.IPv4Address(fields[position])
    except ValueError:
        raise lines.error(
            f"expected an IPv4 address, found {fields[position]!r}",
            lines.column_of(fields, position),
        ) from None


def _read_edges(lines: _Lines, count: int) -> tuple[tuple[Edge, ...], tuple[Edge, ...]]:
    left = lines.rest()
    lines.mark_edges()
    if len(left) != count:
        # The first line that is no edge tells most: a node that the header did not count.
        promised = left[:count]
        strange = next((i for i, line in enumerate(promised) if "[" not in line), len(promised))
        lines.number += strange + 1
        raise lines.error(
            f"the header promises {count} edge lines, {len(left)} lines follow the nodes"
        )
    found: dict[str, list[Edge]] = {"dist": [], "reduce": []}
    for _ in range(count):
        line = lines.next("an edge line")
        kind, bracket, body = line.partition("[")
        if kind not in found or not bracket:
            raise lines.error(f"expected dist[...] or reduce[...] in lower case, found {line!r}")
        if not body.endswith("]"):
            raise lines.error("an edge line ends with ']'", len(line) + 1)
        column = len(kind) + 2
        for entry in body[:-1].split(";"):
            found[kind].append(_read_edge(lines, kind, entry, column))
            column += len(entry) + 1
    return tuple(found["dist"]), tuple(found["reduce"])


def _read_edge(lines: _Lines, kind: str, entry: str, column: int) -> Edge:
    left, arrow, right = entry.partition("->")
    if not arrow:
        raise lines.error(f"expected an edge such as 1->2, found {entry!r}", column)
    sides = []
    at = column
    for side in (left, right):
        indexes = []
        for index in side.split(","):
            if not _COUNT.match(index):
                raise lines.error(f"expected a node's number, found {index!r}", at)
            indexes.append(int(index))
            at += len(index) + 1
        sides.append(tuple(indexes))
        at += 1
    edge = Edge(sides[0], sides[1])
    try:
        _check_arity(kind, edge)
    except ConfigError as error:
        raise lines.error(error.message, column) from None
    return edge
