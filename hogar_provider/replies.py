"""What a smoke test expects of a reply."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from typing import Any

LONGEST_SHOWN = 2000
"""Characters of a reply that a message shows."""

_STEP = re.compile(r"""\.?(?:\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]|([^.\[\]]+))""")


class PathError(ValueError):
    """A path that cannot be read, or that leads nowhere."""


@dataclass(frozen=True, slots=True)
class Reply:
    """``value`` is a JSON value, text, or bytes, by the reply's content type."""

    value: Any
    content_type: str

    @property
    def text(self) -> str:
        """The reply as text: JSON as JSON."""
        if isinstance(self.value, bytes):
            return self.value.decode(errors="replace")
        if isinstance(self.value, str):
            return self.value
        return json.dumps(self.value, ensure_ascii=False, sort_keys=True, indent=1)


def read_reply(body: bytes, content_type: str) -> Reply:
    """The reply of that content type."""
    if content_type == "application/json":
        return Reply(json.loads(body), content_type)
    if content_type == "text/plain":
        return Reply(body.decode(errors="replace"), content_type)
    return Reply(body, content_type)


def at_path(value: Any, path: str) -> Any:
    """The value that a JSON path leads to: ``$.faces[0].label`` or ``faces.0.label``; a key with
    dots or brackets is written ``["a.b"]``. Raises :class:`PathError`."""
    rest = path[1:] if path.startswith("$") else path
    place, here = 0, "$"
    while place < len(rest):
        step = _STEP.match(rest, place)
        if step is None:
            raise PathError(f"the path {path!r} cannot be read from {rest[place:]!r} on")
        place = step.end()
        position, quoted, plain = step.groups()
        key = json.loads(f'"{quoted}"') if quoted is not None else plain
        if isinstance(value, list) and (position or (plain or "").isdigit()):
            wanted = int(position or plain)
            if wanted >= len(value):
                raise PathError(f"{here} has {len(value)} members; there is no [{wanted}]")
            value, here = value[wanted], f"{here}[{wanted}]"
        elif isinstance(value, dict) and (position or key) in value:
            value, here = value[position or key], f"{here}.{position or key}"
        else:
            known = f"; it has {', '.join(value)}" if isinstance(value, dict) else ""
            raise PathError(f"{here} has no {position or key!r}{known}")
    return value


def difference(expected: Any, found: Any) -> str:
    """What differs, as a unified diff of both as text; empty where nothing does.

    Values are compared as JSON: 1 and 1.0 are the same, 1 and true are not.
    """
    if _same(expected, found):
        return ""
    both_text = isinstance(expected, str) and isinstance(found, str)
    want, have = (expected, found) if both_text else (_json(expected), _json(found))
    lines = difflib.unified_diff(
        want.splitlines(), have.splitlines(), "expected", "reply", lineterm=""
    )
    return "\n".join(lines)[:LONGEST_SHOWN] or f"expected {want!r}, reply {have!r}"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _json(value: Any) -> str:
    if isinstance(value, bytes):
        return repr(value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1)
