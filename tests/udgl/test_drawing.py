"""Drawings of graphs: where things stand, and each form."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import udgl
from tests.udgl.conftest import ROOT
from tests.udgl.fixture_files import FIXTURES
from udgl.cli import main
from udgl.drawing.content import drawn_edges
from udgl.drawing.dot import draw_dot
from udgl.drawing.layers import arrange, heights
from udgl.drawing.mermaid import draw_mermaid
from udgl.drawing.svg import draw_svg
from udgl.drawing.terminal import draw_text
from udgl.graph import Flow, FlowKind, Operator, ServingGraph

SENTIMENT = FIXTURES / "valid/sentiment.udgl"
SVG = "{http://www.w3.org/2000/svg}"

FACES = udgl.parse(
    """\
meta
name Faces
version 1
operator Detector
image a/d:1, batch dynamic 64
operator Fatigue
image a/f:1, stateful Yes, batch 8
operator Echo
image a/e:1
operator v1
image a/v1
operator v2
image a/v2
flow
switch
Detector -> Fatigue when label == "drowsy" and score >= 0.5, Fatigue when label == "<&>"
Detector -> Echo otherwise
split
Echo -> v1 90%, v2 10%
"""
)


@pytest.fixture
def sentiment() -> ServingGraph:
    return udgl.load(SENTIMENT)


def many(count: int) -> ServingGraph:
    """A graph with joins and long edges."""
    operators = tuple(Operator(f"O{i}", "1", "image") for i in range(count))
    flows = [
        Flow(FlowKind.DISTRIBUTE, (f"O{(i - 1) // 3}",), (f"O{i}",))
        for i in range(1, count)
        if i % 7
    ]
    flows += [
        Flow(FlowKind.REDUCE, (f"O{i // 2}", f"O{i // 5}"), (f"O{i}",)) for i in range(7, count, 7)
    ]
    return ServingGraph("Many", "1", operators, tuple(flows))


# --- where things stand -------------------------------------------------------------------------

acyclic = st.integers(1, 12).flatmap(
    lambda count: st.tuples(
        st.just(count),
        st.lists(
            st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(
                lambda pair: pair[0] < pair[1]
            ),
            max_size=20,
            unique=True,
        )
        if count > 1
        else st.just([]),
    )
)


@settings(max_examples=60, deadline=None)
@given(acyclic)
def test_every_edge_leads_to_the_next_layer_and_nothing_overlaps(
    graph: tuple[int, list[tuple[int, int]]],
) -> None:
    count, edges = graph
    layers = arrange(count, edges)
    layer_of = layers.layer_of()
    assert sorted(one for one in layer_of if one < count) == list(range(count))
    for (source, target), way in zip(edges, layers.ways, strict=True):
        assert (way[0], way[-1]) == (source, target)
        assert [layer_of[one] for one in way] == list(range(layer_of[source], layer_of[target] + 1))
    height = heights(layers, lambda _, __: 2.0)
    for layer in layers.layers:
        for upper, lower in itertools.pairwise(layer):
            assert height[lower] - height[upper] >= 2.0 - 1e-6


def test_a_cycle_cannot_be_arranged() -> None:
    with pytest.raises(ValueError, match="has a cycle"):
        arrange(2, [(0, 1), (1, 0)])


def test_edges_that_need_not_cross_do_not() -> None:
    layers = arrange(6, [(0, 5), (1, 4), (2, 3)])
    first, second = layers.layers
    assert [{0: 5, 1: 4, 2: 3}[one] for one in first] == list(second)


# --- in the terminal ----------------------------------------------------------------------------

PICTURE = """\
SentiAnalyzer, version 3

                                       ┌────────────────────┐
                                    ┌─▶│ Senti-Analyzer 1 ◆ │─┐
┌───────────────┐  ┌──────────────┐ │  └────────────────────┘ │  ╓───────────────┐
│ Trancriber 32 │─▶│ Tokenizer 32 │─┤                         ├─▶║ Conclusion 32 │
└───────────────┘  └──────────────┘ │  ┌─────────────────┐    │  ╙───────────────┘
                                    └─▶│ Sub-Analyzer 32 │────┘
                                       └─────────────────┘

◆ stateful · ║ waits for all its sources
"""

ASCII_PICTURE = """\
Faces, version 1

                                         +-------------+
                 +- label == "drowsy"~ ->| Fatigue 8 * |
+--------------+ |                       +-------------+          +------+
| Detector ~64 |-+                                       +- 90% ->| v1 1 |
+--------------+ |                       +--------+      |        +------+
                 +---------- otherwise ->| Echo 1 |------+
                                         +--------+      |        +------+
                                                         +- 10% ->| v2 1 |
                                                                  +------+

