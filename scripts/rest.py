"""HTTP on this machine: JSON over it, and Airflow's REST API."""

from __future__ import annotations

import json
import urllib.request
from typing import Any


class Api:
    """Airflow's REST API, as one user. Every call raises OSError where there is no good answer."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self._user = user
        self._password = password
        self._token = ""

    def get(self, path: str) -> Any:
        """The answer to GET."""
        return self._call("GET", path, None)

    def patch(self, path: str, body: Any) -> Any:
        """The answer to PATCH."""
        return self._call("PATCH", path, body)

    def health(self) -> dict[str, Any]:
        """The state of Airflow's parts."""
        found = http(f"{self.url}/api/v2/monitor/health")
        return found if isinstance(found, dict) else {}

    def hogar(self, path: str) -> Any:
        """The answer of HOGAR's own API to GET."""
        return self._call("GET", path, None, "hogar/api/v1")

    def _call(self, method: str, path: str, body: Any, base: str = "api/v2") -> Any:
        if not self._token:
            login = {"username": self._user, "password": self._password}
            self._token = http(f"{self.url}/auth/token", "POST", login)["access_token"]
        headers = {"Authorization": f"Bearer {self._token}"}
        return http(f"{self.url}/{base}/{path}", method, body, headers)


# No proxy of the environment: everything the demo talks to is on this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def http(
    url: str,
    method: str = "GET",
    body: Any = None,
    headers: dict[str, str] | None = None,
    timeout: float = 20.0,
) -> Any:
    """Send a request, with ``body`` as JSON unless it is bytes; returns the JSON that comes back.

    Raises OSError (of which HTTPError is one) where there is no good answer.
    """
    all_headers = dict(headers or {})
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        all_headers["Content-Type"] = "application/json"
    request = urllib.request.Request(url, body, all_headers, method=method)  # noqa: S310
    with _OPENER.open(request, timeout=timeout) as reply:
        text = reply.read()
    try:
        return json.loads(text)
    except ValueError:
        raise OSError(f"{url} answered with something that is no JSON") from None
