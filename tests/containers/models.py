"""The models of the graph that the tests run in containers."""

from __future__ import annotations

import json
from typing import Any


class Greet:
    """Stateless."""

    def predict(self, request: Any) -> Any:
        return f"hello {request}"


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
