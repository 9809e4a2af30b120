"""TensorFlow Serving's files, read back by field lists of its protobufs.

The package that carries those protobufs needs all of TensorFlow; the fields that are used here are
listed with their numbers, from ``model_server_config.proto``, ``file_system_storage_path_source``,
``session_bundle_config.proto`` and ``monitoring_config.proto``.
"""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

import udgl
from tests.targets.support import golden_graphs
from udgl.targets.tfserving import compile_graph

STRING, INT64, BOOL, MESSAGE = 9, 3, 8, 11

# Message -> (field, number, type, message type or "", repeated)
SCHEMA: dict[str, list[tuple[str, int, int, str, bool]]] = {
    "ModelServerConfig": [("model_config_list", 1, MESSAGE, "ModelConfigList", False)],
    "ModelConfigList": [("config", 1, MESSAGE, "ModelConfig", True)],
    "ModelConfig": [
        ("name", 1, STRING, "", False),
        ("base_path", 2, STRING, "", False),
        ("model_platform", 4, STRING, "", False),
        ("model_version_policy", 7, MESSAGE, "ServableVersionPolicy", False),
    ],
    "ServableVersionPolicy": [("specific", 102, MESSAGE, "Specific", False)],
    "Specific": [("versions", 1, INT64, "", True)],
    "Int64Value": [("value", 1, INT64, "", False)],
    "BatchingParameters": [
        ("max_batch_size", 1, MESSAGE, "Int64Value", False),
        ("batch_timeout_micros", 2, MESSAGE, "Int64Value", False),
    ],
    "PrometheusConfig": [("enable", 1, BOOL, "", False), ("path", 2, STRING, "", False)],
    "MonitoringConfig": [("prometheus_config", 1, MESSAGE, "PrometheusConfig", False)],
}


@pytest.fixture(scope="module")
def messages() -> dict[str, Any]:
    """A message class for each of the schema's messages."""
    file = descriptor_pb2.FileDescriptorProto(name="tfs.proto", package="tfs", syntax="proto3")
    for name, fields in SCHEMA.items():
        message = file.message_type.add(name=name)
        for field, number, kind, of, repeated in fields:
            message.field.add(
                name=field,
                number=number,
                type=kind,
                label=3 if repeated else 1,
                type_name=f".tfs.{of}" if of else None,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tfs.{name}"))
        for name in SCHEMA
    }


KINDS = {
    "models.config": "ModelServerConfig",
    "batching.config": "BatchingParameters",
    "batching_params.pbtxt": "BatchingParameters",
    "monitoring.config": "MonitoringConfig",
}


def read(text: str, messages: dict[str, Any]) -> dict[str, Any]:
    """Every file of the graph as a message, by its path below the graph's folder."""
    found = {}
    for file in compile_graph(udgl.parse(text)).files:
        kind = messages[KINDS[file.name.rsplit("/", 1)[-1]]]
        found[file.name.partition("/")[2]] = text_format.Parse(file.text, kind())
    return found


@pytest.mark.parametrize("graph", golden_graphs())
def test_every_file_is_read_by_the_field_lists(graph: str, messages: dict[str, Any]) -> None:
    text = golden_graphs()[graph]
    found = read(text, messages)
    models = found["models.config"].model_config_list.config
    declared = udgl.parse(text).operators
    assert [model.name for model in models] == [operator.name for operator in declared]
    for model in models:
        (version,) = model.model_version_policy.specific.versions
        assert f"{model.name}/{version}/batching_params.pbtxt" in found
    assert found["monitoring.config"].prometheus_config.enable


def test_batching_is_that_of_each_operator(messages: dict[str, Any]) -> None:
    text = (
        "meta\nname G\nversion 1\noperator A\nversion 3, image a, batch 16, wait 2.5ms\n"
        "operator B\nimage b, batch 64\nflow\ndistribute\nA -> B"
    )
    found = read(text, messages)
    own = found["A/3/batching_params.pbtxt"]
    assert (own.max_batch_size.value, own.batch_timeout_micros.value) == (16, 2500)
    assert found["batching.config"].max_batch_size.value == 64
