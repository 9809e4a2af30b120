"""Graphs that are written in Python."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import udgl
from tests.udgl.conftest import ROOT
from tests.udgl.strategies import graphs
from udgl import (
    BatchStep,
    EarlyStop,
    Flow,
    FlowKind,
    GraphBuilder,
    Operator,
    ServingGraph,
    Training,
)

QUICK = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

TEXT = """\
meta
name Drowsiness
version 7
owner road team
tags video, safety
operator Detector, image road/detector:v1, batch dynamic 64, wait 5ms, latency 50ms, memory 2GB
  gpu 1, host gpu-box, env LANG=en, env NAME="a b", input json, output json
operator Fatigue, image road/fatigue:v2, timeout 2s, retries 2, cpu 0.5, input json
operator Echo, entrypoint road.echo:Echo, replicas 2
operator Router, image road/router
operator v1, image road/warn:v1
operator v2
  image road/warn:v2, batch 32, 64 from epoch 3, train road.warn:train, epochs 10
  learning-rate 0.01, early-stop accuracy 3, dataset warn.npz, param layers=2
operator Log, image road/log, stateful Yes, backup 1
flow
switch
Detector -> Fatigue when label == "drowsy", Echo otherwise
distribute
Fatigue -> Router
split
Router -> v1 90%, v2 10%
reduce
Echo, v1, v2 -> Log
"""


def built() -> GraphBuilder:
    return (
        GraphBuilder("Drowsiness", 7, owner="road team", tags=["video", "safety"])
        .operator(
            "Detector",
            "road/detector:v1",
            batch=64,
            dynamic=True,
            wait="5ms",
            latency=0.05,
            memory="2GB",
            gpu=1,
            host="gpu-box",
            env={"LANG": "en", "NAME": "a b"},
            input="json",
            output="json",
        )
        .operator(
            "Fatigue", image="road/fatigue:v2", timeout="2s", retries=2, cpu=0.5, input="json"
        )
        .operator("Echo", entrypoint="road.echo:Echo", replicas=2)
        .operator("Router", "road/router")
        .operator("v1", "road/warn:v1")
        .operator(
            "v2",
            "road/warn:v2",
            batch=32,
            batch_steps={3: 64},
            train="road.warn:train",
            epochs=10,
            learning_rate=0.01,
            early_stop="accuracy 3",
            dataset="warn.npz",
            params={"layers": "2"},
        )
        .operator("Log", "road/log", stateful=True, backup=1)
        .switch("Detector", {"Fatigue": 'label == "drowsy"', "Echo": "otherwise"})
        .distribute("Fatigue", "Router")
        .split("Router", {"v1": 90, "v2": 10})
        .reduce(["Echo", "v1"], "Log")
        .reduce(["v2"], "Log")
    )


def test_a_graph_can_be_written_in_python_as_in_text() -> None:
    graph = built().build()
    assert graph == udgl.parse(TEXT)
    assert udgl.parse(udgl.dumps(graph)) == graph


def test_cases_of_one_target_and_of_several_calls_are_one_switch() -> None:
    builder = GraphBuilder("G").operator("A", "a").operator("B", "b").operator("C", "c")
    builder.switch("A", [("B", "x == 1"), ("C", "x == 2"), ("B", "x == 3")])
    graph = builder.switch("A", {"C": None}).build()
    (flow,) = graph.flows
    assert flow.targets == ("B", "C", "B", "C")
    assert flow.conditions == ("x == 1", "x == 2", "x == 3", None)
    assert udgl.parse(udgl.dumps(graph)) == graph


def test_a_built_graph_can_be_hashed_and_not_be_changed() -> None:
    graph = built().build()
    assert len({graph, built().build(), udgl.parse(TEXT)}) == 1
    with pytest.raises(AttributeError):
        graph.name = "Other"  # type: ignore[misc]


def test_a_repr_leaves_out_defaults() -> None:
    assert repr(Operator("A", "1", image="a")) == "Operator('A', '1', image='a')"
    flow = Flow(FlowKind.REDUCE, ("A", "B"), ("C",))
    assert repr(flow) == "Flow(FlowKind.REDUCE, ('A', 'B'), ('C',))"
    graph = ServingGraph("G", "1", (Operator("A", "1", "a"),), owner="me", source="g.udgl")
    assert repr(graph) == (
        "ServingGraph(\n    'G',\n    '1',\n    (\n        Operator('A', '1', image='a'),\n    ),\n"
        "    flows=(),\n    owner='me',\n)"
    )
    assert repr(Training("a:b", epochs=3)) == "Training('a:b', epochs=3)"


@pytest.mark.slow
@QUICK
@given(graphs())
def test_any_graph_is_what_its_repr_says(graph: ServingGraph) -> None:
    names: dict[str, Any] = {}
    exec("from udgl.graph import *", names)
    assert eval(repr(graph), names) == graph
    assert udgl.checked(graph) is graph


def test_networkx_edges_carry_conditions_and_weights() -> None:
    edges = built().build().to_networkx().edges
    assert edges["Detector", "Fatigue"] == {
        "kind": FlowKind.SWITCH,
        "conditions": ('label == "drowsy"',),
    }
    assert edges["Detector", "Echo"]["conditions"] == (None,)
    assert edges["Router", "v1"] == {"kind": FlowKind.SPLIT, "weight": 90}
    assert edges["v1", "Log"] == {"kind": FlowKind.REDUCE}


def a() -> GraphBuilder:
    return GraphBuilder("G").operator("A", "a").operator("B", "b")


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "a name with a space": (lambda: GraphBuilder("a b"), "U014 'a b' cannot name a graph"),
    "a version that is a float": (lambda: GraphBuilder("G", 1.5), "U013 version 1.5 of the"),  # type: ignore[arg-type]
    "tags that are one text": (lambda: GraphBuilder("G", tags="x"), "U013 tags is not a list"),
    "a tag with a comma": (lambda: GraphBuilder("G", tags=["a,b"]), "U013 'a,b' in tags"),
    "a description of two lines": (lambda: GraphBuilder("G", description="a\nb"), "U013 desc"),
    "an operator's name": (lambda: a().operator("1"), "U014 '1' cannot name an operator"),
    "an operator that is there": (lambda: a().operator("A"), "U106 operator 'A' is declared twice"),
    "an image that is none": (lambda: a().operator("C", "x y"), "U013 image 'x y' of operator 'C'"),
    "an image that injects": (lambda: a().operator("C", "x\noperator D"), "U013 image"),
    "a batch of text": (lambda: a().operator("C", batch="3"), "U013 batch '3' of operator 'C'"),  # type: ignore[arg-type]
    "a batch of zero": (lambda: a().operator("C", batch=0), "U109 batch 0 of operator 'C'"),
    "a batch that is true": (lambda: a().operator("C", batch=True), "U013 batch True"),
    "a flag of text": (lambda: a().operator("C", stateful="No"), "U013 stateful 'No'"),  # type: ignore[arg-type]
    "a time without unit": (lambda: a().operator("C", wait="5"), "U013 wait '5' is not a time"),
    "a time that is none": (lambda: a().operator("C", latency=float("nan")), "U125 latency"),
    "a number that is infinite": (lambda: a().operator("C", cpu=float("inf")), "U125 cpu"),
    "memory by half": (lambda: a().operator("C", memory=0.5), "U013 memory 0.5"),  # type: ignore[arg-type]
    "an env name": (lambda: a().operator("C", env={"a b": "c"}), "U013 'a b' in env"),
    "an env value": (lambda: a().operator("C", env={"a": 1}), "U013 a in env"),  # type: ignore[dict-item]
    "an env list": (lambda: a().operator("C", env=["a=b"]), "U013 env is not a mapping"),  # type: ignore[arg-type]
    "epochs of no training": (lambda: a().operator("C", epochs=3), "U129 operator 'C'"),
    "an early stop": (lambda: a().operator("C", train="a:b", early_stop="x"), "U013 early_stop"),
    "no target": (lambda: a().distribute("A"), "U013 the targets of a distribute"),
    "sources that are one text": (lambda: a().reduce("AB", "C"), "U013 sources is not a list"),
    "cases that are a list": (lambda: a().switch("A", ["B"]), "U013 not a mapping of targets"),  # type: ignore[list-item]
    "an open quote": (lambda: a().switch("A", {"B": 'x == "1'}), "U018 'x == \"1' in the switch"),
    "a weight of 100": (lambda: a().split("A", {"B": 100}), "U125 weight 100 of 'B'"),
    "nothing": (lambda: GraphBuilder("G").build(), "U105 the graph has no operator"),
    "no name": (lambda: GraphBuilder("").operator("A", "a").build(), "U101 the graph has no name"),
    "a name that is not declared": (lambda: a().distribute("A", "Bb").build(), "U110 unknown"),
    "no image": (lambda: GraphBuilder("G").operator("A").build(), "U108 operator 'A' has no image"),
    "a cycle": (lambda: a().distribute("A", "B").distribute("B", "A").build(), "U116 a cycle"),
    "a condition that is none": (
        lambda: a().operator("C", "c").switch("A", {"B": "x = 1", "C": None}).build(),
        "U018 expected a comparison",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_in_a_sentence_without_a_file(case: str) -> None:
    make, told = WRONG[case]
    with pytest.raises(udgl.UdglError) as caught:
        make()
    text = str(caught.value)
    assert text.startswith(f"<graph>: {told}")
    # Not where a file would have it, nor how a file would say it.
    assert "write 'meta'" not in text
    assert "line" not in text or "one line" in text


def test_all_that_is_wrong_with_a_whole_graph_is_told_at_once() -> None:
    builder = GraphBuilder("G", source="my graph").operator("A").operator("a", "x")
    with pytest.raises(udgl.UdglError) as caught:
        builder.distribute("A", "B").build()
    assert {d.code for d in caught.value.diagnostics} == {"U107", "U108", "U110"}
    assert str(caught.value).startswith("my graph: ")


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.text('aA1 .-_\n#,:/="\\→>%', max_size=6),
    st.sampled_from([(), ("a",), (("a", "b"),), (("a", "b"), ("a", "c")), [], {}, (None,)]),
    st.sampled_from([Training("a:b"), EarlyStop(0), (BatchStep(2, 2),), "otherwise", "\ud800"]),
)


@settings(QUICK, max_examples=150)
@given(st.data(), st.sampled_from([Operator, Flow, ServingGraph, Training]), JUNK)
def test_a_graph_with_any_value_is_written_as_it_is_or_told_wrong(
    data: st.DataObject, part: type, junk: object
) -> None:
    graph = udgl.parse(TEXT)
    field = data.draw(st.sampled_from([f.name for f in fields(part) if f.compare]))
    operators, flows = list(graph.operators), list(graph.flows)
    number = data.draw(st.integers(0, 3))
    if part is Operator:
        operators[number] = replace(operators[number], **{field: junk})
    elif part is Flow:
        flows[number] = replace(flows[number], **{field: junk})
    elif part is Training:
        training = operators[5].training
        assert training is not None
        operators[5] = replace(operators[5], training=replace(training, **{field: junk}))
    graph = replace(graph, operators=tuple(operators), flows=tuple(flows))
    if part is ServingGraph:
        graph = replace(graph, **{field: junk})
    with contextlib.suppress(udgl.UdglError):
        assert udgl.parse(udgl.dumps(udgl.checked(graph))) == graph
    try:
        text = udgl.dumps(graph)
    except udgl.UdglError:
        return
    found = udgl.examine(text)[0]
    assert found is None or found == graph


def test_the_builder_is_loaded_when_it_is_used() -> None:
    code = "import sys, udgl; print([m for m in sys.modules if m.startswith('udgl.')])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "[]\n"
