"""The Open Inference Protocol, from a body to payloads and back."""

from __future__ import annotations

import base64
import contextlib
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earg.inference_protocol import (
    DATATYPES,
    InferenceError,
    InferenceRequest,
    Model,
    TooLargeError,
    decode_request,
    encode_response,
)
from earg.payload import PayloadError, join, pack, unpack
from earg.protos import hogar_pb2

MODEL = Model("graph", "3")
FORMATS = {
    "BOOL": "?",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "FP32": "f",
    "FP64": "d",
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def values_of(datatype: str) -> st.SearchStrategy[Any]:
    if datatype == "BYTES":
        return TEXTS.map(str.encode)
    if datatype == "BOOL":
        return st.booleans()
    if datatype.startswith("FP"):
        return st.floats(
            width=32 if datatype == "FP32" else 64, allow_nan=False, allow_infinity=False
        )
    bits = int(datatype.lstrip("UINT"))
    low = 0 if datatype[0] == "U" else -(2 ** (bits - 1))
    return st.integers(low, low + 2**bits - 1)


@st.composite
def tensors(draw: st.DrawFn) -> tuple[str, list[Any]]:
    datatype = draw(st.sampled_from(DATATYPES))
    return datatype, draw(st.lists(values_of(datatype), min_size=1, max_size=8))


def raw(datatype: str, values: list[Any]) -> bytes:
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(value)) + value for value in values)
    return struct.pack(f"<{len(values)}{FORMATS[datatype]}", *values)


def body_of(
    datatype: str,
    shape: list[int],
    values: list[Any],
    *,
    binary: bool = False,
    tensor_parameters: dict[str, Any] | None = None,
    **more: Any,
) -> tuple[bytes, str | None]:
    """A request as a client writes it, and its ``Inference-Header-Content-Length``."""
    tensor: dict[str, Any] = {"name": "x", "datatype": datatype, "shape": shape}
    tensor["parameters"] = tensor_parameters or {}
    data = b""
    if binary:
        data = raw(datatype, values)
        tensor["parameters"]["binary_data_size"] = len(data)
    else:
        tensor["data"] = [v.decode() if isinstance(v, bytes) else v for v in values]
    head = json.dumps({"inputs": [tensor], **more}).encode()
    return head + data, str(len(head)) if binary else None


def decode(body: bytes, header_length: str | None = None) -> InferenceRequest:
    return decode_request(body, header_length, 64, 1 << 20)


def requests_in(body: bytes, header_length: str | None = None) -> list[Any]:
    return [unpack(payload) for payload in decode(body, header_length).payloads]


def answer(replies: list[Any], *, binary: bool = False) -> tuple[dict[str, Any], bytes]:
    """The only output of the answer, and the bytes behind the JSON."""
    asked = InferenceRequest((), None, binary)
    response = encode_response(MODEL, asked, [pack(reply) for reply in replies])
    assert (response.header_length is not None) == binary
    size = len(response.body) if response.header_length is None else response.header_length
    (output,) = json.loads(response.body[:size])["outputs"]
    return output, response.body[size:]


@given(tensors(), st.booleans(), st.booleans())
def test_a_tensor_comes_back_from_an_echo(
    tensor: tuple[str, list[Any]], binary_in: bool, binary_out: bool
) -> None:
    datatype, values = tensor
    asked = decode(
        *body_of(
            datatype,
            [len(values)],
            values,
            binary=binary_in,
            id="7",
            outputs=[{"name": "output", "parameters": {"binary_data": binary_out}}],
        )
    )
    assert len(asked.payloads) == len(values)
    response = encode_response(MODEL, asked, asked.payloads)
    size = len(response.body) if response.header_length is None else response.header_length
    reply = json.loads(response.body[:size])
    (output,) = reply.pop("outputs")
    assert reply == {"model_name": "graph", "model_version": "3", "id": "7"}
    assert (output["name"], output["shape"]) == ("output", [len(values)])
    if any(isinstance(value, int) and value >= 2**63 for value in values):
        assert output["datatype"] == "BYTES"  # JSON text: INT64 does not hold them
        return
    wide = {"BYTES": "BYTES", "BOOL": "BOOL", "FP32": "FP64", "FP64": "FP64"}
    assert output["datatype"] == wide.get(datatype, "INT64")
    if binary_out:
        data = response.body[size:]
        assert output["parameters"] == {"binary_data_size": len(data)}
        assert data == raw(output["datatype"], values)
    else:
        assert output["data"] == [v.decode() if isinstance(v, bytes) else v for v in values]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("datatype", "shape", "values", "requests"),
    [
        ("BYTES", [2], [b"a", b""], ["a", ""]),
        ("BYTES", [2, 1], [b"a", "é".encode()], ["a", "é"]),
        ("BYTES", [1, 2], [b"a", b"b"], [["a", "b"]]),
        ("INT8", [2], [-128, 127], [-128, 127]),
        ("INT32", [2, 1], [1, 2], [[1], [2]]),
        ("UINT64", [1, 2, 2], [1, 2, 3, 2**64 - 1], [[[1, 2], [3, 2**64 - 1]]]),
        ("FP32", [1, 2], [0.5, -1.0], [[0.5, -1.0]]),
        ("BOOL", [2], [True, False], [True, False]),
    ],
)
def test_the_first_dimension_counts_requests(
    datatype: str, shape: list[int], values: list[Any], requests: list[Any], binary: bool
) -> None:
    body, header_length = body_of(datatype, shape, values, binary=binary)
    found = requests_in(body, header_length)
    assert found == requests
    assert [type(each) for each in found] == [type(each) for each in requests]


