"""Triton's files, read back with Triton's own protobuf, and its Python models run.

Triton itself cannot be had without its container images: the Python models run against a double of
``triton_python_backend_utils`` that has what they use, with real arrays.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

import udgl
from tests.targets.support import golden_graphs
from udgl.targets.triton import compile_graph


def files(text: str) -> dict[str, str]:
    return {file.name: file.text for file in compile_graph(udgl.parse(text)).files}


def configs(text: str) -> dict[str, Any]:
    """Each model's ModelConfig, by its name."""
    found = {}
    for name, content in files(text).items():
        if name.endswith("/config.pbtxt"):
            config = text_format.Parse(content, model_config_pb2.ModelConfig())
            assert config.name == name.split("/")[-2]
            found[config.name] = config
    return found


@pytest.mark.parametrize("graph", golden_graphs())
def test_every_configuration_is_read_by_tritons_own_protobuf(graph: str) -> None:
    try:
        found = configs(golden_graphs()[graph])
    except udgl.UdglError:
        return
    ensemble = found.pop("SentiAnalyzer" if graph == "sentiment" else list(found)[-1])
    made = {"INPUT"}
    steps = list(ensemble.ensemble_scheduling.step)
    for step in steps:
        model = found[step.model_name]
        assert set(step.input_map) == {tensor.name for tensor in model.input}
        assert set(step.output_map) == {"OUTPUT"}
        made |= set(step.output_map.values())
    # Nothing is taken that no step makes, and each output is made.
    assert all(set(step.input_map.values()) <= made for step in steps)
    assert {tensor.name for tensor in ensemble.output} <= made
    assert ensemble.max_batch_size == min(model.max_batch_size for model in found.values())


def test_the_founding_graph_says_what_its_operators_are() -> None:
    found = configs(golden_graphs()["sentiment"])
    assert found["Tokenizer"].max_batch_size == 32
    assert found["Tokenizer"].HasField("dynamic_batching")
    assert found["Senti-Analyzer"].HasField("sequence_batching")
    assert [tensor.name for tensor in found["Conclusion"].input] == ["INPUT0", "INPUT1"]


def test_factors_become_fields() -> None:
    text = (
        "meta\nname G\nversion 1\noperator A\nversion 4, image a:1\nbatch 8, wait 2.5ms\n"
        'replicas 2, gpu 2, input fp32[3x?], output int64[2]\nenv GREETING="h\\u00e4, \\"x\\""'
    )
    (config,) = configs(text).values()
    assert config.dynamic_batching.max_queue_delay_microseconds == 2500
    group = config.instance_group[0]
    assert (group.count, group.kind, list(group.gpus)) == (2, group.KIND_GPU, [0, 1])
    assert list(config.version_policy.specific.versions) == [4]
    (tensor,) = config.input
    assert (tensor.data_type, list(tensor.dims)) == (model_config_pb2.TYPE_FP32, [3, -1])
    assert config.output[0].data_type == model_config_pb2.TYPE_INT64
    assert config.parameters["env.GREETING"].string_value == 'hä, "x"'


