"""W3C Trace Context: which headers are taken, and what is written."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earg.traces import format_traceparent, parse_traceparent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("header", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        # Flags that level 1 does not know are ignored.
        (f"00-{TRACE}-{SPAN}-fe", False),
        (f"00-{TRACE}-{SPAN}-ff", True),
        # A future version is read as far as this one goes.
        (f"01-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", True),
        (f"cc-{TRACE}-{SPAN}-01-", True),
        (f"fe-{TRACE}-{SPAN}-00", False),
    ],
)
def test_a_valid_header_is_read(header: str, sampled: bool) -> None:
    assert parse_traceparent(header) == (TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",  # the version that never will be
        f"00-{TRACE}-{SPAN}-01-more",  # version 00 ends there
        f"00-{TRACE}-{SPAN}-01-",
        f"01-{TRACE}-{SPAN}-01.more",  # a future version goes on after a dash
        f"01-{TRACE}-{SPAN}-012",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"01-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN.upper()}-01",
        f"0A-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0F",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00-{TRACE}-{SPAN[:-1]}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-xy",
        f"0-{TRACE}-{SPAN}-01",
        f"00_{TRACE}_{SPAN}_01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"01-{TRACE}-{SPAN}-01-\n",
        # Digits, but none of hexadecimal's.
        f"00-{TRACE[:-1]}٣-{SPAN}-01",
        f"01-{TRACE}-{SPAN}-01-" + "x" * 1000,
    ],
)
def test_an_invalid_header_is_none(header: str) -> None:
    assert parse_traceparent(header) is None


@given(
    st.integers(1, 2**128 - 1).map("{:032x}".format),
    st.integers(1, 2**64 - 1).map("{:016x}".format),
    st.booleans(),
)
def test_what_is_written_is_read_again(trace_id: str, span_id: str, sampled: bool) -> None:
    header = format_traceparent(trace_id, span_id, sampled)
    assert len(header) == 55
    assert parse_traceparent(header) == (trace_id, span_id, sampled)


@given(st.text(max_size=80))
def test_no_text_at_all_makes_it_raise(text: str) -> None:
    parse_traceparent(text)


@pytest.mark.parametrize(
    ("trace_id", "span_id"),
    [("0" * 32, SPAN), (TRACE, "0" * 16), (TRACE.upper(), SPAN), (TRACE, SPAN + "0"), ("", SPAN)],
)
def test_an_id_that_is_none_is_not_written(trace_id: str, span_id: str) -> None:
    with pytest.raises(ValueError, match="hex digits"):
        format_traceparent(trace_id, span_id, True)


def test_the_values_need_no_library() -> None:
    code = "import sys, earg.traces; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "grpc" not in done.stdout
    assert "opentelemetry" not in done.stdout
