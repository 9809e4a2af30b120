"""Which changes of a node's state are told, and when."""

from __future__ import annotations

import time
from collections.abc import Callable

from earg.status import NodeState, NodeStatus

BUSY_SETTLES, BUSY_QUIET = 1.0, 10.0
"""A node that gets busy, or ready again, is told of when it has been so for so many seconds, and
not sooner after the last time than so many seconds: it may change with every batch."""


class StateChanges:
    """Those of one node. ``tell`` gets the cause, the state before (empty for a node that was not
    there) and the one after."""

    def __init__(self, tell: Callable[[str, str, str], None]) -> None:
        self._tell = tell
        self._state: NodeState | None = None
        self._other_since: float | None = None
        self._quiet_until = 0.0

    def look(self, status: NodeStatus, cause: str) -> None:
        """Tell of a change; ``cause`` is what is said of one for which ``status`` gives none."""
        state = status.state
        if {state, self._state} != {NodeState.READY, NodeState.BUSY}:
            self._other_since = None
            self.becomes(state, status.reason or cause)
            return
        now = time.monotonic()
        if self._other_since is None:
            self._other_since = now
        elif now - self._other_since >= BUSY_SETTLES and now >= self._quiet_until:
            self._quiet_until = now + BUSY_QUIET
            self.becomes(state, status.reason or "fewer requests wait than two batches hold")

    def becomes(self, state: NodeState, cause: str) -> None:
        """Tell of ``state`` unless it is the one that was told last."""
        before, self._state = self._state, state
        self._other_since = None
        if before is not state:
            cause = cause.partition("\n")[0]
            self._tell(cause, before.value if before is not None else "", state.value)
