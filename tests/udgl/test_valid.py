"""Graphs that are accepted, and what they mean."""

from __future__ import annotations

from dataclasses import fields
from itertools import zip_longest
from pathlib import Path

import pytest

import udgl
from tests.udgl.fixture_files import FIXTURES, graphs

VALID = FIXTURES / "valid"
DEMO = Path(__file__).parents[2] / "dags" / "sentiment.udgl"


def growth(operator: udgl.Operator) -> list[str]:
    """What the operator has beyond the core, each with the name of its field."""
    told = []
    core = ("name", "version", "image", "batch", "stateful", "span", "spans", "training")
    for what in (operator, operator.training):
        for field in fields(what) if what is not None else ():
            value = getattr(what, field.name)
            if field.name not in core and value != field.default:
                told.append(f"{field.name} {value!r}")
    return told


def tell(graph: udgl.ServingGraph) -> str:
    """The graph, one fact a line."""
    lines = [f"graph {graph.name} version {graph.version}"]
    texts = (
        ("description", graph.description),
        ("owner", graph.owner),
        ("schedule", graph.schedule),
    )
    lines += [f"{what} [{text}]" for what, text in texts if text is not None]
    lines += [f"tag [{tag}]" for tag in graph.tags]
    lines += [f"platform [{platform}]" for platform in graph.platforms]
    lines += [] if graph.engine is None else [f"engine {graph.engine}"]
    for o in graph.operators:
        kind = "stateful" if o.stateful else "stateless"
        lines.append(
            f"operator {o.name} version {o.version} image {o.image} batch {o.batch} {kind}"
        )
        lines += (f"  {fact}" for fact in growth(o))
    for flow in graph.flows:
        how: list[str] = [f" {weight}%" for weight in flow.weights]
        how += (" otherwise" if c is None else f" when [{c}]" for c in flow.conditions)
        targets = [f"{t}{h}" for t, h in zip_longest(flow.targets, how, fillvalue="")]
        lines.append(f"{flow.kind.value} {', '.join(flow.sources)} -> {', '.join(targets)}")
    lines.append(f"entry {graph.entry().name}")
    lines.append(f"exits {', '.join(o.name for o in graph.exits())}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", graphs("valid"))
def test_a_graph_means_what_its_fixture_says(name: str) -> None:
    graph = udgl.load(VALID / f"{name}.udgl")
    assert tell(graph) == (VALID / f"{name}.txt").read_text(encoding="utf-8")


def test_the_demo_is_the_founding_example_byte_for_byte() -> None:
    assert DEMO.read_bytes() == (VALID / "sentiment.udgl").read_bytes()


@pytest.mark.parametrize("name", graphs("valid"))
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: b"\xef\xbb\xbf" + data, id="byte order mark"),
        pytest.param(lambda data: data.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(lambda data: data.replace(b"\n", b"\r"), id="CR"),
        pytest.param(lambda data: data.replace(b"\n", b"\n \t\n"), id="blank lines"),
        pytest.param(lambda data: data.replace(b"\n", b"\n\t\xc2\xa0 "), id="indentation"),
        pytest.param(lambda data: data.replace(b"\n", b"  # \xe2\x86\x92 , x\n"), id="comments"),
        pytest.param(lambda data: data.rstrip(b"\n"), id="no line end at the end"),
        pytest.param(lambda data: data.replace(b" -> ", "→".encode()), id="tight arrows"),
    ],
)
def test_what_means_nothing_changes_nothing(name: str, change: object, tmp_path: Path) -> None:
    original = VALID / f"{name}.udgl"
    changed = tmp_path / "changed.udgl"
    changed.write_bytes(change(original.read_bytes()))  # type: ignore[operator]
    assert udgl.load(changed) == udgl.load(original)


def test_spans_tell_where_names_stand() -> None:
    text = "meta\n name G\n version 7\noperator A, image a\noperator B\nimage b\nflow\ndistribute\n"
    graph = udgl.parse(text + "  A → B\n")
    (flow,) = graph.flows
    assert graph.span == udgl.Span(2, 7, 8)
    assert graph.version_span == udgl.Span(3, 10, 11)
    assert [o.span for o in graph.operators] == [udgl.Span(4, 10, 11), udgl.Span(5, 10, 11)]
    assert flow.span == udgl.Span(9, 3, 8)
    assert flow.name_spans == (udgl.Span(9, 3, 4), udgl.Span(9, 7, 8))


def test_graphs_are_equal_by_meaning_and_can_be_hashed() -> None:
    graph = udgl.load(VALID / "sentiment.udgl")
    again = udgl.parse("# moved down\n" + (VALID / "sentiment.udgl").read_text(encoding="utf-8"))
    assert again == graph
    assert hash(again) == hash(graph)
    assert graph != udgl.load(VALID / "simpledag.udgl")


def test_a_graph_as_networkx_has_its_edges_and_their_kinds() -> None:
    digraph = udgl.load(VALID / "simpledag.udgl").to_networkx()
    assert list(digraph.nodes) == ["c1", "c2", "c3", "c4", "c5"]
    assert set(digraph.edges) == {
        ("c1", "c2"),
        ("c2", "c3"),
        ("c2", "c4"),
        ("c3", "c5"),
        ("c4", "c5"),
    }
    assert digraph.edges["c1", "c2"]["kind"] is udgl.FlowKind.DISTRIBUTE
    assert digraph.edges["c4", "c5"]["kind"] is udgl.FlowKind.REDUCE
    assert digraph.nodes["c2"]["operator"].stateful
