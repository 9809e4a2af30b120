"""The lease without which a primary that has no backup answers nobody (Gray and Cheriton, 1989).

Nobody can tell a primary that is cut off from one that is dead. So that never two of them answer
with states that differ, a fenced proxy (see :mod:`earg.proxy`) keeps to this, and whoever wires
(:mod:`earg.wiring_roles`) to the other half:

1. What a primary does is of an *epoch*, which the wiring names and no other has had. In an epoch it
   either replicates to one backup or is alone.
2. A primary that replicates sends an output on only when the backup has acknowledged it in this
   epoch. A backup that is promoted acknowledges nothing from then on. It holds all that was
   acknowledged, so what the old primary has sent by then is part of the new one's state.
3. A primary never drops its backup by itself.
4. A primary that is alone sends outputs on only under a lease for this epoch. A lease is counted by
   the process's own clock, from a stamp that it has told before: however late the wiring's message
   comes, the lease ends no later than :data:`LEASE` seconds after the wiring knew the stamp, and
   it is worth nothing to another process at the same address.
5. The wiring gives the leases of a node to one process at a time. To give them to another one it
   waits until the one before has said that it ends, or until its last lease has run out.
6. A backup takes states of the epoch alone that the wiring has told it to expect. Before leases go
   to another process than before, it is told to expect an epoch that nobody is in: one that was
   replaced, and still replicates, finds nobody who acknowledges.
7. A backup is promoted only with the state of the epoch named last, and never once a later epoch's
   primary was given a lease. Only where the primary's process is known to be gone, or whoever
   wired before may have known more and the last lease has run out, is an older state better than
   none.

So an output waits where it must, and is lost or given twice nowhere: the frontend sends again what
is still open, and whoever has computed it gives the same output (:mod:`earg.journal`).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

LEASE = 3.0
"""Seconds for which a lease is given."""

MARGIN = 0.5
"""Seconds more that the wiring waits for a lease to end: two clocks need not run alike."""


def boot_clock() -> float:
    """Seconds since the machine has started. Unlike ``time.monotonic()`` it goes on while the
    machine is suspended, as other machines' clocks do."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a wiring gives: ``seconds`` from ``stamp`` on, to one process in one epoch."""

    process: int
    stamp: float
    seconds: float
    epoch: int


class Lease:
    """The lease that a process holds, or not. ``process`` is no other one's."""

    def __init__(self, clock: Callable[[], float] = boot_clock, process: int = 0) -> None:
        self.process = process or 1 + secrets.randbits(62)
        self._clock = clock
        self._since: float | None = None
        self._until = 0.0
        self._epoch = 0

    def stamp(self) -> float:
        """The time from which a lease that is asked for now would count."""
        return self._clock()

    def take(self, grant: Grant, epoch: int) -> bool:
        """Hold what is granted, where it is for this process in its ``epoch``; whether it is."""
        now = self._clock()
        if grant.process != self.process or grant.epoch != epoch or grant.stamp > now:
            return False
        until = grant.stamp + min(grant.seconds, LEASE)
        if epoch != self._epoch or self._since is None or until > self._until:
            self._epoch, self._since, self._until = epoch, grant.stamp, until
        return self.holds(epoch)

    def holds(self, epoch: int) -> bool:
        """Whether outputs of ``epoch`` may be sent now."""
        return self._since is not None and epoch == self._epoch and self._clock() < self._until

    @property
    def age(self) -> float:
        """Seconds since the stamp of the lease that was taken last; below 0 where none was."""
        return -1.0 if self._since is None else max(0.0, self._clock() - self._since)

    def end(self) -> None:
        """Hold none any more."""
        self._until = 0.0