def test_json_data_may_nest_as_the_shape() -> None:
    tensor = {"name": "x", "datatype": "INT64", "shape": [2, 2], "data": [[1, 2], [3, 4]]}
    assert requests_in(json.dumps({"inputs": [tensor]}).encode()) == [[1, 2], [3, 4]]


def test_whole_numbers_are_floats_where_the_datatype_says_so() -> None:
    (request,) = requests_in(*body_of("FP64", [1], [3]))
    assert isinstance(request, float)


def test_bytes_that_are_no_text_go_as_bytes_and_come_back_as_base64_in_json() -> None:
    assert requests_in(*body_of("BYTES", [2], [b"\xff\x00", b"a"], binary=True)) == [
        b"\xff\x00",
        "a",
    ]
    output, _ = answer([b"\xff\x00", "a"])
    assert output["parameters"] == {"content_type": "base64"}
    assert [base64.b64decode(each) for each in output["data"]] == [b"\xff\x00", b"a"]
    output, data = answer([b"\xff\x00", "a"], binary=True)
    assert data == raw("BYTES", [b"\xff\x00", b"a"])


def test_an_input_may_be_base64() -> None:
    encoded = base64.b64encode(b"plain")
    found = requests_in(
        *body_of("BYTES", [1], [encoded], tensor_parameters={"content_type": "base64"})
    )
    assert found == [b"plain"]


@pytest.mark.parametrize(
    ("replies", "datatype", "data"),
    [
        (["a", b"b"], "BYTES", ["a", "b"]),
        ([1, -(2**63)], "INT64", [1, -(2**63)]),
        ([1, 2.5], "FP64", [1.0, 2.5]),
        ([True, False], "BOOL", [True, False]),
        ([1, 2**63], "BYTES", ["1", "9223372036854775808"]),
        ([2**53 + 1, 0.5], "BYTES", ["9007199254740993", "0.5"]),
        ([1, True], "BYTES", ["1", "true"]),
        ([[1.5, "é"], {"a": None}], "BYTES", ['[1.5, "é"]', '{"a": null}']),
        (["a", 1, b"\xff"], "BYTES", ['"a"', "1", '"/w=="']),
    ],
)
def test_the_replies_choose_the_datatype(
    replies: list[Any], datatype: str, data: list[Any]
) -> None:
    output, _ = answer(replies)
    assert (output["datatype"], output["shape"]) == (datatype, [len(replies)])
    assert output["data"] == data
    assert [type(each) for each in output["data"]] == [type(each) for each in data]
    is_json = datatype == "BYTES" and not all(isinstance(r, (str, bytes)) for r in replies)
    assert (output.get("parameters") == {"content_type": "application/json"}) == is_json


@pytest.mark.parametrize(
    ("reply", "element"),
    [
        (hogar_pb2.Payload(type="json", data=b"NaN"), "NaN"),
        (hogar_pb2.Payload(type="json", data=b'"\\ud800"'), "?"),
        (join([pack("a"), pack(b"\xff")]), '["a", "/w=="]'),
    ],
)
def test_what_only_an_original_or_a_join_replies_is_answered_too(
    reply: hogar_pb2.Payload, element: str
) -> None:
    response = encode_response(MODEL, InferenceRequest(()), [reply])
    assert json.loads(response.body)["outputs"][0]["data"] == [element]