* stateful , ~ dynamic batch limit

switch Detector -> Fatigue when label == "drowsy" and score >= 0.5, Fatigue when label == "<&>", \
Echo otherwise
split Echo -> v1 90%, v2 10%
"""

LIST = """\
Faces, version 1

Detector (version 1, batch dynamic 64)
  → Fatigue when label == "drowsy" and score >= 0.5 or label == "<&>"
  → Echo otherwise
Fatigue (version 1, batch 8, stateful)
Echo (version 1, batch 1)
  → v1 90%
  → v2 10%
v1 (version 1, batch 1)
v2 (version 1, batch 1)
"""


def test_the_terminal_shows_the_graph_from_left_to_right(sentiment: ServingGraph) -> None:
    assert draw_text(sentiment, 84) == PICTURE


def test_a_picture_may_be_in_ascii() -> None:
    told = draw_text(FACES, 100, ascii_only=True)
    assert told.isascii()
    assert told == ASCII_PICTURE


def test_a_narrow_terminal_gets_names_alone_and_a_narrower_one_a_list(
    sentiment: ServingGraph,
) -> None:
    narrow = draw_text(sentiment, 74)
    assert "Trancriber │" in narrow
    assert max(map(len, narrow.splitlines())) <= 74
    assert "┌" not in draw_text(sentiment, 60)
    assert draw_text(FACES, 40) == LIST


def test_lines_that_cross_do_not_look_joined() -> None:
    flows = [("A", "B"), ("A", "C"), ("B", "E"), ("C", "D"), ("B", "D"), ("C", "E"), ("B", "F")]
    graph = ServingGraph(
        "X",
        "1",
        tuple(Operator(name, "1", "i") for name in "ABCDEF"),
        tuple(Flow(FlowKind.DISTRIBUTE, (s,), (t,)) for s, t in flows),
    )
    assert "│" in draw_text(graph, 80)
    assert reached(draw_text(graph, 80), "BC", "DEF") == {("B", x) for x in "DEF"} | {
        ("C", x) for x in "DE"
    }


def reached(picture: str, sources: str, targets: str) -> set[tuple[str, str]]:
    """The pairs that a reader of the picture sees connected: follows the lines from the right side
    of each source's box."""
    rows = picture.splitlines()
    sides = {
        "─": "lr", "│": "ud", "┌": "dr", "┐": "dl", "└": "ur", "┘": "ul", "├": "udr", "┤": "udl",
        "┬": "dlr", "┴": "ulr", "┼": "udlr",
    }  # fmt: skip
    step = {"u": (-1, 0), "d": (1, 0), "l": (0, -1), "r": (0, 1)}
    back = {"u": "d", "d": "u", "l": "r", "r": "l"}

    def at(row: int, column: int) -> str:
        return rows[row][column] if 0 <= row < len(rows) and column < len(rows[row]) else " "

    found = set()
    for name in sources:
        row = next(i for i, text in enumerate(rows) if f" {name} 1 │" in text)
        start = rows[row].index(f" {name} 1 │") + len(f" {name} 1 │")
        going, seen = [(row, start, "r")], set()
        while going:
            place = going.pop()
            if place in seen:
                continue
            seen.add(place)
            y, x, way = place
            here = at(y, x)
            if here == "▶" and at(y, x + 1) in "│║":
                found |= {(name, t) for t in targets if rows[y][x + 1 :].startswith(f"│ {t} 1 ")}
                found |= {(name, t) for t in targets if rows[y][x + 1 :].startswith(f"║ {t} 1 ")}
                continue
            ways = []
            if (here == "│" and way in "lr") or here == "▶":
                # It passes behind, or on.
                ways = [way]
            elif here in "▼▲":
                # Another line comes in; from here it goes where that one goes.
                ways = ["r"] if way != "l" else []
            elif back[way] in sides.get(here, ""):
                ways = [other for other in sides[here] if other != back[way]]
                if here == "│" and at(y, x + 1) == "▶":
                    ways.append("r")
            going += [(y + step[other][0], x + step[other][1], other) for other in ways]
    return found


