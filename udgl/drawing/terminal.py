"""Graphs as pictures of characters, for a terminal."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import floor

from udgl.drawing.content import (
    STATEFUL_MARK,
    DrawnEdge,
    batch_words,
    columns,
    cut,
    drawn_edges,
    title,
)
from udgl.drawing.layers import Layers, arrange, heights
from udgl.graph import FlowKind, Operator, ServingGraph
from udgl.writing import flow_text

_UP, _DOWN, _LEFT, _RIGHT = 1, 2, 4, 8

_LINES = {
    _LEFT: "─",
    _RIGHT: "─",
    _UP: "│",
    _DOWN: "│",
    _LEFT | _RIGHT: "─",
    _UP | _DOWN: "│",
    _DOWN | _RIGHT: "┌",
    _DOWN | _LEFT: "┐",
    _UP | _RIGHT: "└",
    _UP | _LEFT: "┘",
    _UP | _DOWN | _RIGHT: "├",
    _UP | _DOWN | _LEFT: "┤",
    _DOWN | _LEFT | _RIGHT: "┬",
    _UP | _LEFT | _RIGHT: "┴",
    _UP | _DOWN | _LEFT | _RIGHT: "┼",
}

_ASCII = str.maketrans(
    {
        **dict.fromkeys("─", "-"),
        **dict.fromkeys("│", "|"),
        **dict.fromkeys("┌┐└┘├┤┬┴┼╓╙", "+"),
        "▶": ">",
        "▼": "v",
        "▲": "^",
        "║": "#",
        "→": "->",
        "…": "~",
        "·": ",",
        STATEFUL_MARK: "*",
    }
)

_ROW = 2
"""Rows from one height to the next; a box is three rows high, and two heights from another."""

_LANE = 3
"""Columns from one lane to the next: an arrow after a lane does not touch the next one."""

_LONGEST_LABEL = 18
_LARGEST_PICTURE = 400_000
"""Characters of a picture; above this a list says more."""


@dataclass(slots=True)
class _Canvas:
    """Lines and text by (row, column); lines that meet are joined when it is read."""

    lines: dict[tuple[int, int], int] = field(default_factory=dict)
    text: dict[tuple[int, int], str] = field(default_factory=dict)
    crossings: set[tuple[int, int]] = field(default_factory=set)

    def across(self, row: int, start: int, end: int) -> None:
        """A line from one column to another, both taken in."""
        for column in range(start, end + 1):
            sides = (_LEFT if column > start else 0) | (_RIGHT if column < end else 0)
            self._add((row, column), sides)

    def down(self, column: int, start: int, end: int) -> None:
        """A line from one row to another, both taken in."""
        for row in range(start, end + 1):
            sides = (_UP if row > start else 0) | (_DOWN if row < end else 0)
            self._add((row, column), sides)

    def write(self, row: int, column: int, text: str) -> None:
        """Text over whatever is there."""
        for character in text:
            wide = columns(character)
            if not wide:
                # It stands over the character before it.
                self.text[row, column - 1] = self.text.get((row, column - 1), " ") + character
                continue
            self.text[row, column] = character
            if wide == 2:
                self.text[row, column + 1] = ""
            column += wide

    def _add(self, at: tuple[int, int], sides: int) -> None:
        self.lines[at] = self.lines.get(at, 0) | sides

    def read(self) -> list[str]:
        """The rows, from the first that holds anything."""
        every = {*self.lines, *self.text}
        if not every:
            return []
        rows: dict[int, dict[int, str]] = {}
        for at in every:
            rows.setdefault(at[0], {})[at[1]] = self._character(at)
        return [
            "".join(
                rows.get(row, {}).get(column, " ")
                for column in range(max(rows.get(row, {0: ""})) + 1)
            ).rstrip()
            for row in range(min(rows), max(rows) + 1)
        ]

    def _character(self, at: tuple[int, int]) -> str:
        if at in self.text:
            return self.text[at]
        # Of two lines that cross and do not meet, one passes behind the other.
        return "│" if at in self.crossings else _LINES.get(self.lines[at], " ")


def draw_text(graph: ServingGraph, width: int, *, ascii_only: bool = False) -> str:
    """The graph as a picture, from left to right, in at most ``width`` columns; where it needs
    more, as a list of its operators and edges, which no line of may be longer for. Each box has a
    name and a batch limit, where there is room."""
    edges = drawn_edges(graph)
    number = {operator.name: i for i, operator in enumerate(graph.operators)}
    layers = arrange(len(number), [(number[e.source], number[e.target]) for e in edges])
    picture: list[str] | None = None
    for full in (True, False):
        labels = [_box_text(operator, full=full) for operator in graph.operators]
        if not _may_fit(layers, labels, width):
            continue
        picture = _picture(layers, edges, number, labels, width)
        if picture is not None:
            break
    body = _listed(graph, edges) if picture is None else [*picture, *_legend(graph, edges)]
    text = "\n".join([title(graph), "", *body]) + "\n"
    return text.translate(_ASCII) if ascii_only else text


def _box_text(operator: Operator, *, full: bool) -> str:
    parts = [operator.name]
    if full:
        parts.append(f"~{operator.batch}" if operator.dynamic else str(operator.batch))
    if operator.stateful:
        parts.append(STATEFUL_MARK)
    return " ".join(parts)


def _may_fit(layers: Layers, labels: Sequence[str], width: int) -> bool:
    """Whether the boxes alone leave room, and a picture is not larger than anybody looks at."""
    widest = [
        max((columns(labels[one]) for one in row if one < layers.vertices), default=0) + 4
        for row in layers.layers
    ]
    tallest = max(len(row) for row in layers.layers)
    return sum(widest) + 4 * (len(widest) - 1) <= width and (
        width * tallest * 2 * _ROW <= _LARGEST_PICTURE
    )


def _picture(
    layers: Layers,
    edges: Sequence[DrawnEdge],
    number: Mapping[str, int],
    labels: Sequence[str],
    width: int,
) -> list[str] | None:
    """The picture's rows; None where it is wider than ``width``."""
    count = layers.vertices
    row = _rows(layers)
    joined = {number[edge.target] for edge in edges if edge.kind is FlowKind.REDUCE}
    said = _labels(layers, edges)
    after: dict[int, list[int]] = {}
    for source, target in layers.pieces():
        after.setdefault(source, []).append(target)
    canvas = _Canvas()
    x = 0
    for place, layer in enumerate(layers.layers):
        boxes = [columns(labels[one]) + 4 for one in layer if one < count]
        end = x + max(boxes, default=1)
        for one in layer:
            if one < count:
                _box(canvas, row[one], x, labels[one], joins=one in joined)
        if place + 1 == len(layers.layers):
            break
        lane_of = _lanes(layer, after, row, count)
        if lane_of is None:
            # What flows straight would run into another line: shift all that follows by one row.
            for later in layers.layers[place + 1 :]:
                for one in later:
                    row[one] += 1
            lane_of = _lanes(layer, after, row, count) or {}
        room = max((columns(said[pair]) + 3 for pair in said if pair[0] in set(layer)), default=0)
        lanes = end + 1
        last = lanes + _LANE * max(lane_of.values(), default=-1)
        start = max(last + 1, end) + room + 2
        for source in layer:
            box_end = x + columns(labels[source]) + 4 if source < count else x
            _connect(
                canvas,
                source,
                after.get(source, ()),
                row,
                box_end,
                start,
                lanes + _LANE * lane_of[source] if source in lane_of else None,
                said,
                count,
            )
        _tell_apart(canvas, layer, after, row, lane_of, lanes, count)
        x = start
        if x > width:
            return None
    rows = canvas.read()
    return rows if max(map(columns, rows), default=0) <= width else None


