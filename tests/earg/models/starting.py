"""A model that starts processes of its own."""

from __future__ import annotations

import subprocess
from typing import Any

SLEEP = ("sleep", "600")


class StartsOthers:
    """Starts one process in its own group and one in a session apart, and replies their pids."""

    def __init__(self) -> None:
        self._beside = subprocess.Popen(SLEEP)
        self._apart = subprocess.Popen(SLEEP, start_new_session=True)

    def predict(self, request: Any) -> list[int]:
        return [self._beside.pid, self._apart.pid]