@settings(max_examples=40, deadline=None)
@given(
    st.sets(st.tuples(st.sampled_from("BCDE"), st.sampled_from("VWXYZ")), min_size=1),
    st.sets(st.sampled_from("VWXYZ")),
)
def test_a_reader_sees_exactly_the_edges_of_the_graph(
    edges: set[tuple[str, str]], far: set[str]
) -> None:
    flows = [("A", name) for name in "BCDE"] + sorted(edges)
    flows += [("A", name) for name in sorted(far.intersection(target for _, target in edges))]
    names = sorted({name for pair in flows for name in pair})
    graph = ServingGraph(
        "X",
        "1",
        tuple(Operator(name, "1", "i") for name in names),
        tuple(Flow(FlowKind.DISTRIBUTE, (s,), (t,)) for s, t in flows),
    )
    picture = draw_text(graph, 200)
    assert reached(picture, "ABCDE", "BCDEVWXYZ") == set(flows), picture


# --- forms for other programs -------------------------------------------------------------------


def dot_program() -> tuple[str, dict[str, str]]:
    """Graphviz's ``dot``, of this machine or as scripts/test_tools.sh unpacks it, and the
    environment that it needs."""
    found = shutil.which("dot")
    if found is not None:
        return found, {}
    unpacked = ROOT / "build/test-graphviz"
    for plugins in (unpacked / "usr/lib").glob("*/graphviz"):
        environment = {"GVBINDIR": str(plugins), "LD_LIBRARY_PATH": str(plugins.parent)}
        return str(unpacked / "usr/bin/dot"), environment
    pytest.skip("there is no Graphviz; scripts/test_tools.sh fetches it")


def rendered(text: str) -> ElementTree.Element:
    program, environment = dot_program()
    done = subprocess.run(
        [program, "-Tsvg"],
        input=text.encode(),
        capture_output=True,
        timeout=60,
        env={**os.environ, **environment},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return ElementTree.fromstring(done.stdout)


@pytest.mark.parametrize("name", ["sentiment", "faces"])
def test_graphviz_renders_the_dot(name: str, sentiment: ServingGraph) -> None:
    graph = FACES if name == "faces" else sentiment
    drawn = rendered(draw_dot(graph))
    texts = {element.text for element in drawn.iter(f"{SVG}text")}
    assert {operator.name for operator in graph.operators} <= texts
    edges = drawn_edges(graph)
    joins = {edge.target for edge in edges if edge.kind is FlowKind.REDUCE}
    shown = [e for e in drawn.iter(f"{SVG}g") if e.get("class") == "edge"]
    assert len(shown) == len(edges) + len(joins)
    assert {edge.label for edge in edges if edge.label} <= texts


NASTY = '"]; x --> y <script>alert(1)</script> \\n `# &amp; \x1b[31m\n{}|'


@pytest.fixture
def nasty() -> ServingGraph:
    """A graph that was built in Python, of names that no text can have."""
    return ServingGraph(
        f"G{NASTY}",
        NASTY,
        (Operator(f"A{NASTY}", NASTY, NASTY), Operator("end", "1", "i"), Operator("c", "1", "i")),
        (Flow(FlowKind.SWITCH, (f"A{NASTY}",), ("end", "c"), conditions=(NASTY, None)),),
    )


def test_dot_escapes_what_means_something_to_it(nasty: ServingGraph) -> None:
    drawn = rendered(draw_dot(nasty))
    texts = [element.text or "" for element in drawn.iter(f"{SVG}text")]
    assert any('A"]; x --> y <script>alert(1)</script> \\n `# &amp; ' in text for text in texts)
    assert sum(e.get("class") == "node" for e in drawn.iter(f"{SVG}g")) == 3


MERMAID = """\
---
title: "SentiAnalyzer, version 3"
---
flowchart LR
  n1["<b>Trancriber</b><br/>version 2 · batch 32"]
  n2["<b>Tokenizer</b><br/>version 1 · batch 32"]
  n3(["<b>Senti-Analyzer</b><br/>version 3 · batch 1 · ◆ stateful"])
  n4["<b>Sub-Analyzer</b><br/>version 3 · batch 32"]
  n5["<b>Conclusion</b><br/>version 1 · batch 32"]
  j5(("+"))
  n1 --> n2
  n2 --> n3
  n2 --> n4
  n3 ---|"1"| j5
  n4 ---|"2"| j5
  j5 --> n5
"""


def test_mermaid_shows_operators_and_joins(sentiment: ServingGraph) -> None:
    assert draw_mermaid(sentiment) == MERMAID


def test_mermaid_shows_conditions_and_weights() -> None:
    told = draw_mermaid(FACES)
    drowsy = "label == #34;drowsy#34; and score #62;= 0.5"
    assert f'  n1 -.->|"{drowsy} or label == #34;#60;#38;#62;#34;"| n2' in told
    assert '  n1 -.->|"otherwise"| n3\n' in told
    assert '  n3 ==>|"90%"| n4\n  n3 ==>|"10%"| n5\n' in told


def test_mermaid_gets_nothing_that_means_something_to_it(nasty: ServingGraph) -> None:
    lines = draw_mermaid(nasty).splitlines()
    # Two lines more would be a node or an edge that somebody slipped in.
    assert len(lines) == 4 + 3 + 2
    for line in lines[4:]:
        quoted = re.fullmatch(
            r'  n\d(?:\["([^"]*)"\]|(?: (?:-->|-\.->)(?:\|"([^"]*)"\|)? n\d))', line
        )
        assert quoted, line
        text = re.sub(r"<b>|</b>|<br/>", "", quoted[1] or quoted[2])
        assert not set(re.sub(r"#\d+;", "", text)) & set('"<>&`#;{}[]()|\x1b\\')


def test_svg_is_xml_with_a_title_for_each_operator_and_edge(sentiment: ServingGraph) -> None:
    for graph in (sentiment, FACES):
        drawn = ElementTree.fromstring(draw_svg(graph))
        assert drawn.get("role") == "img"
        titles = {element.text for element in drawn.iter(f"{SVG}title")}
        for operator in graph.operators:
            assert any(title.startswith(f"{operator.name}: version") for title in titles if title)
        for edge in drawn_edges(graph):
            assert any(
                title.startswith(f"{edge.source} → {edge.target}") for title in titles if title
            )
        assert "prefers-color-scheme:dark" in draw_svg(graph)


def test_svg_shows_joins_conditions_and_weights(sentiment: ServingGraph) -> None:
    assert draw_svg(sentiment).count('class="join"') == 1
    drawn = ElementTree.fromstring(draw_svg(FACES))
    labels = [e.text for e in drawn.iter(f"{SVG}text") if e.get("class") == "label"]
    assert labels == ['label == "drowsy" and score >= …', "otherwise", "90%", "10%"]


def test_svg_escapes_what_means_something_to_it(nasty: ServingGraph) -> None:
    drawn = ElementTree.fromstring(draw_svg(nasty))
    assert not list(drawn.iter(f"{SVG}script"))
    assert "\x1b" not in draw_svg(nasty)


def test_the_boxes_of_an_svg_do_not_overlap_and_lie_within_it() -> None:
    drawn = ElementTree.fromstring(draw_svg(many(60)))
    boxes = [
        tuple(float(e.get(key, "")) for key in ("x", "y", "width", "height"))
        for e in drawn.iter(f"{SVG}rect")
        if e.get("class") == "box"
    ]
    assert len(boxes) == 60
    for one, other in itertools.combinations(boxes, 2):
        apart = (
            one[0] + one[2] <= other[0]
            or other[0] + other[2] <= one[0]
            or one[1] + one[3] <= other[1]
            or other[1] + other[3] <= one[1]
        )
        assert apart
    width, height = float(drawn.get("width", "")), float(drawn.get("height", ""))
    assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in boxes)


