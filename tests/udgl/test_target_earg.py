"""Graphs as EARG static configs."""

from __future__ import annotations

import pytest

import udgl
from earg.config import read_static
from tests.udgl.fixture_files import FIXTURES, graphs
from udgl.diagnostics import Severity, format_all
from udgl.targets import target, target_names
from udgl.targets.earg import compile_graph, deployed_name, to_static

EARG = FIXTURES / "earg"


@pytest.mark.parametrize("name", graphs("earg"))
def test_a_graph_compiles_as_its_fixture_says(name: str) -> None:
    graph = udgl.load(EARG / f"{name}.udgl")
    text = (EARG / f"{name}.udgl").read_text(encoding="utf-8")
    try:
        compilation = compile_graph(graph)
    except udgl.UdglError as error:
        written, told = None, error.diagnostics
    else:
        (file,) = compilation.files
        written, told = file.text, compilation.diagnostics
    assert graph.source == str(EARG / f"{name}.udgl")
    assert written == expectation(f"{name}.earg")
    assert format_all(told, f"{name}.udgl", text) == (expectation(f"{name}.txt") or "").strip("\n")


def expectation(name: str) -> str | None:
    """A fixture's text, or None where there is none."""
    path = EARG / name
    return path.read_text(encoding="utf-8") if path.exists() else None


def test_the_protocols_example_is_written_exactly() -> None:
    (file,) = compile_graph(udgl.load(EARG / "simpledag.udgl")).files
    assert file.name == "simpledag-test.earg"
    assert file.text == (
        "5\n2\n"
        "c1,test,hogar/echo:1,false,64\n"
        "c2,test,hogar/echo:1,true,64\n"
        "c3,test,hogar/echo:1,false,64\n"
        "c4,test,hogar/echo:1,false,64\n"
        "c5,test,hogar/echo:1,false,64\n"
        "dist[1->2;2->3,4]\n"
        "reduce[3,4->5]\n"
    )


@pytest.mark.parametrize("path", sorted(EARG.glob("*.earg")), ids=lambda path: path.stem)
def test_what_is_written_reads_back_as_the_same_config(path: object) -> None:
    name = path.stem  # type: ignore[attr-defined]
    text = (EARG / f"{name}.earg").read_text(encoding="utf-8")
    assert read_static(text) == to_static(udgl.load(EARG / f"{name}.udgl"))


def test_hyphens_of_the_graphs_name_are_mapped_with_a_warning() -> None:
    graph = udgl.load(EARG / "hyphens.udgl")
    compilation = compile_graph(graph)
    assert deployed_name(graph) == ("my_graph", "1.0_rc_1")
    assert [file.name for file in compilation.files] == ["my_graph-1.0_rc_1.earg"]
    assert [d.severity for d in compilation.diagnostics] == [Severity.WARNING] * 2


def built(*flows: udgl.Flow, image: str = "image", operators: str = "AB") -> udgl.ServingGraph:
    declared = tuple(udgl.Operator(name, "1", image) for name in operators)
    return udgl.ServingGraph("built", "1", declared, flows)


def distribute(source: str, *targets: str) -> udgl.Flow:
    return udgl.Flow(udgl.FlowKind.DISTRIBUTE, (source,), targets)


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (built(operators=""), "at least one node"),
        (built(distribute("A", "B"), image="two words"), "white space"),
        (built(distribute("A", "B"), image="a,b"), "comma"),
        (built(distribute("A", "C"), operators="A"), "'C', which is not declared"),
        (built(distribute("A", "B"), distribute("B", "A")), "node 1 (A) must be the entry"),
    ],
)
def test_a_graph_built_in_python_that_makes_no_sense_is_refused(
    graph: udgl.ServingGraph, reason: str
) -> None:
    with pytest.raises(udgl.UdglError) as caught:
        to_static(graph)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "EARG100"
    assert reason in diagnostic.message


def test_targets_are_found_by_their_files() -> None:
    assert "earg" in target_names()
    assert target("earg").compile_graph(udgl.load(EARG / "one_node.udgl")).files
    with pytest.raises(KeyError):
        target("__init__")
