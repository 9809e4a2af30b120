"""Values on the wire."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earg.payload import (
    PayloadError,
    failure,
    from_plain,
    is_failure,
    join,
    pack,
    to_plain,
    unpack,
)
from earg.protos import hogar_pb2

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXTS | st.binary() | JSON_VALUES)
def test_a_value_survives_the_wire(value: Any) -> None:
    assert unpack(pack(value)) == value


@given(TEXTS | st.binary() | JSON_VALUES)
def test_a_value_survives_the_plain_protocol(value: Any) -> None:
    plain = to_plain(pack(value))
    assert unpack(from_plain(plain.inputType, plain.inputStream)) == value


def test_a_join_is_a_list_for_our_models_and_glued_for_originals() -> None:
    joined = join([pack("left"), pack({"right": 1}), pack(b"\x00")])
    assert unpack(joined) == ["left", {"right": 1}, b"\x00"]
    assert to_plain(joined).inputStream == 'left|{"right":1}|AA=='


def test_an_error_passes_through_a_join() -> None:
    joined = join([pack("left"), failure("the model said no")])
    assert is_failure(joined)
    assert joined.data == b"the model said no"


@pytest.mark.parametrize("value", [object(), {"a": {1, 2}}, float("nan"), "\ud800"])
def test_what_cannot_be_sent_is_refused(value: Any) -> None:
    with pytest.raises((PayloadError, UnicodeEncodeError)):
        pack(value)


def test_an_unknown_type_of_an_original_is_text() -> None:
    assert unpack(from_plain("string", "hello")) == "hello"
    assert unpack(from_plain("", "hello")) == "hello"


@pytest.mark.parametrize(
    "payload",
    [
        hogar_pb2.Payload(type="json", data=b"{"),
        hogar_pb2.Payload(type="json", data=b"[" * 100_000),
        hogar_pb2.Payload(type="text", data=b"\xff"),
    ],
)
def test_a_damaged_payload_is_an_error_not_a_crash(payload: hogar_pb2.Payload) -> None:
    with pytest.raises(PayloadError):
        unpack(payload)


def test_joins_nested_without_end_are_refused() -> None:
    payload = pack("x")
    for _ in range(50):
        payload = hogar_pb2.Payload(type="parts", parts=[payload])
    with pytest.raises(PayloadError, match="deep"):
        unpack(payload)