@pytest.mark.parametrize("draw", [draw_svg, draw_dot, draw_mermaid, lambda g: draw_text(g, 400)])
def test_a_drawing_is_the_same_each_time_and_takes_time_in_proportion(draw: object) -> None:
    assert callable(draw)
    assert draw(many(200)) == draw(many(200))
    started = time.process_time()
    assert len(draw(many(2000))) > 2000
    assert time.process_time() - started < 10


# --- the command --------------------------------------------------------------------------------


def test_draw_prints_a_picture_that_fits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "84")
    assert main(["draw", str(SENTIMENT)]) == 0
    assert capsys.readouterr().out == PICTURE
    monkeypatch.setenv("COLUMNS", "30")
    assert main(["draw", str(SENTIMENT)]) == 0
    assert "Trancriber (version 2, batch 32)\n  → Tokenizer\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ending", "start"), [("svg", "<svg "), ("gv", "digraph "), ("mmd", "---\n"), ("txt", "Senti")]
)
def test_the_ending_of_the_output_says_the_format(
    ending: str, start: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / f"drawing.{ending}"
    assert main(["draw", "-o", str(out), str(SENTIMENT)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert out.read_text(encoding="utf-8").startswith(start)


def test_an_ending_that_says_no_format_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["draw", "-o", "drawing.png", str(SENTIMENT)])
    assert caught.value.code == 2
    assert "say it with --format" in capsys.readouterr().err


def test_a_graph_with_errors_is_not_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["draw", str(FIXTURES / "invalid/ring.udgl")]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "U116" in told.err