class Tensor:
    def __init__(self, name: str, array: Any) -> None:
        self.name, self.array = name, array

    def as_numpy(self) -> Any:
        return self.array


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("triton_python_backend_utils")
    module.Tensor = Tensor  # type: ignore[attr-defined]
    module.TritonError = str  # type: ignore[attr-defined]
    module.InferenceResponse = (  # type: ignore[attr-defined]
        lambda output_tensors=(), error=None: types.SimpleNamespace(
            tensors={tensor.name: tensor.array for tensor in output_tensors}, error=error
        )
    )
    module.get_input_tensor_by_name = (  # type: ignore[attr-defined]
        lambda request, name: Tensor(name, request[name])
    )
    module.get_output_config_by_name = (  # type: ignore[attr-defined]
        lambda config, name: next(one for one in config["output"] if one["name"] == name)
    )
    module.triton_string_to_numpy = (  # type: ignore[attr-defined]
        lambda name: {"TYPE_STRING": np.object_, "TYPE_FP32": np.float32}[name]
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", module)
    return module


def python_model(factors: str, tmp_path: Path, more: str = "", name: str = "A") -> Any:
    """The Python model of an operator with ``factors``, initialized."""
    text = f"meta\nname G\nversion 1\noperator A\nentrypoint own_model:Model\n{factors}\n{more}"
    made = files(text)
    code = next(content for path, content in made.items() if path.endswith(f"/{name}/1/model.py"))
    scope: dict[str, Any] = {}
    exec(compile(code, "model.py", "exec"), scope)
    config = next(c for path, c in made.items() if path.endswith(f"/{name}/config.pbtxt"))
    parsed = text_format.Parse(config, model_config_pb2.ModelConfig())
    types_by_number = {v: k for k, v in model_config_pb2.DataType.items()}
    as_triton = {
        "parameters": {k: {"string_value": v.string_value} for k, v in parsed.parameters.items()},
        "output": [
            {"name": one.name, "data_type": types_by_number[one.data_type]} for one in parsed.output
        ],
    }
    model = scope["TritonPythonModel"]()
    model.initialize({"model_config": json.dumps(as_triton)})
    return model


@pytest.fixture
def own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_model.py").write_text(
        "import os\n"
        "class Model:\n"
        "    def predict_batch(self, requests):\n"
        "        if any(isinstance(r, str) and r == 'fail' for r in requests):\n"
        "            raise ValueError('no')\n"
        "        return [self.one(request) for request in requests]\n"
        "    def one(self, request):\n"
        "        if isinstance(request, str): return request.upper() + os.environ.get('END', '')\n"
        "        if isinstance(request, (dict, list)): return {'got': request}\n"
        "        return request * 2\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_model", raising=False)
    monkeypatch.delenv("END", raising=False)


def objects(*values: bytes) -> Any:
    return np.array([[value] for value in values], dtype=np.object_)


@pytest.mark.usefixtures("backend", "own_model")
def test_a_python_model_answers_each_request_with_its_own_rows(tmp_path: Path) -> None:
    model = python_model("batch 8\nenv END=!", tmp_path)
    first, second = model.execute([{"INPUT": objects(b"a", b"b")}, {"INPUT": objects(b"c")}])
    assert first.tensors["OUTPUT"].tolist() == [[b"A!"], [b"B!"]]
    assert second.tensors["OUTPUT"].tolist() == [[b"C!"]]
    failed, also = model.execute([{"INPUT": objects(b"fail")}, {"INPUT": objects(b"c")}])
    assert "no" in failed.error
    assert "A: no" in also.error


@pytest.mark.usefixtures("backend", "own_model")
def test_a_python_model_takes_tensors_and_json(tmp_path: Path) -> None:
    model = python_model("input fp32[2], output fp32[2]", tmp_path)
    (reply,) = model.execute([{"INPUT": np.array([[1, 2], [3, 4]], dtype=np.float32)}])
    assert reply.tensors["OUTPUT"].tolist() == [[2, 4], [6, 8]]
    model = python_model("input json, output json", tmp_path)
    (reply,) = model.execute([{"INPUT": objects(b'{"a": 1}')}])
    assert json.loads(reply.tensors["OUTPUT"][0][0]) == {"got": {"a": 1}}


@pytest.mark.usefixtures("backend", "own_model")
def test_a_join_is_handed_a_list_in_the_files_order(tmp_path: Path) -> None:
    more = (
        "operator B\nimage b\noperator C\nimage c\noperator D\nentrypoint own_model:Model\n"
        "flow\ndistribute\nA -> B, C\nreduce\nC, B -> D"
    )
    model = python_model("", tmp_path, more, "D")
    (reply,) = model.execute([{"INPUT0": objects(b"from C"), "INPUT1": objects(b"from B")}])
    assert json.loads(reply.tensors["OUTPUT"][0][0]) == {"got": ["from C", "from B"]}
