"""Where vertices stand in a picture that reads from left to right.

The way of Sugiyama, Tagawa and Toda (1981, "Methods for Visual Understanding of Hierarchical System
Structures"): each vertex in a layer after all that flow into it, an edge over several layers
through a *bend* in each between, the order within layers by the mean of the neighbours' places, and
heights that keep edges straight. The work is in proportion to vertices and bends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

MOST_BENDS = 20_000
"""With more bends than this, long edges have none, and pass under what stands between."""

_ORDERINGS = 8
_LEVELLINGS = 7
_BEND_WEIGHT = 4.0
"""How much more a bend counts than a vertex: a long edge is to be straight."""


@dataclass(frozen=True, slots=True)
class Layers:
    """``layers`` has the numbers of vertices and bends of each layer, from top to bottom: a vertex
    is below ``vertices``, a bend is not. ``ways`` has for each edge all that it passes, its source
    first and its target last."""

    vertices: int
    layers: tuple[tuple[int, ...], ...]
    ways: tuple[tuple[int, ...], ...]

    def layer_of(self) -> dict[int, int]:
        """The layer of each vertex and bend."""
        return {one: number for number, layer in enumerate(self.layers) for one in layer}

    def pieces(self) -> tuple[tuple[int, int], ...]:
        """Each pair that an edge passes one after the other, once."""
        return tuple(dict.fromkeys(pair for way in self.ways for pair in pairwise(way)))


def arrange(vertices: int, edges: Sequence[tuple[int, int]]) -> Layers:
    """The layers of a graph of the vertices 0, 1, ...; raises ValueError where it has a cycle."""
    depth = _depths(vertices, edges)
    layers: list[list[int]] = [[] for _ in range(max(depth, default=0) + 1)]
    for vertex in range(vertices):
        layers[depth[vertex]].append(vertex)
    bends = sum(depth[target] - depth[source] - 1 for source, target in edges)
    number = vertices
    ways = []
    for source, target in edges:
        between = range(depth[source] + 1, depth[target]) if bends <= MOST_BENDS else range(0)
        for layer in between:
            layers[layer].append(number + layer - between.start)
        ways.append((source, *range(number, number + len(between)), target))
        number += len(between)
    unordered = Layers(vertices, tuple(map(tuple, layers)), tuple(ways))
    return Layers(vertices, _ordered(unordered), tuple(ways))


def heights(layers: Layers, gap: Callable[[int, int], float]) -> dict[int, float]:
    """How far down each vertex and bend stands, such that neighbours of a layer are at least
    ``gap(upper, lower)`` apart, and edges as straight as can be."""
    above, below = _neighbours(layers.pieces())
    height: dict[int, float] = {}
    for layer in layers.layers:
        at = 0.0
        for place, one in enumerate(layer):
            at += gap(layer[place - 1], one) if place else 0.0
            height[one] = at
        middle = at / 2
        for one in layer:
            height[one] -= middle
    count = len(layers.layers)
    for turn in range(_LEVELLINGS):
        forth = turn % 2 == 0
        near = above if forth else below
        for number in range(count) if forth else reversed(range(count)):
            layer = layers.layers[number]
            wanted = []
            for one in layer:
                others = near.get(one) or (one,)
                wanted.append(sum(height[other] for other in others) / len(others))
            gaps = [gap(upper, lower) for upper, lower in pairwise(layer)]
            weights = [1.0 if one < layers.vertices else _BEND_WEIGHT for one in layer]
            height.update(zip(layer, _spread(wanted, weights, gaps), strict=True))
    return height


def _depths(vertices: int, edges: Iterable[tuple[int, int]]) -> list[int]:
    """The longest way to each vertex, in edges."""
    targets: list[list[int]] = [[] for _ in range(vertices)]
    waiting = [0] * vertices
    for source, target in edges:
        targets[source].append(target)
        waiting[target] += 1
    depth = [0] * vertices
    ready = [vertex for vertex in range(vertices) if not waiting[vertex]]
    for vertex in ready:
        for target in targets[vertex]:
            depth[target] = max(depth[target], depth[vertex] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    if len(ready) < vertices:
        raise ValueError("the graph has a cycle, so it cannot be drawn from left to right")
    return depth


def _neighbours(
    pieces: Iterable[tuple[int, int]],
) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """For each vertex and bend those before it, and those after it."""
    above: dict[int, list[int]] = {}
    below: dict[int, list[int]] = {}
    for source, target in pieces:
        above.setdefault(target, []).append(source)
        below.setdefault(source, []).append(target)
    return above, below


def _ordered(layers: Layers) -> tuple[tuple[int, ...], ...]:
    """The layers, sorted by the mean place of the neighbours: forth and back, and again. The order
    with the fewest crossings that was met is kept."""
    above, below = _neighbours(layers.pieces())
    rows = [list(layer) for layer in layers.layers]
    place = {one: float(at) for row in rows for at, one in enumerate(row)}
    best, fewest = [list(row) for row in rows], _crossings(rows, above, place)
    for turn in range(_ORDERINGS):
        if not fewest:
            break
        forth = turn % 2 == 0
        near = above if forth else below
        for row in rows if forth else reversed(rows):
            mean = {}
            for one in row:
                others = near.get(one) or (one,)
                mean[one] = sum(place[other] for other in others) / len(others)
            row.sort(key=mean.__getitem__)
            place.update({one: float(at) for at, one in enumerate(row)})
        crossings = _crossings(rows, above, place)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    return tuple(map(tuple, best))


def _crossings(rows: list[list[int]], above: dict[int, list[int]], place: dict[int, float]) -> int:
    """How many pairs of edges cross, counted in n log n with a tree of sums (Barth, Mutzel and
    Juenger, 2004, "Simple and Efficient Bilayer Cross Counting")."""
    total = 0
    for number, row in enumerate(rows[1:], start=1):
        size = len(rows[number - 1])
        tree = [0] * (size + 1)
        seen = 0
        for one in row:
            # Long edges without bends come from further away, and are not counted.
            ends = sorted(int(place[other]) for other in above.get(one, ()) if place[other] < size)
            for end in ends:
                at, before = end + 1, 0
                while at:
                    before += tree[at]
                    at &= at - 1
                total += seen - before
            for end in ends:
                seen += 1
                at = end + 1
                while at <= size:
                    tree[at] += 1
                    at += at & -at
    return total


def _spread(wanted: list[float], weights: list[float], gaps: list[float]) -> list[float]:
    """The places nearest to ``wanted`` (weighted least squares) that are ``gaps`` apart at least:
    pooling of neighbours that would come too near (isotonic regression)."""
    shift = [0.0]
    for gap in gaps:
        shift.append(shift[-1] + gap)
    pools: list[tuple[float, float, int]] = []
    for want, weight, moved in zip(wanted, weights, shift, strict=True):
        total, heavy, count = (want - moved) * weight, weight, 1
        while pools and pools[-1][0] * heavy > total * pools[-1][1]:
            before, weighed, several = pools.pop()
            total, heavy, count = total + before, heavy + weighed, count + several
        pools.append((total, heavy, count))
    level = [total / heavy for total, heavy, count in pools for _ in range(count)]
    return [at + moved for at, moved in zip(level, shift, strict=True)]