def _rows(layers: Layers) -> dict[int, int]:
    """The row of the middle of each vertex and bend."""
    count = layers.vertices

    def gap(upper: int, lower: int) -> float:
        return 2.0 if upper < count and lower < count else 1.0

    height = heights(layers, gap)
    found: dict[int, int] = {}
    for layer in layers.layers:
        before: int | None = None
        for place, one in enumerate(layer):
            at = floor(height[one] + 0.5)
            if before is not None:
                at = max(at, before + int(gap(layer[place - 1], one)))
            found[one] = at * _ROW
            before = at
    return found


def _labels(layers: Layers, edges: Sequence[DrawnEdge]) -> dict[tuple[int, int], str]:
    """What is written on the first piece of an edge: a weight or a condition, where no other edge
    shares the line that it stands on."""
    coming: dict[int, int] = {}
    for _, target in layers.pieces():
        coming[target] = coming.get(target, 0) + 1
    return {
        (way[0], way[1]): cut(edge.label, _LONGEST_LABEL)
        for edge, way in zip(edges, layers.ways, strict=True)
        if edge.kind in (FlowKind.SWITCH, FlowKind.SPLIT) and coming[way[1]] == 1
    }


def _box(canvas: _Canvas, row: int, x: int, text: str, *, joins: bool) -> None:
    inner = columns(text) + 2
    top, side, bottom = ("╓", "║", "╙") if joins else ("┌", "│", "└")
    canvas.write(row - 1, x, f"{top}{'─' * inner}┐")
    canvas.write(row, x, f"{side} {text} │")
    canvas.write(row + 1, x, f"{bottom}{'─' * inner}┘")


