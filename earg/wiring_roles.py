"""Which of a stateful node's two proxies answers: what the wiring may do, and what not yet.

The wiring's half of the rules in :mod:`earg.lease`. It keeps nothing when it ends, so it begins
with what the proxies tell; what they cannot tell it waits for. Everything here is decided from
values, without a clock or a network of its own.

There is one wiring at a time. Two of them that cannot reach each other could each give leases to
another primary: the platform has to see to it that there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from earg.lease import LEASE, MARGIN

FAIL_OVER_AFTER = 2.0
"""Seconds of silence after which a primary is taken for dead where its backup has its state, and a
backup that its primary does not reach is taken away from it."""

UNKNOWN_PATIENCE = 10.0
"""Seconds for which a wiring that has just begun waits for a proxy that it has not heard yet."""

EMPTY_PATIENCE = 30.0
"""The same before it lets a primary begin without a state, which the silent one might have."""

ATTACH_PAUSE = 2.0
"""Seconds after an attempt to attach a backup that failed."""


@dataclass(frozen=True, slots=True)
class Word:
    """What a proxy has told of itself, as ``LeaseReply`` has it."""

    process: int
    has_graph: bool
    is_primary: bool
    epoch: int
    alone: bool
    synced: bool
    backup_silent: float = 0.0
    refused: str = ""
    lease_age: float = -1.0
    expected: int = 0

    @property
    def leads(self) -> bool:
        """Whether it takes itself for the primary."""
        return self.has_graph and self.is_primary

    @property
    def follows(self) -> bool:
        """Whether it is a backup."""
        return self.has_graph and not self.is_primary

    @property
    def is_leased(self) -> bool:
        """Whether it has a lease: then nobody else has one."""
        return self.leads and self.alone and 0 <= self.lease_age < LEASE

    @property
    def is_followed(self) -> bool:
        """Whether it has a backup that keeps up."""
        paired = self.leads and not self.alone and self.synced
        return paired and not self.refused and self.backup_silent == 0


@dataclass(frozen=True, slots=True)
class Seen:
    """One of the two. ``word`` is None while it does not answer, which is taken for its death when
    it is ``silent``; ``known`` tells that it has answered this wiring, and ``led`` that it took
    itself for the primary when it did last. ``is_new`` tells that its process was started anew, and
    has no graph whatever it says."""

    word: Word | None = None
    silent: bool = False
    known: bool = True
    is_new: bool = False
    led: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether its process is known to have nothing: what was in its place before is gone."""
        return self.is_new or (self.word is not None and not self.word.has_graph)

    @property
    def leads(self) -> bool:
        """Whether it answers, and takes itself for the primary."""
        return not self.is_new and self.word is not None and self.word.leads

    @property
    def follows(self) -> bool:
        """Whether it answers, and is a backup."""
        return not self.is_new and self.word is not None and self.word.follows


class Step(Enum):
    """What is to be done about a node."""

    WAIT = "wait"
    """Nothing."""

    START = "start"
    """Give the first one the graph: there is no state that it could take over."""

    SWAP = "swap"
    """The second one is the primary."""

    END_FIRST = "end first"
    """Tell the first one that it was replaced."""

    END_SECOND = "end second"
    """Tell the second one that it was replaced."""

    TAKE_AWAY = "take away"
    """Take its backup away from the first one."""

    FENCE = "fence"
    """Let the second one expect nothing of whoever led before."""

    ATTACH = "attach"
    """Let the second one follow the first."""

    PROMOTE = "promote"
    """The second one takes the place of the first, with all that it has told anybody."""

    PROMOTE_OLD = "promote old"
    """The same with a state that may be an older one: there is no other."""


