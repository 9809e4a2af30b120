"""The Open Inference Protocol v2 over HTTP, as functions from a body to payloads and back.

A request has one input tensor, of any name. Its first dimension counts requests: each element
goes through the graph as a request of its own, and the output tensor ``output`` has shape [n].

- BYTES of shape [n] or [n, 1]: each element is text where it is UTF-8, else bytes. An input with
  the parameter ``content_type: base64`` holds base64, and each element is bytes.
- Numbers and BOOL: each element is a number of shape [n], a nested list of shape [n, ...];
  BYTES of shape [n, m, ...] are nested lists of text.

Replies that are all text or bytes come back as BYTES, all integers as INT64, all numbers as FP64,
all booleans as BOOL, and anything else as BYTES that hold JSON (``content_type:
application/json``; bytes among it are base64). Where bytes that are not UTF-8 must go into JSON,
they are base64 and the output says so with ``content_type: base64``.

Tensors are JSON, or follow it as Triton's binary tensor data extension says: little-endian, a
BYTES element behind its length in four bytes, a BOOL one byte.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from earg.payload import PayloadError, pack, unpack
from earg.protos import hogar_pb2

INPUT, OUTPUT = "input", "output"
"""The tensors' names in the metadata; a request may call its input as it likes."""

EXTENSIONS = ("binary_tensor_data",)

MAX_DIMENSIONS = 32
"""A tensor of more dimensions is refused: its elements would nest too deep."""

MAX_VALUES = 1 << 19
"""A tensor of more values is refused: as JSON, which goes through the graph, they take up to a
second of the frontend, and nobody else is answered meanwhile. Larger things travel as BYTES."""

BASE64, JSON_TEXT = "base64", "application/json"

_INTEGERS = {f"{kind}{bits}": bits for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)}
_FLOATS = {"FP32": 3.4028234663852886e38, "FP64": math.inf}
_FORMATS = {
    "BOOL": "B",
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
DATATYPES = ("BYTES", *_FORMATS)


class InferenceError(ValueError):
    """A body that is no inference request, or one that the graph cannot take."""


class TooLargeError(InferenceError):
    """More elements or values, or larger ones, than are admitted."""


@dataclass(frozen=True, slots=True)
class Model:
    """The graph as the protocol sees it: one model with one version."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """What a client asked: a payload an element, its id, and how the output shall come back."""

    payloads: tuple[hogar_pb2.Payload, ...]
    request_id: str | None = None
    binary_output: bool = False


@dataclass(frozen=True, slots=True)
class InferenceResponse:
    """A body, and the length of its JSON in bytes where binary data follows it."""

    body: bytes
    header_length: int | None = None


def metadata(model: Model) -> dict[str, Any]:
    """The model's metadata. A graph is not typed: BYTES stand for any datatype."""
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": "earg",
        "inputs": [{"name": INPUT, "datatype": "BYTES", "shape": [-1]}],
        "outputs": [{"name": OUTPUT, "datatype": "BYTES", "shape": [-1]}],
    }


# --- request --------------------------------------------------------------------------------


def decode_request(
    body: bytes, header_length: str | None, most_elements: int, most_bytes: int
) -> InferenceRequest:
    """The requests in a body.

    ``header_length`` is the value of ``Inference-Header-Content-Length``, None without one.
    Raises :class:`InferenceError`; :class:`TooLargeError` for more than ``most_elements``
    requests, more than ``MAX_VALUES`` values or a request of more than ``most_bytes`` bytes.
    """
    size = len(body) if header_length is None else _header_length(header_length, len(body))
    try:
        asked = json.loads(body[:size])
    except (ValueError, RecursionError) as error:
        raise InferenceError(f"the inference request is not JSON: {error}") from None
    if not isinstance(asked, dict):
        raise InferenceError("the inference request is not a JSON object")
    inputs = asked.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise InferenceError(
            "'inputs' must be a list of exactly one tensor: a graph takes one value a request"
        )
    tensor = inputs[0]
    name = tensor.get("name")
    if not isinstance(name, str):
        raise InferenceError("the input tensor has no 'name'")
    try:
        values = _elements(tensor, body[size:], most_elements)
        payloads = tuple(map(pack, values))
    except TooLargeError as error:
        raise TooLargeError(f"input {name!r}: {error}") from None
    except (InferenceError, PayloadError, UnicodeEncodeError) as error:
        raise InferenceError(f"input {name!r}: {error}") from None
    if max(len(payload.data) for payload in payloads) > most_bytes:
        raise TooLargeError(f"input {name!r}: an element takes more than {most_bytes} bytes")
    return InferenceRequest(payloads, _request_id(asked), _binary_output(asked))


def _header_length(text: str, size: int) -> int:
    # Twenty digits are more than any body has; int() would take time over thousands.
    if text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= size:
        return int(text)
    raise InferenceError(
        f"Inference-Header-Content-Length must be the JSON's length, at most {size}"
    )


