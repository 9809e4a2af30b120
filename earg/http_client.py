"""How the runtime's own tools ask a frontend over HTTP: with what the environment sets."""

from __future__ import annotations

import http.client
import socket
import urllib.request
from typing import Any

from earg.security import Security, Tls, security


def open_url(request: urllib.request.Request, timeout: float) -> Any:
    """As ``urllib.request.urlopen``, with this process's certificate and token, and past any proxy
    of the environment: a frontend is on this machine or its network."""
    return _opener(security()).open(request, timeout=timeout)


def _opener(found: Security) -> urllib.request.OpenerDirector:
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({}), _NoRedirect()]
    if found.tls is not None:
        handlers.append(_Https(found.tls))
    opener = urllib.request.build_opener(*handlers)
    if found.token:
        opener.addheaders = [("Authorization", f"Bearer {found.token}")]
    return opener


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A frontend sends nobody elsewhere, and the token must not go there."""

    def redirect_request(self, *_: Any) -> None:
        return None


class _Connection(http.client.HTTPSConnection):
    """Checks the name that certificates carry here, which need not be the URL's."""

    def __init__(self, host: str, *, tls: Tls, **named: Any) -> None:
        super().__init__(host, context=tls.client, **named)
        self._tls = tls

    def connect(self) -> None:
        connection = socket.create_connection((self.host, self.port), self.timeout)
        self.sock = self._tls.client.wrap_socket(
            connection, server_hostname=self._tls.name_of(self.host)
        )


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, tls: Tls) -> None:
        super().__init__(context=tls.client)
        self._tls = tls

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        def connection(host: str, **named: Any) -> _Connection:
            named.pop("context", None)
            named.pop("check_hostname", None)
            return _Connection(host, tls=self._tls, **named)

        return self.do_open(connection, req)
