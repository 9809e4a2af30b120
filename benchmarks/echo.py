"""The benchmarks' models."""

from __future__ import annotations

from typing import Any


class Echo:
    """Replies what it was asked; its state is the number of requests, eight bytes."""

    def __init__(self) -> None:
        self._count = 0

    def predict_batch(self, requests: list[Any]) -> list[Any]:
        self._count += len(requests)
        return ["+".join(r) if isinstance(r, list) else r for r in requests]

    def get_state(self) -> bytes:
        return self._count.to_bytes(8, "big")

    def set_state(self, state: bytes) -> None:
        self._count = int.from_bytes(state, "big")
