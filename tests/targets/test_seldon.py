"""Seldon's objects, checked with schemas of their fields, and the runtime of a class.

MLServer itself is run by hand only; here its runtime computes on a double of the parts of the
package that it uses, with real arrays.
"""

from __future__ import annotations

import asyncio
import copy
import json
import sys
import types
from typing import Any

import jsonschema
import numpy as np
import pytest

import udgl
from tests.targets.manifests import check, objects, of_kind
from tests.targets.support import golden_graphs
from udgl.targets.seldon import BUCKET, compile_graph

HEAD = "meta\nname G\nversion 1\n"


def compiled(text: str) -> list[dict[str, Any]]:
    try:
        return objects("seldon", text)
    except udgl.UdglError:
        return []


def operators(names: str) -> str:
    return "".join(f"operator {name}\nimage team/{name.lower()}:1\n" for name in names)


def files(text: str) -> dict[str, str]:
    return {file.name: file.text for file in compile_graph(udgl.parse(text)).files}


@pytest.mark.parametrize("graph", golden_graphs())
def test_every_object_is_as_the_schema_says(graph: str) -> None:
    check("seldon", compiled(golden_graphs()[graph]))


@pytest.mark.parametrize("graph", golden_graphs())
def test_what_is_named_is_there(graph: str) -> None:
    found = compiled(golden_graphs()[graph])
    if not found:
        return
    written = files(golden_graphs()[graph])
    servers = {one["metadata"]["name"] for one in of_kind(found, "Server")}
    models = {one["metadata"]["name"] for one in of_kind(found, "Model")}
    for model in of_kind(found, "Model"):
        assert model["spec"]["server"] in servers
        folder = model["spec"]["storageUri"].removeprefix(f"{BUCKET}/")
        settings = json.loads(written[f"{folder}/model-settings.json"])
        assert settings["name"] == model["metadata"]["name"]
        module = settings.get("implementation", "").partition(".")[0]
        assert not module or f"{folder}/{module}.py" in written
    pipelines = of_kind(found, "Pipeline")
    for pipeline in pipelines:
        steps = [step["name"] for step in pipeline["spec"]["steps"]]
        assert set(steps) <= models
        assert len(set(steps)) == len(steps)
        for step in pipeline["spec"]["steps"]:
            assert set(step.get("inputs", ())) <= set(steps)
            assert len(step.get("tensorMap", {})) == len(step.get("inputs", ()))
        assert set(pipeline["spec"]["output"]["steps"]) <= set(steps)
    names = {one["metadata"]["name"] for one in pipelines}
    for experiment in of_kind(found, "Experiment"):
        assert {one["name"] for one in experiment["spec"]["candidates"]} == names
    assert of_kind(found, "Experiment") or len(pipelines) == 1


def test_the_schema_refuses_what_seldon_would() -> None:
    found = objects("seldon", golden_graphs()["reduce"])
    for spoil in (
        lambda one: one["spec"].update(inputs=[]),
        lambda one: one["spec"]["steps"][0].update(inputsJoinType="all"),
        lambda one: one["spec"].pop("steps"),
    ):
        spoilt = copy.deepcopy(of_kind(found, "Pipeline"))
        spoil(spoilt[0])
        with pytest.raises(jsonschema.ValidationError):
            check("seldon", spoilt)


def test_splits_behind_each_other_share_the_requests_as_they_would() -> None:
    text = (
        HEAD + operators("ABCDE") + "flow\nsplit\nA -> B 90%, C 10%\nsplit\nB -> D 50%, E 50%\n"
        "distribute\nC -> D"
    )
    found = objects("seldon", text)
    (experiment,) = of_kind(found, "Experiment")
    weights = {one["name"]: one["weight"] for one in experiment["spec"]["candidates"]}
    assert weights == {"g-by-b-d": 9, "g-by-b-e": 9, "g-by-c": 2}
    steps = {
        one["metadata"]["name"]: [step["name"] for step in one["spec"]["steps"]]
        for one in of_kind(found, "Pipeline")
    }
    assert steps["g-by-c"] == ["g-a", "g-c", "g-d"]


