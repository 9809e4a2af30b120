"""A request's path through the graph, and the header that ties it to its client's own trace.

The header is ``traceparent`` of W3C Trace Context, level 1
(https://www.w3.org/TR/trace-context-1/).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST_HEADER = 512
"""Characters of a ``traceparent`` that are looked at: a future version may be longer than 55."""

_HEADER = re.compile(
    r"""(?x)
    (?P<version>[0-9a-f]{2}) - (?P<trace>[0-9a-f]{32}) - (?P<parent>[0-9a-f]{16})
    - (?P<flags>[0-9a-f]{2}) (?P<rest>-.*)?
    """
)

_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_SPAN_ID = re.compile(r"[0-9a-f]{16}")

_SAMPLED = 0x01


@dataclass(frozen=True, slots=True)
class Hop:
    """A request at one node. ``index`` is the node's 1-based place in the EARG config.

    ``start`` is its arrival in the node's queue, in seconds since the Unix epoch. Seconds too,
    one after the other: ``queue`` until the model takes it, ``compute`` in the model, ``leave``
    from the model's answer until it is handed on. ``batch`` requests were computed together.
    ``replica`` is the number, from 0, of the pair that did it.
    """

    node: str
    index: int
    start: float
    queue: float
    compute: float
    leave: float
    batch: int
    replica: int


@dataclass(frozen=True, slots=True)
class Trace:
    """One request's way. ``start`` is in seconds since the Unix epoch, ``duration`` in seconds.

    ``trace_id`` (32 digits) and ``span_id`` (16 digits, the frontend's span) are lower-case
    hexadecimal; ``parent_id`` is the client's span, or empty where it told none. ``error`` is the
    sentence that the client got instead of a reply, or empty. ``hops`` may be incomplete.
    """

    graph: str
    request: int
    trace_id: str
    span_id: str
    parent_id: str
    start: float
    duration: float
    error: str
    hops: tuple[Hop, ...]


def parse_traceparent(header: str) -> tuple[str, str, bool] | None:
    """The trace's id, the client's span and whether the client samples; None where the header is
    invalid, and then a trace begins anew.

    A version above 00 is read as far as 00 goes, as the specification asks for.
    """
    if len(header) > LONGEST_HEADER:
        return None
    found = _HEADER.fullmatch(header)
    if found is None or found["version"] == "ff":
        return None
    if found["version"] == "00" and found["rest"] is not None:
        return None
    trace_id, parent_id = found["trace"], found["parent"]
    if not (_is_id(trace_id, _TRACE_ID) and _is_id(parent_id, _SPAN_ID)):
        return None
    return trace_id, parent_id, bool(int(found["flags"], 16) & _SAMPLED)


def format_traceparent(trace_id: str, span_id: str, sampled: bool) -> str:
    """The header, version 00, that names ``span_id`` as the parent of what follows.

    Raises ValueError for ids that the specification does not admit.
    """
    if not _is_id(trace_id, _TRACE_ID):
        raise ValueError(f"a trace id is 32 lower-case hex digits, not all 0; not {trace_id!r}")
    if not _is_id(span_id, _SPAN_ID):
        raise ValueError(f"a span id is 16 lower-case hex digits, not all 0; not {span_id!r}")
    return f"00-{trace_id}-{span_id}-{_SAMPLED if sampled else 0:02x}"


def _is_id(text: str, form: re.Pattern[str]) -> bool:
    return form.fullmatch(text) is not None and text.strip("0") != ""
