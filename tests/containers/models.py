"""The models of the graph that the tests run in containers."""

from __future__ import annotations

import json
import socket
import time
from typing import Any


class Greet:
    """Stateless."""

    def predict_batch(self, requests: list[Any]) -> list[Any]:
        if "where" not in requests:
            return [f"hello {one}" for one in requests]
        # Long enough for the next batch to come before this one is done.
        time.sleep(0.2)
        return [socket.gethostname() for _ in requests]


class Count:
    """Stateful: how many requests it has had."""

    def __init__(self) -> None:
        self.count = 0

    def predict(self, request: Any) -> Any:
        self.count += 1
        return f"{self.count}: {request}"

    def get_state(self) -> bytes:
        return json.dumps(self.count).encode()

    def set_state(self, state: bytes) -> None:
        self.count = json.loads(state)