_Net = tuple[frozenset[int], int]
"""What shares one line: targets, and the bend that flows into them; -1 for all vertices that do. A
bend's line is never shared: it would seem to lead to where the bend comes from."""


def _net(source: int, after: Mapping[int, Sequence[int]], count: int) -> _Net:
    return frozenset(after.get(source, ())), source if source >= count else -1


def _lanes(
    layer: Sequence[int],
    after: Mapping[int, Sequence[int]],
    row: Mapping[int, int],
    count: int,
) -> dict[int, int] | None:
    """The lane, from the left, that the line of each source turns in; vertices of the same targets
    share one, and one that only flows straight on has none. None where lines would have to overlap.

    The line of a source comes in its own row up to its lane, and that of a target leaves in the
    target's row from the first lane of its sources. Where both are one row, the source's lane has
    to be further left than those of the target's other sources: else their lines would overlap, or
    theirs seem to go where only the source's goes.
    """
    nets: dict[_Net, list[int]] = {}
    sources: dict[int, list[int]] = {}
    target_in: dict[int, int] = {}
    for source in layer:
        nets.setdefault(_net(source, after, count), []).append(source)
        for target in after.get(source, ()):
            sources.setdefault(target, []).append(source)
            target_in[row[target]] = target
    net_of = {source: net for net, several in nets.items() for source in several}
    rows = {
        net: [row[one] for one in (*several, *net[0])] for net, several in nets.items() if net[0]
    }
    turning = {net for net, own in rows.items() if min(own) < max(own)}
    later: dict[_Net, set[_Net]] = {}
    waiting = dict.fromkeys(turning, 0)
    for source in layer:
        beside = target_in.get(row[source])
        net = net_of[source]
        if beside is None or net not in turning:
            continue
        for other in dict.fromkeys(net_of[one] for one in sources[beside]):
            if other != net and other in turning and other not in later.setdefault(net, set()):
                later[net].add(other)
                waiting[other] += 1

    def rank(net: _Net) -> tuple[bool, float, int]:
        begin = sum(row[one] for one in nets[net]) / len(nets[net])
        down = sum(row[one] for one in net[0]) / len(net[0]) > begin
        # Downwards the lowest turns first, upwards the highest: so they do not cross.
        return down, -begin if down else begin, nets[net][0]

    ready = [(rank(net), net) for net in turning if not waiting[net]]
    heapq.heapify(ready)
    lane: dict[_Net, int] = {}
    least: dict[_Net, int] = {}
    taken: list[list[tuple[int, int]]] = []
    while ready:
        _, net = heapq.heappop(ready)
        low, high = min(rows[net]), max(rows[net])
        at = least.get(net, 0)
        taken += [[] for _ in range(at + 1 - len(taken))]
        while at < len(taken) and any(low <= b and a <= high for a, b in taken[at]):
            at += 1
        if at == len(taken):
            taken.append([])
        taken[at].append((low, high))
        lane[net] = at
        for other in later.get(net, ()):
            least[other] = max(least.get(other, 0), at + 1)
            waiting[other] -= 1
            if not waiting[other]:
                heapq.heappush(ready, (rank(other), other))
    if len(lane) < len(turning):
        return None
    return {source: lane[net] for source, net in net_of.items() if net in turning}


