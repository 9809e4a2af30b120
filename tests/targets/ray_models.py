"""Small models for Ray Serve, which imports this file in an environment of its own."""

from __future__ import annotations

import os
import time
from typing import Any


class Detector:
    """Tells what was asked, in how large a batch, and what its environment says."""

    def predict_batch(self, requests: list[str]) -> list[dict[str, Any]]:
        who = os.environ.get("WHO")
        return [{"kind": one, "batch": len(requests), "who": who} for one in requests]


class Pass:
    """Replies what it gets."""

    def predict(self, request: Any) -> Any:
        return request


class Left:
    def predict(self, request: Any) -> Any:
        return {"side": "left"}


class Right:
    def predict(self, request: Any) -> Any:
        return {"side": "right"}


class Flaky:
    """Fails with each request that it has not been asked before."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def predict(self, request: Any) -> Any:
        asked = request["kind"]
        if asked not in self.seen:
            self.seen.add(asked)
            raise ValueError("not the first time")
        return {"flaky": asked}


class Slow:
    def predict(self, request: Any) -> Any:
        time.sleep(5)
        return request


class Broken:
    def predict(self, request: Any) -> Any:
        raise ValueError("never")
