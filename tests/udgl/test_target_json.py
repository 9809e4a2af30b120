"""Graphs as JSON, and the schema that is published for it."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest

import udgl
from tests.udgl.fixture_files import FIXTURES
from tests.udgl.test_difference import GROWN
from udgl.graph import Operator, ServingGraph, Training
from udgl.graph_json import SCHEMA, graph_json
from udgl.targets import target


@pytest.fixture(scope="module")
def validator() -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def compiled(graph: ServingGraph) -> Any:
    (file,) = target("json").compile_graph(graph).files
    assert file.name == f"{graph.name}-{graph.version}.json"
    return json.loads(file.text)


@pytest.mark.parametrize("file", sorted((FIXTURES / "valid").glob("*.udgl")), ids=lambda p: p.stem)
def test_every_graph_fulfils_the_schema(file: Any, validator: Any) -> None:
    graph = udgl.load(file)
    told = compiled(graph)
    validator.validate(told)
    assert [one["name"] for one in told["operators"]] == [one.name for one in graph.operators]
    assert told["entries"] == [graph.entry().name]
    assert told["exits"] == [one.name for one in graph.exits()]


def test_all_of_the_growth_is_told(validator: Any) -> None:
    told = compiled(udgl.parse(GROWN))
    validator.validate(told)
    detector, fatigue, echo, *_ = told["operators"]
    assert (detector["wait"], detector["env"]) == (0.005, {"LANG": "en", "MODE": "fast"})
    assert (echo["memory"], echo["replicas"]) == (512 * 2**20, 2)
    assert fatigue["training"] == {
        "function": "models.f:fit",
        "epochs": 5,
        "schedule": [{"epoch": 1, "batch": 32}, {"epoch": 3, "batch": 64}],
        "learning_rate": None,
        "early_stop": None,
        "dataset": None,
        "params": {"layers": "2"},
    }
    assert told["flows"] == [
        {
            "kind": "switch",
            "sources": ["Detector"],
            "targets": ["Fatigue", "Echo"],
            "conditions": ['label == "drowsy"', None],
        },
        {"kind": "split", "sources": ["Echo"], "targets": ["v1", "v2"], "weights": [90, 10]},
    ]


def test_no_field_of_a_graph_is_left_out() -> None:
    def said(kind: type) -> set[str]:
        return {field.name for field in fields(kind) if field.compare}

    told = graph_json(udgl.parse(GROWN))
    assert set(told) == said(ServingGraph) | {"format", "entries", "exits"}
    assert set(told["operators"][0]) == said(Operator)
    assert set(told["operators"][1]["training"]) == said(Training)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda told: told.pop("name"),
        lambda told: told.update(more=1),
        lambda told: told["operators"][0].update(batch=0),
        lambda told: told["operators"][0].pop("wait"),
        lambda told: told["flows"][0].update(kind="distribute"),
        lambda told: told["flows"][1].update(weights=["90"]),
    ],
)
def test_the_schema_refuses_what_no_graph_is(spoil: Any, validator: Any) -> None:
    told = compiled(udgl.parse(GROWN))
    assert validator.is_valid(told)
    spoil(told)
    assert not validator.is_valid(told)
