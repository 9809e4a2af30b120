"""Small real models for the provider's tests."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any


class Upper:
    """Replies the text in capitals."""

    def predict(self, request: str) -> str:
        return request.upper()


class Backwards:
    """Replies the text from its end to its beginning."""

    def predict(self, request: str) -> str:
        return request[::-1]


class Counter:
    """Replies how many requests it has seen: a stateful model."""

    def __init__(self) -> None:
        self._seen = 0

    def predict(self, request: Any) -> int:
        self._seen += 1
        return self._seen

    def get_state(self) -> bytes:
        return str(self._seen).encode()

    def set_state(self, state: bytes) -> None:
        self._seen = int(state)


class NoWeights:
    """A model that cannot be constructed."""

    def __init__(self) -> None:
        self._weights = self._read("weights.bin")

    def _read(self, name: str) -> bytes:
        raise FileNotFoundError(f"there is no {name}")


class WarmsUp:
    """Takes as long to warm up as there is no file ``warm`` beside this one; fails where that says
    so."""

    def warm_up(self) -> None:
        file = Path(__file__).with_name("warm")
        while not file.exists():
            time.sleep(0.02)
        if file.read_text() == "no":
            raise RuntimeError("the GPU is gone")

    def predict(self, request: str) -> str:
        return f"warm {request}"


class Words:
    """Replies what it has found in a text, as JSON."""

    def predict(self, request: str) -> dict[str, Any]:
        return {"words": request.split(), "count": len(request.split())}


class Says:
    """Adds what its environment says to what it was told."""

    def predict(self, request: dict[str, Any]) -> dict[str, Any]:
        return {**request, "said": os.environ["GREETING"]}


class Last:
    """Replies what was said last, and of how many words: with a state, if an empty one."""

    def predict(self, request: dict[str, Any]) -> list[Any]:
        return [request["said"], request["count"]]

    def get_state(self) -> bytes:
        return b""

    def set_state(self, state: bytes) -> None:
        assert state == b""
