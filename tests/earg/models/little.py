"""Small real models for the runtime's tests."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any


class Echo:
    """Replies what it was asked; a join's parts are put together with '+'."""

    def predict_batch(self, requests: list[Any]) -> list[Any]:
        return ["+".join(map(str, r)) if isinstance(r, list) else r for r in requests]


class Named:
    """Replies ``name(request)``, with its own name, so that a reply shows its path."""

    def predict(self, request: Any) -> str:
        name = os.environ["MODEL_NAME"].split(".")[1]
        inner = "|".join(request) if isinstance(request, list) else request
        return f"{name}({inner})"

    def get_state(self) -> bytes:
        return b""

    def set_state(self, state: bytes) -> None:
        assert state == b""


class BatchSizes:
    """Replies the size of the batch that a request came in; slow, so that requests gather."""

    def predict_batch(self, requests: list[Any]) -> list[Any]:
        time.sleep(0.05)
        return [len(requests)] * len(requests)


class Counter:
    """Counts the requests it has seen, and refuses 'bad' ones after having counted them."""

    def __init__(self) -> None:
        self._count = 0

    def predict_batch(self, requests: list[Any]) -> list[Any]:
        replies = []
        for request in requests:
            self._count += 1
            if request == "bad":
                raise ValueError("bad is refused")
            replies.append(self._count)
        return replies

    def get_state(self) -> bytes:
        return json.dumps(self._count).encode()

    def set_state(self, state: bytes) -> None:
        self._count = json.loads(state)


class RaisesOnConstruction:
    """A model whose weights are missing; it has begun to work by then."""

    def __init__(self) -> None:
        threading.Thread(target=time.sleep, args=(600,), daemon=False).start()
        raise FileNotFoundError("weights.bin is missing")


class Hangs:
    """A model that takes for ever to construct."""

    def __init__(self) -> None:
        time.sleep(600)

    def predict(self, request: Any) -> Any:
        return request


class Environment:
    """Replies the value of the environment variable it is asked for."""

    def predict(self, request: str) -> Any:
        return os.environ.get(request)


class Ledger:
    """A stateful model: counts the requests it has seen, by name, and replies how often it saw
    this one and how many in all. Each request must have changed it exactly once."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._changes: dict[str, int] = {}

    def predict_batch(self, requests: list[str]) -> list[Any]:
        replies = []
        for request in requests:
            if request != "?":
                self._seen[request] = self._changes[request] = self._seen.get(request, 0) + 1
            replies.append({"times": self._seen.get(request, 0), "all": len(self._seen)})
        return replies

    def get_state(self) -> bytes:
        return json.dumps(self._seen).encode()

    def set_state(self, state: bytes) -> None:
        self._seen = json.loads(state)

    def get_delta(self) -> bytes:
        changes, self._changes = self._changes, {}
        return json.dumps(changes).encode()

    def apply_delta(self, delta: bytes) -> None:
        self._seen.update(json.loads(delta))


class Forgetful:
    """A model that changes with every request and cannot give its state away."""

    def __init__(self) -> None:
        self._count = 0

    def predict(self, request: Any) -> int:
        self._count += 1
        return self._count


class DiesOnBad:
    """Its process dies on a request 'bad': as native code does that crashes."""

    def predict(self, request: Any) -> Any:
        if request == "bad":
            os._exit(139)
        return request


class DiesOnSecondStart:
    """Starts once; its folder remembers, and every later start dies."""

    def __init__(self) -> None:
        mark = Path(os.environ["MARK"])
        if mark.exists():
            raise RuntimeError("the device is gone")
        mark.touch()

    def predict(self, request: Any) -> Any:
        return request


class RefusesState(Ledger):
    """Another version of the ledger, whose state has another form."""

    def set_state(self, state: bytes) -> None:
        raise ValueError("this state is of another form")


class Slow:
    """Takes a second for each batch."""

    def predict_batch(self, requests: list[Any]) -> list[Any]:
        time.sleep(1.0)
        return requests


class DiesOnMark(Ledger):
    """A ledger that starts only as long as a file is not there."""

    def __init__(self) -> None:
        super().__init__()
        if Path(os.environ["MARK"]).exists():
            raise RuntimeError("the device is gone")


class FailsFirst:
    """Of a request ``NAME COUNT`` it fails so many times before it replies how often it saw it."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def predict(self, request: str) -> int:
        seen = self._seen[request] = self._seen.get(request, 0) + 1
        if seen <= int(request.split()[1]):
            raise ValueError(f"{request} fails")
        return seen


class HangsOnce:
    """The first of all batches takes for ever."""

    def predict_batch(self, requests: list[Any]) -> list[Any]:
        mark = Path(os.environ["MARK"])
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            return requests
        time.sleep(600)
        return requests