def _request_id(asked: dict[str, Any]) -> str | None:
    request_id = asked.get("id")
    if request_id is None:
        return None
    try:
        if isinstance(request_id, str):
            request_id.encode()
            return request_id
    except UnicodeEncodeError:
        pass
    raise InferenceError("'id' must be text")


def _binary_output(asked: dict[str, Any]) -> bool:
    binary = _parameters(asked, "the request").get("binary_data_output", False)
    outputs = asked.get("outputs")
    if outputs is None:
        outputs = []
    if not isinstance(outputs, list) or len(outputs) > 1:
        raise InferenceError(f"'outputs' must be a list of at most one tensor, {OUTPUT!r}")
    for output in outputs:
        if not isinstance(output, dict) or output.get("name") != OUTPUT:
            raise InferenceError(f"the only output is called {OUTPUT!r}")
        binary = _parameters(output, "the output").get("binary_data", binary)
    if not isinstance(binary, bool):
        raise InferenceError("'binary_data' and 'binary_data_output' must be true or false")
    return binary


def _parameters(holder: dict[str, Any], what: str) -> dict[str, Any]:
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InferenceError(f"'parameters' of {what} is not an object")
    return parameters


def _elements(tensor: dict[str, Any], binary: bytes, most: int) -> list[Any]:
    """The tensor's elements along its first dimension."""
    datatype, shape = tensor.get("datatype"), _shape(tensor.get("shape"))
    if datatype not in DATATYPES:
        raise InferenceError(f"datatype {datatype!r} is none of {', '.join(DATATYPES)}")
    if shape[0] > most:
        raise TooLargeError(f"{shape[0]} elements are more than the {most} that may be under way")
    if math.prod(shape) > MAX_VALUES:
        raise TooLargeError(f"shape {shape} has more than {MAX_VALUES} values; send BYTES")
    parameters = _parameters(tensor, "the input")
    size = parameters.get("binary_data_size")
    flat: list[Any]
    if size is not None or "data" not in tensor:
        if "data" in tensor:
            raise InferenceError("it has both 'data' and 'binary_data_size'")
        if size is None:
            raise InferenceError("it has neither 'data' nor 'binary_data_size'")
        if isinstance(size, bool) or not isinstance(size, int) or size != len(binary):
            raise InferenceError(
                f"'binary_data_size' must be the bytes that follow the JSON, {len(binary)}"
            )
        flat = _from_binary(datatype, binary, math.prod(shape))
    elif binary:
        raise InferenceError("bytes follow the JSON, but it has 'data'")
    else:
        flat = _from_json(datatype, tensor["data"], shape)
    if datatype == "BYTES":
        return _byte_elements(flat, shape, parameters.get("content_type") == BASE64)
    return _nest(flat, shape)


def _shape(shape: Any) -> list[int]:
    if (
        not isinstance(shape, list)
        or not 1 <= len(shape) <= MAX_DIMENSIONS
        or any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in shape)
    ):
        raise InferenceError(
            f"'shape' must be a list of 1 to {MAX_DIMENSIONS} whole numbers from 1 up"
        )
    return shape


def _byte_elements(flat: list[bytes], shape: list[int], is_base64: bool) -> list[Any]:
    if len(flat) == shape[0]:
        return [_decoded(each) if is_base64 else _text_or_bytes(each) for each in flat]
    if is_base64:
        raise InferenceError("base64 is for shape [n] or [n, 1]")
    try:
        return _nest([each.decode() for each in flat], shape)
    except UnicodeDecodeError:
        raise InferenceError("bytes that are not UTF-8 need shape [n] or [n, 1]") from None


