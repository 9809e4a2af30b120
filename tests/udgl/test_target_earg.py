"""Graphs as EARG static configs."""

from __future__ import annotations

from pathlib import Path

import pytest

import udgl
from earg.config import read_static
from earg.extras import Extras, read_extras
from earg.images import read_images
from tests.udgl.fixture_files import FIXTURES, graphs
from udgl.diagnostics import Severity, format_all
from udgl.targets import target, target_names
from udgl.targets.earg import compile_graph, deployed_name, from_static, lower, to_static

EARG = FIXTURES / "earg"
ENDINGS = (".earg", ".extras.yaml", ".images.yaml")


@pytest.mark.parametrize("name", graphs("earg"))
def test_a_graph_compiles_as_its_fixture_says(name: str) -> None:
    graph = udgl.load(EARG / f"{name}.udgl")
    text = (EARG / f"{name}.udgl").read_text(encoding="utf-8")
    written: dict[str, str] = {}
    try:
        compilation = compile_graph(graph)
    except udgl.UdglError as error:
        told = error.diagnostics
    else:
        told = compilation.diagnostics
        stem = "-".join(deployed_name(graph))
        written = {file.name.removeprefix(stem): file.text for file in compilation.files}
        assert written.keys() <= set(ENDINGS)
    assert graph.source == str(EARG / f"{name}.udgl")
    for ending in ENDINGS:
        assert written.get(ending) == expectation(f"{name}{ending}")
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
def test_what_is_written_reads_back_as_the_same(path: Path) -> None:
    lowered = lower(udgl.load(path.with_suffix(".udgl")))
    extras_path = path.with_suffix(".extras.yaml")
    extras_text = expectation(extras_path.name) or ""
    config = read_static(path.read_text(encoding="utf-8"), choices=bool(extras_text))
    assert config == lowered.config
    extras = read_extras(extras_text, config)
    assert extras == (lowered.extras or Extras())
    assert read_extras(lowered.extras_text, config) == extras
    images_path = path.with_suffix(".images.yaml")
    images = read_images(images_path) if images_path.exists() else {}
    assert {image: one.entrypoint for image, one in images.items()} == {
        image: entrypoint for image, (entrypoint, _) in lowered.classes.items()
    }


def test_nothing_but_ends_and_types_is_lost_on_the_way_to_earg_and_back() -> None:
    graph = udgl.load(EARG / "growth.udgl")
    lowered = lower(graph)
    back = from_static(*deployed_name(graph), lowered.config, lowered.extras)
    again = lower(back)
    assert (again.config, again.extras) == (lowered.config, lowered.extras)
    for operator in back.operators:
        before = graph.operator(operator.name)
        for word in ("batch", "dynamic", "stateful", "replicas", "wait", "latency", "timeout"):
            assert getattr(operator, word) == getattr(before, word), (operator.name, word)
        for word in ("cpu", "memory", "gpu", "host"):
            assert getattr(operator, word) == getattr(before, word), (operator.name, word)
        assert (operator.retries, dict(operator.env)) == (before.retries, dict(before.env))
    flows = {(flow.kind, flow.sources): flow for flow in graph.flows}
    assert flows == {(flow.kind, flow.sources): flow for flow in back.flows}


@pytest.mark.parametrize("value", ["", "yes", "1", "a: b", "it's", 'tab\t"\\', "é", "\x85", "# no"])
def test_any_value_of_a_variable_reads_back(value: str) -> None:
    operator = udgl.Operator("null", "1", "a", env=(("No", value), ("b.c-d", "x")))
    graph = udgl.ServingGraph("g", "1", (operator,))
    _, extras = compile_graph(graph).files
    read = read_extras(extras.text, lower(graph).config)
    assert read.of(1).env == operator.env


@pytest.mark.parametrize("seconds", [0.005, 1.5, 90.0, 1e-7, 0.1 + 0.2, 59.999999999])
def test_any_time_reads_back(seconds: float) -> None:
    graph = udgl.ServingGraph("g", "1", (udgl.Operator("A", "1", "a", timeout=seconds),))
    _, extras = compile_graph(graph).files
    assert read_extras(extras.text, lower(graph).config).of(1).timeout == seconds


@pytest.mark.parametrize("size", [1, 999, 2**29, 1_500_000_000, 2**40 + 1, 2**50])
def test_any_amount_of_memory_reads_back(size: int) -> None:
    graph = udgl.ServingGraph("g", "1", (udgl.Operator("A", "1", "a", memory=size, cpu=1 / 3),))
    _, extras = compile_graph(graph).files
    read = read_extras(extras.text, lower(graph).config).of(1)
    assert (read.memory, read.cpu) == (size, 1 / 3)


def test_an_engine_with_containers_heeds_every_factor() -> None:
    text = "meta\nname g, version 1, engine {}\noperator A, image a, gpu 1, memory 1GiB, host b"
    for engine, codes in {"local": ["EARG107"] * 3, "docker": [], "kubernetes": []}.items():
        graph = udgl.parse(text.format(engine))
        assert [d.code for d in compile_graph(graph).diagnostics] == codes
        assert lower(graph).extras == lower(udgl.parse(text.replace(", engine {}", ""))).extras


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