def _connect(
    canvas: _Canvas,
    source: int,
    targets: Sequence[int],
    row: Mapping[int, int],
    begin: int,
    end: int,
    lane: int | None,
    said: Mapping[tuple[int, int], str],
    count: int,
) -> None:
    """The lines from a source to what comes next, whose column is ``end``."""
    if not targets:
        return
    if lane is not None:
        rows = [row[source], *(row[target] for target in targets)]
        canvas.across(row[source], begin, lane)
        canvas.down(lane, min(rows), max(rows))
    for target in targets:
        start = begin if lane is None or row[target] == row[source] else lane
        canvas.across(row[target], start, end if target >= count else end - 1)
        if target < count:
            canvas.write(row[target], end - 1, "▶")
        label = said.get((source, target))
        if label:
            canvas.write(row[target], end - 4 - columns(label), f" {label} ")


def _tell_apart(
    canvas: _Canvas,
    layer: Sequence[int],
    after: Mapping[int, Sequence[int]],
    row: Mapping[int, int],
    lane_of: Mapping[int, int],
    lanes: int,
    count: int,
) -> None:
    """Marks where lines of different sources cross without meeting, and where one comes into
    another: an arrow says which way, as no reader could know where the line goes from there."""
    through = _LEFT | _RIGHT | _UP | _DOWN
    begin: dict[_Net, set[int]] = {}
    lane: dict[_Net, int] = {}
    for source in layer:
        if source in lane_of:
            net = _net(source, after, count)
            lane[net] = lane_of[source]
            begin.setdefault(net, set()).add(row[source])
    for net, sources in begin.items():
        column = lanes + _LANE * lane[net]
        ends = {row[target] for target in net[0]}
        top, bottom = min(sources | ends), max(sources | ends)
        for at in range(top, bottom + 1):
            lines = canvas.lines.get((at, column), 0)
            if at in sources or not lines & _LEFT:
                continue
            if at not in ends:
                if lines == through:
                    canvas.crossings.add((at, column))
            elif top < at < bottom:
                canvas.crossings.add((at, column))
                canvas.write(at, column + 1, "▶")
            else:
                canvas.write(at, column, "▼" if at == bottom else "▲")


def _legend(graph: ServingGraph, edges: Sequence[DrawnEdge]) -> Iterator[str]:
    signs = []
    if any(operator.stateful for operator in graph.operators):
        signs.append(f"{STATEFUL_MARK} stateful")
    if any(edge.kind is FlowKind.REDUCE for edge in edges):
        signs.append("║ waits for all its sources")
    if any(operator.dynamic for operator in graph.operators):
        signs.append("~ dynamic batch limit")
    if signs:
        yield ""
        yield " · ".join(signs)
    choices = [f for f in graph.flows if f.kind in (FlowKind.SWITCH, FlowKind.SPLIT)]
    if choices:
        yield ""
    for flow in choices:
        yield f"{flow.kind.value} {flow_text(flow)}"


def _listed(graph: ServingGraph, edges: Sequence[DrawnEdge]) -> Iterator[str]:
    going: dict[str, list[DrawnEdge]] = {}
    for edge in edges:
        going.setdefault(edge.source, []).append(edge)
    for operator in graph.operators:
        words = [f"version {operator.version}", batch_words(operator)]
        if operator.stateful:
            words.append("stateful")
        yield f"{operator.name} ({', '.join(words)})"
        for edge in going.get(operator.name, ()):
            label = f" {edge.label}" if edge.kind is FlowKind.SPLIT else ""
            if edge.kind is FlowKind.SWITCH:
                label = f" {edge.label}" if edge.label == "otherwise" else f" when {edge.label}"
            elif edge.kind is FlowKind.REDUCE:
                label = f" (reply {edge.label} of a join)"
            yield f"  → {edge.target}{label}"
