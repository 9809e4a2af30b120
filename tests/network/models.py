"""The models of the graph that is cut into pieces."""

from __future__ import annotations

import os
from typing import Any


class Pass:
    """Stateless."""

    def predict_batch(self, requests: list[Any]) -> list[Any]:
        return requests


class Count:
    """Stateful: each reply says how many requests there were, and which instance has counted."""

    def __init__(self) -> None:
        self.count = 0

    def predict(self, request: Any) -> Any:
        self.count += 1
        return f"{self.count} {os.environ['INSTANCE']} {request}"

    def get_state(self) -> bytes:
        return str(self.count).encode()

    def set_state(self, state: bytes) -> None:
        self.count = int(state)
