"""Bodies of requests are bounded before anything reads them."""

from __future__ import annotations

from typing import Any

from hogar_provider.plugins.api.errors import error_reply

MOST_BODY = 64 * 1024
"""Bytes of a request's body."""

MOST_SEND_BODY = 16 * 1024 * 1024
"""Bytes of the body of a test request: its own body in base64 or with JSON's escapes."""


class BodyLimit:
    """ASGI middleware that answers 413 to what is larger."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = MOST_SEND_BODY if scope["path"].endswith("/send") else MOST_BODY
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if not said.isdigit() or int(said) > most:
            await self._refuse(most, scope, receive, send)
            return
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            if len(body) > most:
                await self._refuse(most, scope, receive, send)
                return
            if not message.get("more_body", False):
                break
        given = False

        async def whole() -> Any:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, whole, send)

    async def _refuse(self, most: int, scope: Any, receive: Any, send: Any) -> None:
        reply = error_reply(
            413, "too_large", f"The request's body is larger than {most // 1024} KiB."
        )
        await reply(scope, receive, send)