def test_a_reply_that_is_not_what_it_says_is_told() -> None:
    reply = hogar_pb2.Payload(type="json", data=b"{")
    with pytest.raises(PayloadError, match="cannot be read"):
        encode_response(MODEL, InferenceRequest(()), [reply])


@pytest.mark.parametrize(
    ("more", "binary"),
    [
        ({}, False),
        ({"parameters": {"binary_data_output": True, "priority": 1}}, True),
        ({"outputs": []}, False),
        ({"outputs": [{"name": "output", "parameters": {"binary_data": True}}]}, True),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [{"name": "output", "parameters": {"binary_data": False}}],
            },
            False,
        ),
        (
            {"parameters": {"binary_data_output": True}, "outputs": [{"name": "output"}]},
            True,
        ),
    ],
)
def test_the_client_chooses_how_the_output_comes_back(more: dict[str, Any], binary: bool) -> None:
    asked = decode(*body_of("INT8", [1], [1], **more))
    assert asked.binary_output is binary
    assert asked.request_id is None


def tensor(**changes: Any) -> bytes:
    fields = {"name": "x", "datatype": "INT8", "shape": [2], "data": [1, 2]} | changes
    return json.dumps(
        {"inputs": [{key: value for key, value in fields.items() if value is not None}]}
    ).encode()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "exactly one tensor"),
        (b'{"inputs":[]}', "exactly one tensor"),
        (b'{"inputs":[1]}', "exactly one tensor"),
        (b'{"inputs":[{},{}]}', "exactly one tensor"),
        (tensor(name=None), "no 'name'"),
        (tensor(datatype="FP16"), "'FP16' is none of BYTES, BOOL"),
        (tensor(datatype=["INT8"]), "is none of"),
        (tensor(shape=None), "'shape' must be"),
        (tensor(shape=[]), "'shape' must be"),
        (tensor(shape=[0]), "'shape' must be"),
        (tensor(shape=[2.0]), "'shape' must be"),
        (tensor(shape=[True, 2]), "'shape' must be"),
        (tensor(shape=[1] * 33), "'shape' must be"),
        (tensor(shape=[2, 2], data=[[1, 2], [3]]), "does not nest"),
        (tensor(shape=[2, 2], data=[[1, 2], 3]), "does not nest"),
        (tensor(data=None), "neither 'data' nor"),
        (tensor(data="ab"), "not a list"),
        (tensor(data=[1]), "shape [2] has 2 values, 'data' has 1"),
        (tensor(data=[1, 128]), "not INT8"),
        (tensor(data=[1, 2.0]), "not INT8"),
        (tensor(data=[1, True]), "not INT8"),
        (tensor(datatype="UINT8", data=[-1, 0]), "not UINT8"),
        (tensor(datatype="BOOL", data=[0, 1]), "not BOOL"),
        (tensor(datatype="FP32", data=[1, 1e39]), "not FP32"),
        (tensor(datatype="FP64", data=[1, 10**400]), "not FP64"),
        (tensor(datatype="FP64", data=[1, float("nan")]), "not FP64"),
        (tensor(datatype="BYTES", data=["a", 1]), "not text"),
        (tensor(datatype="BYTES", data=["a", "\ud800"]), "not text"),
        (tensor(data=[1, 2], parameters={"binary_data_size": 2}), "both"),
        (tensor(parameters=[]), "'parameters' of the input"),
        (
            tensor(datatype="BYTES", data=["a", "b"], parameters={"content_type": "base64"}),
            "not base64",
        ),
        (body_of("INT8", [1], [1], id=7)[0], "'id' must be text"),
        (body_of("INT8", [1], [1], id="\ud800")[0], "'id' must be text"),
        (body_of("INT8", [1], [1], outputs=[{"name": "y"}])[0], "called 'output'"),
        (body_of("INT8", [1], [1], outputs=[{"name": "output"}] * 2)[0], "at most one"),
        (
            body_of("INT8", [1], [1], outputs=[{"name": "output", "parameters": 1}])[0],
            "'parameters' of the output",
        ),
        (
            body_of("INT8", [1], [1], outputs={"name": "output"})[0],
            "'outputs' must be a list",
        ),
    ],
)
def test_a_bad_request_is_refused_with_a_sentence(body: bytes, words: str) -> None:
    with pytest.raises(InferenceError) as caught:
        decode(body)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "words"),
    [
        ("INT32", [2], b"\0" * 7, "are 8 bytes, not 7"),
        ("BOOL", [1], b"\2", "neither 0 nor 1"),
        ("FP32", [1], struct.pack("<f", float("inf")), "not FP32"),
        ("BYTES", [1], b"\5\0\0\0abcd", "beyond 8 bytes"),
        ("BYTES", [1], b"\xff\xff\xff\xff", "beyond 4 bytes"),
        ("BYTES", [1], b"\1\0", "beyond 2 bytes"),
        ("BYTES", [2], b"\1\0\0\0a", "exactly 2"),
        ("BYTES", [1], b"\1\0\0\0ab", "exactly 1"),
        ("BYTES", [1], b"\1\0\0\0a\0\0\0\0", "exactly 1"),
        ("BYTES", [1, 2], raw("BYTES", [b"a", b"\xff"]), "not UTF-8 need shape [n]"),
    ],
)
def test_bad_binary_data_is_refused_with_a_sentence(
    datatype: str, shape: list[int], data: bytes, words: str
) -> None:
    parameters = {"binary_data_size": len(data)}
    head = tensor(datatype=datatype, shape=shape, data=None, parameters=parameters)
    with pytest.raises(InferenceError) as caught:
        decode(head + data, str(len(head)))
    assert words in str(caught.value)


