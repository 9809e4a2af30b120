"""A small WSGI server behind certificates and a token."""

from __future__ import annotations

import contextlib
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import pytest

from earg.http_client import open_url
from earg.security import SETTINGS, security
from earg.wsgi_door import guard_wsgi, secure_listener
from tests.earg.authority import Authority, token_file
from tests.earg.test_security import OTHER, TOKEN, use


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings but the test's own."""
    use(monkeypatch, {})
    yield
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    security.cache_clear()


class _Handler(WSGIRequestHandler):
    timeout = 1.0

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def _app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"figures"]


@contextlib.contextmanager
def served() -> Iterator[int]:
    server = WSGIServer(("127.0.0.1", 0), _Handler)
    server.set_app(guard_wsgi(_app, security()))
    secure_listener(server, security())
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def get(scheme: str, port: int) -> bytes:
    request = urllib.request.Request(f"{scheme}://127.0.0.1:{port}/metrics")
    with open_url(request, 20) as reply:
        return bytes(reply.read())


@pytest.mark.parametrize("with_tls", [False, True])
@pytest.mark.parametrize("with_token", [False, True])
def test_who_shows_what_is_asked_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_tls: bool, with_token: bool
) -> None:
    tls = Authority(tmp_path / "a").issue("metrics", "127.0.0.1") if with_tls else {}
    token = token_file(tmp_path, TOKEN) if with_token else {}
    use(monkeypatch, tls | token)
    scheme = security().http_scheme
    with served() as port:
        assert get(scheme, port) == b"figures"
        if with_token:
            for other in (tls, tls | token_file(tmp_path, OTHER)):
                use(monkeypatch, other)
                with pytest.raises(urllib.error.HTTPError) as caught:
                    get(scheme, port)
                with caught.value as refusal:
                    assert refusal.code == 401
                    assert refusal.headers["WWW-Authenticate"].startswith("Bearer")
                    assert b"asks for a token" in refusal.read()
        if with_tls:
            wrong = Authority(tmp_path / "b").issue("metrics", "127.0.0.1")
            for other in (wrong, wrong | {"EARG_TLS_CA": tls["EARG_TLS_CA"]}):
                use(monkeypatch, other | token)
                with pytest.raises(OSError, match=r"certificate|CA|alert|reset|closed|EOF"):
                    get("https", port)
            with socket.create_connection(("127.0.0.1", port), 20):
                # One that never shakes hands holds the thread no longer than its timeout.
                use(monkeypatch, tls | token)
                assert get(scheme, port) == b"figures"
