"""What a ServiceMonitor may hold, from the Prometheus operator's public API reference
(monitoring.coreos.com/v1): the part that is written here, and no other key."""

from __future__ import annotations

from typing import Any

import jsonschema

_TEXT = {"type": "string", "minLength": 1}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}


def _closed(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_KEY = _closed(("key",), name=_TEXT, key=_TEXT, optional={"type": "boolean"})

_AUTHORIZATION = _closed((), type=_TEXT, credentials=_KEY)

_ENDPOINT = _closed(
    (),
    port=_TEXT,
    path={"type": "string", "pattern": "^/"},
    scheme={"enum": ["http", "https", "HTTP", "HTTPS"]},
    interval={"type": "string", "pattern": r"^(\d+(ms|s|m|h))+$"},
    scrapeTimeout={"type": "string", "pattern": r"^(\d+(ms|s|m|h))+$"},
    honorLabels={"type": "boolean"},
    authorization=_AUTHORIZATION,
)

SERVICE_MONITOR = _closed(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "monitoring.coreos.com/v1"},
    kind={"const": "ServiceMonitor"},
    metadata=_closed(
        ("name",),
        name={"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 253},
        labels=_TEXTS,
        annotations=_TEXTS,
    ),
    spec=_closed(
        ("selector", "endpoints"),
        selector=_closed((), matchLabels=_TEXTS),
        endpoints={"type": "array", "items": _ENDPOINT, "minItems": 1},
        jobLabel=_TEXT,
        targetLabels={"type": "array", "items": _TEXT},
    ),
)


def errors_of(value: Any) -> list[str]:
    """What is wrong with it."""
    found = jsonschema.Draft202012Validator(SERVICE_MONITOR).iter_errors(value)
    return [one.message for one in found]