@pytest.mark.parametrize("size", ["", "-1", "x", "1.0", "9" * 5000, "1000", "²"])
def test_a_bad_length_of_the_json_is_refused(size: str) -> None:
    with pytest.raises(InferenceError, match="Inference-Header-Content-Length"):
        decode(tensor(), size)


@pytest.mark.parametrize("size", [1, 3, True, "2", 2.0, -1])
def test_a_wrong_size_of_the_binary_data_is_refused(size: Any) -> None:
    head = tensor(data=None, parameters={"binary_data_size": size})
    with pytest.raises(InferenceError, match="'binary_data_size' must be"):
        decode(head + b"\1\2", str(len(head)))


def test_bytes_that_belong_to_no_tensor_are_refused() -> None:
    with pytest.raises(InferenceError, match="bytes follow the JSON"):
        decode(tensor() + b"\1", str(len(tensor())))


def test_elements_are_bounded_in_number_and_in_size() -> None:
    body, _ = body_of("INT8", [3], [1, 2, 3])
    assert len(decode_request(body, None, 3, 100).payloads) == 3
    with pytest.raises(TooLargeError, match="3 elements are more than the 2"):
        decode_request(body, None, 2, 100)
    with pytest.raises(TooLargeError, match="more than 524288 values"):
        decode(tensor(shape=[2, 10**30]))
    # A byte in binary is up to five in the JSON that goes through the graph.
    body, header_length = body_of("INT8", [1, 100], [-100] * 100, binary=True)
    with pytest.raises(TooLargeError, match="more than 400 bytes"):
        decode_request(body, header_length, 1, 400)


@given(tensors(), st.booleans(), st.data())
def test_a_damaged_body_is_refused_or_read_and_nothing_else(
    tensor: tuple[str, list[Any]], binary: bool, data: st.DataObject
) -> None:
    datatype, values = tensor
    body, header_length = body_of(datatype, [len(values)], values, binary=binary)
    at = data.draw(st.integers(0, len(body)))
    damaged = body[:at] + data.draw(st.binary(max_size=4))
    damaged += body[at + data.draw(st.integers(0, 4)) :]
    with contextlib.suppress(InferenceError):
        assert decode(damaged, header_length).payloads


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from(["name", "datatype", "shape", "data", "parameters"]),
    st.sampled_from(["id", "parameters", "inputs", "outputs"]),
    JSON_VALUES,
    st.booleans(),
)
def test_any_json_in_any_field_is_refused_or_read_and_nothing_else(
    field: str, outer: str, value: Any, inside: bool
) -> None:
    request: dict[str, Any] = {
        "inputs": [{"name": "x", "datatype": "BYTES", "shape": [1], "data": ["a"]}]
    }
    if inside:
        request["inputs"][0][field] = value
    else:
        request[outer] = value
    with contextlib.suppress(InferenceError):
        assert decode(json.dumps(request).encode()).payloads