@pytest.mark.parametrize(
    ("flows", "code"),
    [
        ("distribute\nA -> B, C\nB -> D\nC -> D", "SELDON102"),
        ("split\nA -> B 50%, C 50%\nreduce\nB, C -> D", "SELDON103"),
    ],
)
def test_what_a_pipeline_would_do_otherwise_is_refused(flows: str, code: str) -> None:
    with pytest.raises(udgl.UdglError) as raised:
        objects("seldon", HEAD + operators("ABCD") + "flow\n" + flows)
    errors = [d for d in raised.value.diagnostics if d.severity.value == "error"]
    assert [d.code for d in errors] == [code]
    assert errors[0].span is not None


class Tensor:
    """As MLServer's RequestInput and ResponseOutput."""

    def __init__(self, name: str, datatype: str, shape: list[int], data: Any) -> None:
        self.name, self.datatype, self.shape, self.data = name, datatype, shape, data


class NumpyCodec:
    @staticmethod
    def decode_input(tensor: Tensor) -> Any:
        return np.asarray(tensor.data).reshape(tensor.shape)

    @staticmethod
    def encode_output(name: str, values: Any) -> Tensor:
        return Tensor(name, str(values.dtype), list(values.shape), values.reshape(-1).tolist())


class Model:
    def predict(self, request: Any) -> Any:
        if isinstance(request, np.ndarray):
            return request * 2
        return request if isinstance(request, (list, bytes)) else {"got": request}


@pytest.fixture
def mlserver(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {
        "mlserver": {"MLModel": type("MLModel", (), {})},
        "mlserver.codecs": {"NumpyCodec": NumpyCodec},
        "mlserver.errors": {"InferenceError": ValueError},
        "mlserver.types": {
            "InferenceResponse": types.SimpleNamespace,
            "ResponseOutput": Tensor,
        },
        "seldon_model": {"Model": Model},
    }
    for name, values in parts.items():
        module = types.ModuleType(name)
        for word, value in values.items():
            setattr(module, word, value)
        monkeypatch.setitem(sys.modules, name, module)


def answer(factors: str, *tensors: Tensor, more: str = "", name: str = "g-a") -> Tensor:
    """What the runtime of an operator replies."""
    text = HEAD + "operator A\nentrypoint seldon_model:Model\n" + factors + "\n" + more
    written = files(text)
    settings = json.loads(written[f"G-1.seldon/{name}/model-settings.json"])
    space: dict[str, Any] = {}
    exec(written[f"G-1.seldon/{name}/hogar_runtime.py"], space)
    runtime = space["HogarRuntime"]()
    runtime.name, runtime.version = name, "1"
    runtime.inputs = [types.SimpleNamespace(**one) for one in settings["inputs"]]
    runtime.outputs = [types.SimpleNamespace(**one) for one in settings["outputs"]]
    extra = settings["parameters"]["extra"]
    runtime.settings = types.SimpleNamespace(parameters=types.SimpleNamespace(extra=extra))

    async def run() -> Any:
        assert await runtime.load()
        return await runtime.predict(types.SimpleNamespace(id="7", inputs=list(tensors)))

    reply = asyncio.run(run())
    assert (reply.id, reply.model_name) == ("7", name)
    (output,) = reply.outputs
    assert output.name == "OUTPUT"
    return output


@pytest.mark.usefixtures("mlserver")
def test_a_class_takes_what_the_graph_says() -> None:
    two = Tensor("INPUT", "BYTES", [2, 1], [b"up", "down"])
    assert answer("", two).data == [b'{"got": "up"}', b'{"got": "down"}']
    one = Tensor("INPUT", "BYTES", [1, 1], [b'{"a": 1}'])
    assert answer("input json", one).data == [b'{"got": {"a": 1}}']
    assert answer("input audio/wav", Tensor("INPUT", "BYTES", [1, 1], [b"\xff"])).data == [b"\xff"]
    numbers = Tensor("INPUT", "FP32", [2, 2], [1, 2, 3, 4])
    output = answer("input fp32[2], output fp32[2]", numbers)
    assert (output.datatype, output.shape, output.data) == ("float32", [2, 2], [2, 4, 6, 8])


@pytest.mark.usefixtures("mlserver")
def test_a_join_is_handed_a_list_in_the_files_order() -> None:
    more = (
        operators("BC") + "operator D\nentrypoint seldon_model:Model\n"
        "flow\ndistribute\nA -> B, C\nreduce\nC, B -> D"
    )
    output = answer(
        "",
        Tensor("INPUT1", "BYTES", [1, 1], [b"from B"]),
        Tensor("INPUT0", "BYTES", [1, 1], [b"from C"]),
        more=more,
        name="g-d",
    )
    assert output.data == [b'["from C", "from B"]']
