"""Graphs as SVG, without Graphviz: a file that needs nothing else, light or dark as its reader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from xml.sax.saxutils import escape

from udgl.drawing.content import (
    STATEFUL_MARK,
    DrawnEdge,
    columns,
    cut,
    drawn_edges,
    operator_words,
    runs_from,
    title,
)
from udgl.drawing.layers import Layers, arrange, heights
from udgl.graph import FlowKind, Operator, ServingGraph

_MARGIN, _HEADING = 24, 40
_BOX, _APART, _BEND_APART = 50, 22, 18
_NAME_WIDTH, _WORDS_WIDTH, _LABEL_WIDTH = 8.6, 6.3, 6.0
"""Pixels of a character: wider than those of common fonts, so that no text leaves its box."""

_PADDING = 14
_CHANNEL = 56
_JOIN_ROOM = 22
_LONGEST_NAME, _LONGEST_WORDS, _LONGEST_LABEL = 40, 60, 32

_STYLE = """\
svg{--ink:#1f2328;--soft:#59636e;--line:#818b98;--box:#f6f8fa;--edge:#59636e;--page:#ffffff;\
--state:#8250df;--switch:#9a6700;--split:#0969da}
@media (prefers-color-scheme:dark){svg{--ink:#f0f6fc;--soft:#9198a1;--line:#656c76;--box:#212830;\
--edge:#9198a1;--page:#0d1117;--state:#ab7df8;--switch:#d29922;--split:#4493f8}}
text{font-family:system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:var(--ink)}
.page{fill:var(--page)}
.heading{font-size:15px;font-weight:600}
.name{font-size:14px;font-weight:600}
.words{font-size:11px;fill:var(--soft)}
.box{fill:var(--box);stroke:var(--line);stroke-width:1.2}
.stateful .box{stroke:var(--state);stroke-width:2}
.edge{fill:none;stroke:var(--edge);stroke-width:1.4}
.tip{fill:var(--edge)}
.switch .edge{stroke:var(--switch);stroke-dasharray:6 3}
.switch .tip,.switch .label{fill:var(--switch)}
.split .edge{stroke:var(--split);stroke-dasharray:2 3}
.split .tip,.split .label{fill:var(--split)}
.join{fill:var(--edge)}
.label{font-size:10.5px;fill:var(--soft);paint-order:stroke;stroke:var(--page);stroke-width:3px}
"""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a vertex or a bend is: its left and right end, and its middle from the top."""

    left: float
    right: float
    y: float


def draw_svg(graph: ServingGraph) -> str:
    """The graph as an SVG document, from left to right; a violet box is stateful, a bar is a join
    that waits for all its sources, dashed edges are switches and dotted ones splits. Each operator
    and edge has a ``<title>``, which screen readers read and browsers show."""
    return "\n".join(_lines(graph)) + "\n"


def _lines(graph: ServingGraph) -> Iterator[str]:
    edges = drawn_edges(graph)
    number = {operator.name: i for i, operator in enumerate(graph.operators)}
    layers = arrange(len(number), [(number[e.source], number[e.target]) for e in edges])
    joined = {edge.target for edge in edges if edge.kind is FlowKind.REDUCE}
    widths = [_box_width(operator) for operator in graph.operators]
    places = _places(layers, widths, edges, {number[name] for name in joined})
    width = max([place.right for place in places.values()], default=0.0) + _MARGIN
    width = max(width, 2 * _MARGIN + columns(title(graph)) * _NAME_WIDTH)
    height = max([place.y for place in places.values()], default=0.0) + _BOX / 2 + _MARGIN
    size = f"{_n(width)} {_n(height)}"
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" width="{_n(width)}" '
        f'height="{_n(height)}" role="img" aria-labelledby="title description">'
    )
    yield f'<title id="title">{_text(title(graph))}</title>'
    yield f'<desc id="description">{_text(_description(graph))}</desc>'
    yield f"<style>\n{_STYLE}</style>"
    yield '<rect class="page" width="100%" height="100%"/>'
    yield f'<text class="heading" x="{_MARGIN}" y="{_MARGIN + 6}">{_text(title(graph))}</text>'
    for edge, way in zip(edges, layers.ways, strict=True):
        yield _edge(edge, [places[one] for one in way], both=edge.target in joined)
    for operator in graph.operators:
        place = places[number[operator.name]]
        if operator.name in joined:
            yield _join(operator.name, place)
        yield _box(operator, place)
    yield "</svg>"


def _description(graph: ServingGraph) -> str:
    count = len(graph.operators)
    exits = ", ".join(operator.name for operator in graph.exits()[:8])
    return (
        f"A serving graph of {count} operator{'s' if count != 1 else ''}, from left to right. "
        f"Replies come from {exits}."
    )


def _box_width(operator: Operator) -> float:
    name = columns(cut(operator.name, _LONGEST_NAME)) * _NAME_WIDTH
    words = columns(cut(operator_words(operator), _LONGEST_WORDS)) * _WORDS_WIDTH
    return max(name, words) + 2 * _PADDING


def _places(
    layers: Layers, widths: Sequence[float], edges: Sequence[DrawnEdge], joined: set[int]
) -> Mapping[int, _Place]:
    count = layers.vertices

    def gap(upper: int, lower: int) -> float:
        bends = (upper >= count) + (lower >= count)
        return (_BOX + _APART, _BOX / 2 + _BEND_APART, _BEND_APART)[bends]

    height = heights(layers, gap)
    top = _MARGIN + _HEADING + _BOX / 2 - min(height.values(), default=0.0)
    layer_of = layers.layer_of()
    labels = [0.0] * (len(layers.layers) + 1)
    for edge, way in zip(edges, layers.ways, strict=True):
        layer = layer_of[way[0]]
        room = columns(cut(edge.label, _LONGEST_LABEL)) * _LABEL_WIDTH
        labels[layer] = max(labels[layer], room)
    places = {}
    x = float(_MARGIN)
    for layer, row in enumerate(layers.layers):
        widest = max((widths[one] for one in row if one < count), default=0.0)
        for one in row:
            right = x + (widths[one] if one < count else widest)
            places[one] = _Place(x, right, top + height[one])
        x += widest + _CHANNEL + labels[layer]
        if layer + 1 < len(layers.layers) and joined.intersection(layers.layers[layer + 1]):
            x += _JOIN_ROOM
    return places


def _edge(edge: DrawnEdge, way: Sequence[_Place], *, both: bool) -> str:
    """``both`` says that the target has a join, so that other edges go past it."""
    end = way[-1]
    joins = edge.kind is FlowKind.REDUCE
    stop = _Place(end.left - (_JOIN_ROOM if joins else 9), end.right, end.y)
    if both and not joins:
        stop = _Place(end.left - 9, end.right, end.y - _BOX / 3)
    points = [way[0], *way[1:-1], stop]
    path = [f"M{_n(way[0].right)} {_n(way[0].y)}"]
    for before, after in pairwise(points):
        middle = (before.right + after.left) / 2
        bow = f"C{_n(middle)} {_n(before.y)} {_n(middle)} {_n(after.y)}"
        path.append(f"{bow} {_n(after.left)} {_n(after.y)}")
        if after is not points[-1]:
            path.append(f"H{_n(after.right)}")
    said = f": {edge.label}" if edge.label and not joins else ""
    order = f", reply {edge.label} of a join" if joins else ""
    parts = [
        f'<g class="{edge.kind.value}">',
        f"<title>{_text(f'{edge.source} → {edge.target}{said}{order}')}</title>",
        f'<path class="edge" d="{" ".join(path)}"/>',
    ]
    if not joins:
        parts.append(_tip(stop.left, stop.y))
    if edge.label and not joins:
        first = points[1]
        parts.append(
            f'<text class="label" text-anchor="end" x="{_n(first.left - 4)}" '
            f'y="{_n(first.y - 5)}">{_text(cut(edge.label, _LONGEST_LABEL))}</text>'
        )
    return "".join([*parts, "</g>"])


def _tip(x: float, y: float) -> str:
    return f'<path class="tip" d="M{_n(x)} {_n(y - 4)}l9 4-9 4z"/>'


def _join(name: str, place: _Place) -> str:
    x, y = place.left - _JOIN_ROOM, place.y
    return (
        f"<g><title>{_text(f'{name} gets the replies of all together')}</title>"
        f'<rect class="join" x="{_n(x)}" y="{_n(y - 14)}" width="4" height="28" rx="1"/>'
        f'<path class="edge" d="M{_n(x + 4)} {_n(y)}H{_n(place.left - 9)}"/>'
        f"{_tip(place.left - 9, y)}</g>"
    )


def _box(operator: Operator, place: _Place) -> str:
    words = operator_words(operator)
    kind = "stateful" if operator.stateful else "plain"
    told = "; ".join(filter(None, (f"{operator.name}: {words}", runs_from(operator))))
    x = _n(place.left + _PADDING)
    return (
        f'<g class="{kind}">'
        f"<title>{_text(told.replace(f'{STATEFUL_MARK} ', ''))}</title>"
        f'<rect class="box" x="{_n(place.left)}" y="{_n(place.y - _BOX / 2)}" '
        f'width="{_n(place.right - place.left)}" height="{_BOX}" rx="7"/>'
        f'<text class="name" x="{x}" y="{_n(place.y - 3)}">'
        f"{_text(cut(operator.name, _LONGEST_NAME))}</text>"
        f'<text class="words" x="{x}" y="{_n(place.y + 15)}">'
        f"{_text(cut(words, _LONGEST_WORDS))}</text></g>"
    )


def _n(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def _text(text: str) -> str:
    """``text`` as XML; what XML cannot hold is left out."""
    return escape("".join(c if c.isprintable() else " " for c in text), {'"': "&quot;"})