def _text_or_bytes(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _decoded(data: bytes) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise InferenceError(f"an element is not base64: {error}") from None


def _nest(flat: list[Any], shape: list[int]) -> list[Any]:
    """``flat``, row by row, as nested lists of ``shape``."""
    for size in reversed(shape[1:]):
        flat = [flat[at : at + size] for at in range(0, len(flat), size)]
    return flat


def _from_json(datatype: str, data: Any, shape: list[int]) -> list[Any]:
    """The tensor's values in one list; ``data`` may be flat or nested as ``shape``."""
    count = math.prod(shape)
    if not isinstance(data, list):
        raise InferenceError("'data' is not a list")
    level = data
    if len(shape) > 1 and data and isinstance(data[0], list):
        level = [data]
        for size in shape:
            if any(not isinstance(part, list) or len(part) != size for part in level):
                raise InferenceError(f"'data' does not nest as shape {shape} says")
            level = [each for part in level for each in part]
    if len(level) != count:
        raise InferenceError(f"shape {shape} has {count} values, 'data' has {len(level)}")
    if datatype == "BYTES":
        return [_json_bytes(each) for each in level]
    if datatype == "BOOL":
        if not all(isinstance(each, bool) for each in level):
            raise InferenceError("a value is not BOOL: say true or false")
        return level
    if datatype in _FLOATS:
        return [_json_float(each, datatype) for each in level]
    bits = _INTEGERS[datatype]
    low, high = (0, 2**bits) if datatype[0] == "U" else (-(2 ** (bits - 1)), 2 ** (bits - 1))
    for each in level:
        if isinstance(each, bool) or not isinstance(each, int) or not low <= each < high:
            raise InferenceError(f"a value is not {datatype}: a whole number in its range")
    return level


def _json_bytes(value: Any) -> bytes:
    try:
        if isinstance(value, str):
            return value.encode()
    except UnicodeEncodeError:
        pass
    raise InferenceError("a value of 'data' is not text")


def _json_float(value: Any, datatype: str) -> float:
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            number = float(value)
            if math.isfinite(number) and abs(number) <= _FLOATS[datatype]:
                return number
    except OverflowError:
        pass
    raise InferenceError(f"a value is not {datatype}: a finite number in its range")


def _from_binary(datatype: str, data: bytes, count: int) -> list[Any]:
    if datatype == "BYTES":
        return _binary_bytes(data, count)
    form = _FORMATS[datatype]
    size = count * struct.calcsize(f"<{form}")
    if size != len(data):
        raise InferenceError(f"{count} values of {datatype} are {size} bytes, not {len(data)}")
    values = list(struct.unpack(f"<{count}{form}", data))
    if datatype == "BOOL":
        if any(value > 1 for value in values):
            raise InferenceError("a byte of a BOOL tensor is neither 0 nor 1")
        return [value == 1 for value in values]
    if datatype in _FLOATS and not all(map(math.isfinite, values)):
        raise InferenceError(f"a value is not {datatype}: a finite number in its range")
    return values


def _binary_bytes(data: bytes, count: int) -> list[bytes]:
    elements: list[bytes] = []
    at = 0
    while at < len(data) and len(elements) < count:
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if end > len(data):
            raise InferenceError(f"a BYTES element ends at {end}, beyond {len(data)} bytes")
        elements.append(data[at + 4 : end])
        at = end
    if len(elements) != count or at != len(data):
        raise InferenceError(f"the binary data does not hold exactly {count} BYTES elements")
    return elements


# --- response -------------------------------------------------------------------------------


def encode_response(
    model: Model, asked: InferenceRequest, replies: Sequence[hogar_pb2.Payload]
) -> InferenceResponse:
    """The answer with the graph's replies, one a request, none of them an error.

    Raises :class:`earg.payload.PayloadError` for a reply that does not hold what its type says.
    """
    datatype, values, parameters = _typed([unpack(reply) for reply in replies])
    output: dict[str, Any] = {"name": OUTPUT, "datatype": datatype, "shape": [len(values)]}
    answer: dict[str, Any] = {"model_name": model.name, "model_version": model.version}
    if asked.request_id is not None:
        answer["id"] = asked.request_id
    answer["outputs"] = [output]
    if asked.binary_output:
        data = _to_binary(datatype, values)
        output["parameters"] = parameters | {"binary_data_size": len(data)}
        head = _json(answer)
        return InferenceResponse(head + data, len(head))
    if datatype == "BYTES":
        values, parameters = _text_elements(values, parameters)
    if parameters:
        output["parameters"] = parameters
    output["data"] = values
    return InferenceResponse(_json(answer))


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _typed(values: list[Any]) -> tuple[str, list[Any], dict[str, Any]]:
    """The datatype that fits all values, the values as it wants them, and its parameters."""
    if all(isinstance(value, (str, bytes)) for value in values):
        return "BYTES", [_raw(value) for value in values], {}
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return "BOOL", values, {}
    if kinds == {int} and all(-(2**63) <= value < 2**63 for value in values):
        return "INT64", values, {}
    if kinds <= {int, float} and float in kinds and all(map(_is_double, values)):
        return "FP64", [float(value) for value in values], {}
    texts = [json.dumps(value, ensure_ascii=False, default=_base64) for value in values]
    return "BYTES", [_raw(text) for text in texts], {"content_type": JSON_TEXT}


def _raw(value: str | bytes) -> bytes:
    # Half of a surrogate pair, which JSON can say, has no UTF-8.
    return value.encode(errors="replace") if isinstance(value, str) else value


def _is_double(value: float) -> bool:
    """Whether FP64 holds the number exactly."""
    return abs(value) <= 2**53 if isinstance(value, int) else math.isfinite(value)


def _base64(value: Any) -> str:
    return base64.b64encode(value).decode()


def _text_elements(
    values: list[bytes], parameters: dict[str, Any]
) -> tuple[list[str], dict[str, Any]]:
    try:
        return [value.decode() for value in values], parameters
    except UnicodeDecodeError:
        return [_base64(value) for value in values], {"content_type": BASE64}


def _to_binary(datatype: str, values: list[Any]) -> bytes:
    if datatype == "BYTES":
        return b"".join(len(value).to_bytes(4, "little") + value for value in values)
    return struct.pack(f"<{len(values)}{_FORMATS[datatype]}", *values)