class Roles:
    """What one wiring knows of one node. The first of its pairs is the one that it takes for the
    primary. Times are seconds of one clock; ``now`` is the time at which the wiring begins."""

    def __init__(self, now: float) -> None:
        self._began = now
        # The process that this wiring knows to be the primary, or has made it.
        self.leader: int | None = None
        # The epoch named last in which the leader was to replicate: who holds its state may take
        # its place. And the epoch in which the leader was alone when that was named.
        self.attached: int | None = None
        self._attached_from: int | None = None
        # What the second one is to expect, and which process leads then.
        self.expect = 0
        self._fenced_for: int | None = None
        self._candidate: int | None = None
        self._candidate_since = now
        # The process and epoch that leases are given to.
        self.entitled: tuple[int, int] | None = None
        # Another wiring may have given one just before this one began.
        self.lease_ends = now + LEASE + MARGIN
        self._is_promoting = False
        self.attach_at = now

    # --- what was done ----------------------------------------------------------------------

    def granting(self, now: float) -> None:
        """A lease is about to be sent to whoever is entitled."""
        assert self.entitled is not None
        if self._attached_from != self.entitled[1]:
            # From here on it may answer what no backup knows of.
            self.attached = self._attached_from = None
        self.lease_ends = now + LEASE + MARGIN

    def attaching(self, word: Word, epoch: int) -> None:
        """The first one, which is alone, is about to be told to replicate in ``epoch``."""
        self.attached, self._attached_from = epoch, word.epoch
        self.expect = epoch

    def fencing(self, word: Word, epoch: int) -> None:
        """The second one is to expect ``epoch``, which nobody is in, before the first one leads."""
        self.expect, self._fenced_for = epoch, word.process

    def attach_failed(self, now: float) -> None:
        """It is to be tried again, but not at once."""
        self.attach_at = now + ATTACH_PAUSE

    def promoting(self) -> None:
        """The second one is about to be told; whether it has heard may never be known."""
        self._is_promoting = True

    def promoted(self, process: int, epoch: int) -> None:
        """It is the primary, and alone in ``epoch``."""
        self.leader, self.entitled = process, (process, epoch)
        self.attached = self._attached_from = None
        self._is_promoting = False

    def swapped(self, word: Word) -> None:
        """The first one is the one that was the second."""
        if self._is_promoting:
            # It has heard after all; the other one sends nothing on since.
            self.promoted(word.process, word.epoch)

    def ended(self, process: int) -> None:
        """It has said that it ends, and has no lease from then on."""
        if self.entitled is not None and self.entitled[0] == process:
            self.entitled = None
            self.lease_ends = 0.0
        if self.leader == process:
            self.leader = None

    # --- what is to be done -----------------------------------------------------------------

    def decide(self, now: float, first: Seen, second: Seen | None) -> Step:
        """What is to be done now; sets who is entitled to a lease."""
        if second is not None and second.leads:
            self.entitled = None if not first.leads else self.entitled
            return self._two(now, first, second)
        if first.leads and first.word is not None:
            self._is_promoting = False
            return self._leads(now, first.word, second)
        if second is None:
            return Step.START if first.is_empty else Step.WAIT
        if first.follows:
            return self._follows(now, first, second)
        step = self._nobody_leads(now, first, second)
        if step is not Step.WAIT:
            self.entitled = None
        return step

    def _is_fresh(self, now: float, other: Seen) -> bool:
        return not other.known and now < self._began + UNKNOWN_PATIENCE

    def _two(self, now: float, first: Seen, second: Seen) -> Step:
        """The second one takes itself for the primary."""
        ours, theirs = first.word, second.word
        assert theirs is not None
        if ours is None or not first.leads:
            if self._is_promoting or self.leader == theirs.process:
                return Step.SWAP
            if self.leader is not None:
                return Step.END_SECOND
            if theirs.is_leased or theirs.is_followed:
                self.leader = theirs.process
                return Step.SWAP
            return Step.WAIT if self._is_fresh(now, first) else Step.SWAP
        if ours.alone != theirs.alone:
            # Whose backup has taken its place.
            return Step.END_SECOND if ours.alone else Step.END_FIRST
        if self.leader is not None:
            return Step.END_FIRST if self.leader == theirs.process else Step.END_SECOND
        newer = theirs.lease_age >= 0 and (ours.lease_age < 0 or theirs.lease_age < ours.lease_age)
        return Step.END_FIRST if newer else Step.END_SECOND

    def _leads(self, now: float, word: Word, second: Seen | None) -> Step:
        if self.leader != word.process and second is not None and second.led:
            # Which of the two it is, is to be seen when both answer, or the other one is empty.
            return Step.WAIT
        if not word.alone:
            self.leader, self.entitled = word.process, None
            if self.attached != word.epoch:
                self.attached, self._attached_from = word.epoch, None
            return self._with_backup(now, word, second)
        if self.leader != word.process:
            step = self._may_lead(now, word, second)
            if step is not None:
                return step
            self.leader = word.process
            self.attached = self._attached_from = None
        self.entitled = (word.process, word.epoch)
        if second is not None and second.follows and now >= self.attach_at:
            return Step.ATTACH
        return Step.WAIT

    def _may_lead(self, now: float, word: Word, second: Seen | None) -> Step | None:
        """What is to be done before one that is alone, and was not the leader, gets a lease; None
        where it may get it."""
        if word.is_leased and self.leader is None:
            # Whoever gave it that has seen to it.
            return None
        if self._candidate != word.process:
            self._candidate, self._candidate_since = word.process, now
        if now < self.lease_ends:
            return Step.WAIT
        if second is None or second.is_empty:
            return None
        if second.follows and second.word is not None:
            # A primary that was replaced may still replicate to it.
            if self._fenced_for != word.process:
                return Step.FENCE
            return None if second.word.expected == self.expect else Step.WAIT
        # It may be that it is reached by one whom nobody else reaches. But it may never come back.
        is_given_up = second.silent and now > self._candidate_since + UNKNOWN_PATIENCE
        return None if is_given_up else Step.WAIT

    def _with_backup(self, now: float, word: Word, second: Seen | None) -> Step:
        if second is None or second.is_empty or word.refused:
            return Step.TAKE_AWAY
        if word.backup_silent >= FAIL_OVER_AFTER and not self._is_fresh(now, second):
            return Step.TAKE_AWAY
        return Step.WAIT

    def _follows(self, now: float, first: Seen, second: Seen) -> Step:
        """The first one is a backup: it follows somebody, and only the other can have been that."""
        assert first.word is not None
        if not second.follows or second.word is None:
            return Step.SWAP
        # Both are, so the primary's process is gone.
        self.entitled = None
        if second.word.synced:
            return Step.PROMOTE_OLD if now > self.lease_ends else Step.WAIT
        return Step.SWAP if first.word.synced else Step.END_FIRST

    def _nobody_leads(self, now: float, first: Seen, second: Seen) -> Step:
        if not first.is_empty and not first.silent:
            return Step.WAIT
        heir = second.word if second.follows else None
        holds = heir is not None and heir.synced
        if holds and heir is not None and heir.epoch == self.attached:
            return Step.PROMOTE
        if not first.is_empty:
            # It may be there, with more than the second one knows.
            unknown = self.leader is None and now > self._began + UNKNOWN_PATIENCE
            return Step.PROMOTE_OLD if holds and unknown else Step.WAIT
        if holds:
            return Step.PROMOTE_OLD if now > self.lease_ends else Step.WAIT
        if second.word is not None or second.is_new:
            return Step.START
        if self.leader is None:
            return Step.START if now > self._began + EMPTY_PATIENCE else Step.WAIT
        # A silent one that has all is waited for.
        return Step.START if self.attached is None else Step.WAIT
