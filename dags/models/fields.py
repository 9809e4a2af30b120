"""Named fields of a JSON request, checked."""

from __future__ import annotations

from typing import Any

DEFAULT_SESSION = "default"
"""The session of a request that names none."""

MAX_SESSION_NAME = 200
"""Longest name of a session, in characters."""


def object_of(request: Any, who: str, expected: str) -> dict[str, Any]:
    """``request`` as a JSON object; ``expected`` is an example of one for the error's text."""
    if not isinstance(request, dict):
        raise ValueError(
            f"{who} expects a JSON object such as {expected}, but got {kind_of(request)}"
        )
    return request


def text_of(request: dict[str, Any], field: str, who: str) -> str:
    """The text in ``field``, which must be there."""
    if field not in request:
        found = ", ".join(sorted(map(str, request))) or "no field"
        raise ValueError(f"{who} needs the field {field!r}, but the request has {found}")
    value = request[field]
    if not isinstance(value, str):
        raise ValueError(f"{who} needs text in the field {field!r}, but it holds {kind_of(value)}")
    return value


def texts_of(request: dict[str, Any], field: str, who: str) -> list[str]:
    """The list of texts in ``field``, which must be there."""
    value = request.get(field)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(
            f"{who} needs a list of texts in the field {field!r}, but it holds {kind_of(value)}"
        )
    return value


def session_of(request: dict[str, Any], who: str) -> str:
    """The speaker's session: the field ``session``, or the default one."""
    name = request.get("session", DEFAULT_SESSION)
    if not isinstance(name, str) or not name or len(name) > MAX_SESSION_NAME:
        raise ValueError(
            f"{who} needs a session name of 1 to {MAX_SESSION_NAME} characters in the field "
            f"'session', or no such field; it holds {kind_of(name)}"
        )
    return name


def kind_of(value: Any) -> str:
    """What a value is, in words for an error's text; never the value itself, which may be large."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return f"text of {len(value)} characters"
    if isinstance(value, (bytes, bytearray)):
        return f"{len(value)} bytes"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"an object with {len(value)} fields"
    return type(value).__name__
