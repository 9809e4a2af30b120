"""KServe's objects, checked with schemas of the fields that they have."""

from __future__ import annotations

import copy
import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import udgl
from earg.condition import Comparison, Condition, holds
from tests.targets.manifests import check, objects, of_kind
from tests.targets.peers import program
from tests.targets.support import golden_graphs


def compiled(text: str) -> list[dict[str, Any]]:
    try:
        return objects("kserve", text)
    except udgl.UdglError:
        return []


@pytest.mark.parametrize("graph", golden_graphs())
def test_every_object_is_as_the_schema_says(graph: str) -> None:
    check("kserve", compiled(golden_graphs()[graph]))


@pytest.mark.parametrize("graph", golden_graphs())
def test_every_step_leads_to_a_service_or_a_node_that_is_there(graph: str) -> None:
    found = compiled(golden_graphs()[graph])
    services = {one["metadata"]["name"] for one in of_kind(found, "InferenceService")}
    for one in of_kind(found, "InferenceGraph"):
        nodes = one["spec"]["nodes"]
        used = {"root"}
        for node in nodes.values():
            names = [step["name"] for step in node["steps"]]
            assert len(set(names)) == len(names)
            for step in node["steps"]:
                assert step.get("serviceName", next(iter(services))) in services
                used |= {step["nodeName"]} if "nodeName" in step else set()
            if node["routerType"] == "Splitter":
                assert sum(step["weight"] for step in node["steps"]) == 100
        assert used == set(nodes)


def test_the_schema_refuses_what_kserve_would() -> None:
    found = objects("kserve", golden_graphs()["split"])
    for spoil in (
        lambda one: one["spec"].update(node={}),
        lambda one: one["spec"]["nodes"].pop("root"),
        lambda one: one["spec"]["nodes"]["root"]["steps"][0].pop("serviceName"),
        lambda one: one["metadata"].update(name="Probe"),
    ):
        spoilt = copy.deepcopy(of_kind(found, "InferenceGraph"))
        spoil(spoilt[0])
        with pytest.raises(jsonschema.ValidationError):
            check("kserve", spoilt)


@pytest.mark.parametrize(
    "condition",
    ["label == null", 'label != ""', 'label == "~true"', "tags contains 3"],
)
def test_a_condition_that_gjson_reads_otherwise_is_refused(condition: str) -> None:
    text = (
        "meta\nname G\nversion 1\noperator A\nimage a\noperator B\nimage b\noperator C\nimage c\n"
        f"flow\nswitch\nA -> B when {condition}, C otherwise"
    )
    with pytest.raises(udgl.UdglError) as raised:
        objects("kserve", text)
    assert [d.code for d in raised.value.diagnostics] == ["KSERVE103"]
    assert raised.value.diagnostics[0].span is not None


@pytest.mark.slow
def test_every_object_is_one_of_the_packages_model_classes() -> None:
    found = [one for text in golden_graphs().values() for one in compiled(text)]
    assert found

    def run(objects: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
        command = [program("kserve", "python"), Path(__file__).with_name("kserve_models.py")]
        return subprocess.run(
            command, input=json.dumps(objects), capture_output=True, text=True, timeout=100
        )

    done = run(found)
    assert done.returncode == 0, done.stderr
    spoilt = copy.deepcopy(found[0])
    spoilt["spec"]["predictor"]["batchers"] = {}
    assert "batchers is unknown" in run([spoilt]).stderr


KEYS = (
    "label",
    "a b",
    "we.ird",
    "x*y",
    "q?",
    "#",
    'na"me',
    "ü",
    "0",
    "@this",
    "back\\slash",
    "a|b",
)
TEXTS = ("x", "a*b", "q?", 'say "hi"', "ü", "0.7", "true", "back\\s", "a\nb", "x)y", "#(", "xx")
NUMBERS = (0, 1, -1, 0.7, 10, 1000.5)


def conditions(count: int) -> Iterator[tuple[str, Any, bool]]:
    """Conditions on values of their own kind: (text, document, whether it holds)."""
    chance = random.Random(8)
    kinds: tuple[tuple[Any, ...], ...] = (TEXTS, NUMBERS, (True, False))
    for _ in range(count):
        keys = chance.sample(KEYS, 3)
        values: dict[str, Any] = {key: chance.choice(chance.choice(kinds)) for key in keys}
        document = {"deep": [values]} if chance.random() < 0.3 else values
        one: Condition | None = None
        for key in chance.sample([*keys, "missing"], chance.choice((1, 1, 2))):
            kind = next((k for k in kinds if values.get(key, "x") in k), TEXTS)
            kind = kinds[2] if isinstance(values.get(key), bool) else kind
            path = ("deep", 0, key) if "deep" in document else (key,)
            comparison = chance.choice(list(Comparison))
            if kind is not TEXTS and comparison is Comparison.CONTAINS:
                continue
            if kind is kinds[2]:
                comparison = chance.choice((Comparison.EQUAL, Comparison.NOT_EQUAL))
            one = Condition(path, comparison, chance.choice(kind), one)
        if one is not None:
            yield str(one), document, holds(one, document)


@pytest.mark.slow
def test_gjson_reads_each_condition_as_the_language_does() -> None:
    wanted = []
    pairs = []
    for text, document, held in conditions(400):
        graph = golden_graphs()["switch"].replace('label == "x" and score >= 0.5', text)
        (one,) = of_kind(objects("kserve", graph), "InferenceGraph")
        (switch,) = (n for n in one["spec"]["nodes"].values() if n["routerType"] == "Switch")
        pairs.append((document, switch["steps"][0]["condition"]))
        wanted.append((text, document, held))
        assert switch["steps"][1]["condition"] == "@this"
    done = subprocess.run(
        [program("kserve", "python"), Path(__file__).with_name("gjson_paths.py")],
        input=json.dumps(pairs),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert {held for _, _, held in wanted} == {True, False}
    found = json.loads(done.stdout)
    told = zip(wanted, pairs, found, strict=True)
    assert not [(one, pair[1]) for one, pair, got in told if got is not one[2]]
