"""A test request to a graph's own frontend."""

from __future__ import annotations

import base64
import binascii
import secrets
import time
import urllib.error
import urllib.request

from hogar_provider.plugins.api.agents import ask, engine_of
from hogar_provider.plugins.api.datamodels.sending import MOST_BODY, TestReply, TestRequest
from hogar_provider.plugins.api.declared import find_declared
from hogar_provider.plugins.api.errors import ApiError

SEND_TIMEOUT = 60.0
"""Seconds that the frontend may take."""


def send(dag_id: str, asked: TestRequest) -> TestReply:
    """Send it; whatever the frontend answers is the reply, errors too. It goes to the address that
    the agent tells and nowhere else. Raises :class:`ApiError`; blocks."""
    from earg.http_client import open_url
    from earg.security import SecurityError
    from earg.traces import format_traceparent

    declared = find_declared(dag_id)
    engine = engine_of(declared.conn_id)
    url = ask(engine.home, lambda agent: agent.graph(declared.name)).url
    if not url:
        raise ApiError(409, "not_serving", "The graph does not serve yet: wait until it is wired.")
    trace = format_traceparent(secrets.token_hex(16), secrets.token_hex(8), sampled=True)
    request = urllib.request.Request(  # noqa: S310  the frontend's own http URL
        f"{url}/predict", _body(asked), {"Content-Type": asked.content_type, "traceparent": trace}
    )
    if engine.token:
        request.add_unredirected_header("Authorization", f"Bearer {engine.token}")
    begun = time.monotonic()
    try:
        with open_url(request, SEND_TIMEOUT) as reply:
            status, body, headers = reply.status, reply.read(MOST_BODY + 1), reply.headers
    except urllib.error.HTTPError as error:
        status, body, headers = error.code, error.read(MOST_BODY + 1), error.headers
    except SecurityError as error:
        raise ApiError(503, "security", f"The API server's settings are wrong: {error}.") from None
    except OSError as error:
        raise ApiError(502, "no_reply", f"{url} does not answer: {error}.") from None
    if len(body) > MOST_BODY:
        raise ApiError(
            502,
            "too_large",
            f"The reply is larger than {MOST_BODY // 1024**2} MiB.",
        )
    ms = round((time.monotonic() - begun) * 1000, 3)
    content_type = headers.get("Content-Type", "application/octet-stream")
    text = _text(body, content_type)
    return TestReply(
        status=status,
        content_type=content_type,
        body=text,
        body_base64=None if text is not None else base64.b64encode(body).decode(),
        ms=ms,
        traceparent=trace,
    )


def _body(asked: TestRequest) -> bytes:
    if asked.body is not None:
        return asked.body.encode()
    try:
        return base64.b64decode(asked.body_base64 or "", validate=True)
    except binascii.Error as error:
        raise ApiError(422, "invalid_request", f"body_base64 is not base64: {error}.") from None


def _text(body: bytes, content_type: str) -> str | None:
    kind = content_type.partition(";")[0].strip().lower()
    if not (kind.startswith("text/") or kind.endswith("json")):
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None
