"""Values on the wire: a Python value, HOGAR's ``Payload`` and EARG's text-only ``input``.

A value is text (``str``), ``bytes`` or anything JSON can say. A join's value is the list of its
parts. An *error* payload stands in for a reply that could not be computed: it travels on to the
frontend, and no model sees it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

from earg.protos import hogar_pb2, model_pb2

TEXT = "text"
JSON = "json"
BYTES = "bytes"
PARTS = "parts"
ERROR = "error"

MAX_MESSAGE = 64 * 1024 * 1024
"""Largest gRPC message in bytes, sent or received."""

MAX_PARTS_DEPTH = 16
"""How deep joins of joins may nest before a payload is refused."""

CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    # Two servers must never share a port unnoticed, and a peer that comes back is wanted soon.
    ("grpc.so_reuseport", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 100),
    # A new channel must not inherit another's pause before it connects again.
    ("grpc.use_local_subchannel_pool", 1),
    # Loopback and cluster addresses only: a proxy of the environment must not see requests.
    ("grpc.enable_http_proxy", 0),
)


class PayloadError(ValueError):
    """A payload that does not hold what its type says."""


def pack(value: Any) -> hogar_pb2.Payload:
    """The payload of a Python value; raises :class:`PayloadError` for what JSON cannot say."""
    if isinstance(value, str):
        return hogar_pb2.Payload(type=TEXT, data=value.encode())
    if isinstance(value, (bytes, bytearray, memoryview)):
        return hogar_pb2.Payload(type=BYTES, data=bytes(value))
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        data = text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise PayloadError(
            f"a value of type {type(value).__name__} is neither str nor bytes nor JSON: {error}"
        ) from None
    return hogar_pb2.Payload(type=JSON, data=data)


def unpack(payload: hogar_pb2.Payload, depth: int = 0) -> Any:
    """The Python value of a payload; raises :class:`PayloadError`.

    An original's own type names (``string``, ``image``, ...) are text.
    """
    if depth > MAX_PARTS_DEPTH:
        raise PayloadError(f"joins nest more than {MAX_PARTS_DEPTH} deep")
    if payload.type == BYTES:
        return payload.data
    if payload.type == PARTS:
        return [unpack(part, depth + 1) for part in payload.parts]
    try:
        if payload.type == JSON:
            return json.loads(payload.data)
        return payload.data.decode()
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"a payload of type {payload.type!r} cannot be read: {error}") from None


def failure(sentence: str) -> hogar_pb2.Payload:
    """The payload that fails a request with ``sentence``."""
    return hogar_pb2.Payload(type=ERROR, data=sentence.encode(errors="replace"))


def is_failure(payload: hogar_pb2.Payload) -> bool:
    """Whether the payload is an error that no model should see."""
    return payload.type == ERROR


def join(parts: Sequence[hogar_pb2.Payload]) -> hogar_pb2.Payload:
    """A join's payload: its parts in the config's order, or the first part that is an error."""
    for part in parts:
        if is_failure(part):
            return part
    return hogar_pb2.Payload(type=PARTS, parts=parts)


def to_plain(payload: hogar_pb2.Payload) -> model_pb2.input:
    """EARG's ``input``: bytes become base64, a join's parts are glued with ``|``."""
    kind, text = _plain(payload)
    return model_pb2.input(inputType=kind, inputStream=text)


def to_plain_output(payload: hogar_pb2.Payload) -> model_pb2.output:
    """EARG's ``output``, encoded as :func:`to_plain` does."""
    kind, text = _plain(payload)
    return model_pb2.output(outputType=kind, outputStream=text)


def _plain(payload: hogar_pb2.Payload) -> tuple[str, str]:
    if payload.type == BYTES:
        return BYTES, base64.b64encode(payload.data).decode()
    if payload.type == PARTS:
        parts = [_plain(part) for part in payload.parts]
        kinds = {kind for kind, _ in parts}
        return (kinds.pop() if len(kinds) == 1 else TEXT), "|".join(text for _, text in parts)
    return payload.type, payload.data.decode(errors="replace")


def from_plain(kind: str, text: str) -> hogar_pb2.Payload:
    """The payload of EARG's ``input`` or ``output``; raises :class:`PayloadError`."""
    if kind == BYTES:
        try:
            return hogar_pb2.Payload(type=BYTES, data=base64.b64decode(text, validate=True))
        except binascii.Error as error:
            raise PayloadError(f"a payload of type 'bytes' is not base64: {error}") from None
    if kind == PARTS:
        raise PayloadError("EARG's plain protocol has no payload of type 'parts'")
    return hogar_pb2.Payload(type=kind or TEXT, data=text.encode())
