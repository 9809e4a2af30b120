"""KServe's objects, checked with schemas of the fields that they have."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import udgl
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
