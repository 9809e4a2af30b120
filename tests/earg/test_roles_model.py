"""The rules of who answers, against a world that does what it likes.

Two places, their processes, one wiring after the other, and links that fail in either direction.
The wiring's part is the real one (:class:`earg.wiring_roles.Roles`), and so are the leases
(:class:`earg.lease.Lease`); the proxies are as :mod:`earg.replication` has them, without their
sockets. Each run is decided by a seed, so a failure can be looked at again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from earg import lease as lease_module
from earg.lease import LEASE, Grant, Lease
from earg.wiring_roles import FAIL_OVER_AFTER, Roles, Seen, Step, Word

RUNS, STEPS = 150, 250
LOOK = 0.5

TWO = r"two processes have a lease|answers as well"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0


class Process:
    """A proxy with its model. ``history`` is its state: the requests that it has computed. It is of
    a ``life``, which ends where a state is lost for good: another begins without it."""

    lives = 0

    def __init__(self, clock: Clock, number: int, place: int) -> None:
        self.clock, self.place = clock, place
        # Clocks of several machines have nothing in common.
        self.offset = 1000.0 * number
        self.lease = Lease(lambda: clock.now + self.offset, number)
        self.alive = True
        self.role = ""
        self.epoch = 0
        self.history: tuple[int, ...] = ()
        self.life = 0
        self.sent = 0
        self.partner: Process | None = None
        self.synced = False
        self.refused = ""
        self.answered_at = 0.0
        self.held: int | None = None
        self.expected = 0

    def word(self) -> Word:
        leads = self.role == "primary"
        silent = self.clock.now - self.answered_at
        return Word(
            process=self.lease.process,
            has_graph=bool(self.role),
            is_primary=self.role != "backup",
            epoch=self.epoch if leads else self.held or 0,
            alone=self.partner is None,
            synced=self.synced if leads else self.held is not None,
            backup_silent=silent if self.partner is not None and silent > 1 else 0.0,
            refused=self.refused,
            lease_age=self.lease.age,
            expected=self.expected,
        )

    # --- what the wiring says ---------------------------------------------------------------

    def start(self, role: str) -> None:
        if not self.role:
            self.role = role
            if role == "primary":
                self.begin()

    def begin(self) -> None:
        Process.lives += 1
        self.life = Process.lives

    def drop_backup(self, epoch: int) -> None:
        if self.role == "primary":
            self.epoch, self.partner = epoch, None
            self.synced = False
            self.refused = ""

    def set_backup(self, other: Process, epoch: int) -> None:
        if self.role == "primary":
            self.drop_backup(epoch)
            self.partner, self.answered_at = other, self.clock.now

    def promote(self, held: int, epoch: int, is_old: bool) -> None:
        if self.role == "backup" and self.held is not None and self.held == held:
            if is_old:
                self.begin()
            self.role, self.epoch, self.partner = "primary", epoch, None
            self.sent = len(self.history)

    def expect(self, epoch: int) -> None:
        if self.role == "backup":
            self.expected = epoch

    def grant(self, grant: Grant) -> None:
        if self.role == "primary" and self.partner is None:
            self.lease.take(grant, self.epoch)


@dataclass
class World:
    """All there is. ``answers`` is what clients were told: the state that each reply is of."""

    random: random.Random
    clock: Clock = field(default_factory=Clock)
    trace: list[str] = field(default_factory=list)
    last: tuple[int, ...] = ()
    life: int = 0
    answers: int = 0

    def __post_init__(self) -> None:
        self.count = 0
        self.requests = 0
        self.places = [self.process(0), self.process(1)]
        self.gone: list[Process] = []
        self.cut: set[tuple[str, str]] = set()
        self.late: list[tuple[Process, str, tuple[object, ...]]] = []
        self.epoch = self.random.randrange(1, 1 << 30)
        self.wire_anew()

    def process(self, place: int) -> Process:
        self.count += 1
        return Process(self.clock, self.count, place)

    def say(self, *what: object) -> None:
        self.trace.append(f"{self.clock.now:7.1f} {' '.join(map(str, what))}")

    def hears(self, source: str, target: str) -> bool:
        return (source, target) not in self.cut

    def reaches(self, one: Process) -> bool:
        place = str(one.place)
        return one.alive and self.hears("w", place) and self.hears(place, "w")

    # --- clients ----------------------------------------------------------------------------

    def compute(self, one: Process) -> None:
        if one.alive and one.role == "primary":
            self.requests += 1
            one.history += (self.requests,)

    def send(self, one: Process) -> None:
        """Send on what may be, as ``Primary.run`` does."""
        if not one.alive or one.role != "primary":
            return
        if one.partner is None:
            if one.lease.holds(one.epoch):
                self.answer(one)
            return
        other, there, back = one.partner, str(one.place), str(one.partner.place)
        if not other.alive or not self.hears(there, back):
            return
        if other.role == "primary":
            if self.hears(back, there):
                self.die(one, "its backup has taken its place")
            return
        if other.role != "backup":
            # It has no graph yet, and holds back who sends.
            return
        refused = ""
        if other.expected != one.epoch or (one.synced and other.held != one.epoch):
            refused = "another epoch"
        else:
            other.held, other.history, other.life = one.epoch, one.history, one.life
        if self.hears(back, there):
            one.answered_at, one.refused = self.clock.now, refused
            if not refused:
                one.synced = True
                self.answer(one)

    def answer(self, one: Process) -> None:
        """Every reply is of one history."""
        if one.sent == len(one.history):
            return
        while one.sent < len(one.history):
            one.sent += 1
            told = one.history[: one.sent]
            is_later = one.life > self.life
            shorter = min(len(told), len(self.last))
            goes_on = one.life == self.life and told[:shorter] == self.last[:shorter]
            if not is_later and not goes_on:
                # What they knew whose processes are gone, nobody can.
                assert not any(self.knows(other) for other in self.places), (
                    f"{one.lease.process} answers as well"
                )
            if not goes_on or len(told) > len(self.last):
                self.last, self.life = told, one.life
            self.answers += 1
        self.say("answers", one.lease.process, "of", len(one.history))

    def knows(self, one: Process) -> bool:
        """Whether it has the state that was answered of last."""
        return one.life == self.life and one.history[: len(self.last)] == self.last

    # --- processes --------------------------------------------------------------------------

    def die(self, one: Process, why: str) -> None:
        """It ends, and its platform starts it anew where it is."""
        self.say("end of", one.lease.process, why)
        one.alive = False
        if self.places[one.place] is one:
            self.places[one.place] = self.process(one.place)

    def move(self, place: int) -> None:
        """It is started elsewhere; what was cut off may run on there. (Not both of a pair: they
        would serve on, and nobody could tell them.)"""
        old = self.places[place]
        if any(one.alive and (one.partner is old or old.partner is one) for one in self.gone):
            old.alive = False
        self.gone.append(old)
        self.places[place] = self.process(place)
        self.is_new.add(place)
        self.say("moved", old.lease.process, "to", self.places[place].lease.process)

    # --- the wiring -------------------------------------------------------------------------

    def wire_anew(self) -> None:
        self.epoch = self.random.randrange(1, 1 << 30)
        self.roles = Roles(self.clock.now)
        self.order = [0, 1]
        self.words: dict[int, Word | None] = {0: None, 1: None}
        self.stamps = {0: 0.0, 1: 0.0}
        self.heard = {0: self.clock.now, 1: self.clock.now}
        self.known: set[int] = set()
        self.led: set[int] = set()
        self.is_new: set[int] = set()
        self.say("another wiring")

    def call(self, one: Process, what: str, *arguments: object) -> bool:
        """One call; whether its answer has come. It may arrive long after it was given up."""
        luck = self.random.random()
        if not one.alive:
            return False
        if not self.hears("w", str(one.place)) or luck < 0.05:
            if self.random.random() < 0.5:
                self.late.append((one, what, arguments))
            return False
        getattr(one, what)(*arguments)
        return self.hears(str(one.place), "w") and luck < 0.9

    def arrive(self) -> None:
        """Something that was under way arrives, in whichever order."""
        if self.late:
            one, what, arguments = self.late.pop(self.random.randrange(len(self.late)))
            if one.alive:
                self.say("late", what, "at", one.lease.process)
                getattr(one, what)(*arguments)

    def ask(self, place: int) -> None:
        one, word = self.places[place], self.words[place]
        entitled = self.roles.entitled
        is_first = place == self.order[0]
        if word is not None and is_first and entitled == (word.process, word.epoch):
            self.roles.granting(self.clock.now)
            grant = Grant(word.process, self.stamps[place], LEASE, word.epoch)
            self.call(one, "grant", grant)
        follows = word is not None and not is_first and word.follows
        if follows and self.roles.expect and word.process == one.lease.process:
            self.call(one, "expect", self.roles.expect)
        if not self.reaches(one):
            self.words[place] = None
            return
        self.words[place], self.stamps[place] = one.word(), one.lease.stamp()
        self.heard[place] = self.clock.now
        self.known.add(place)
        if one.word().leads:
            self.led.add(place)
        else:
            self.led.discard(place)

    def seen(self, place: int) -> Seen:
        word = self.words[place]
        silent = word is None and self.clock.now - self.heard[place] > FAIL_OVER_AFTER
        led = place in self.led and place not in self.is_new
        return Seen(word, silent, place in self.known, place in self.is_new, led)

    def look(self) -> None:
        first, second = self.order
        one, other = self.places[first], self.places[second]
        leader = self.roles.leader
        step = self.roles.decide(self.clock.now, self.seen(first), self.seen(second))
        word = self.words[first]
        acts = step is Step.TAKE_AWAY or self.roles.entitled is not None
        if acts and second not in self.known and word is not None and not word.is_leased:
            # It takes the silent one for dead, which it knows nothing of.
            one.begin()
        if self.roles.leader != leader and self.words[second] is None:
            # Two that were cut off together and replaced would serve on: nobody can tell them.
            for old in self.gone:
                old.alive = old.alive and old.partner is not other
        if step is not Step.WAIT:
            self.say(step.value, one.lease.process, other.lease.process)
        if step is Step.SWAP:
            self.swap()
        elif step in (Step.END_FIRST, Step.END_SECOND):
            loser = one if step is Step.END_FIRST else other
            if self.reaches(loser):
                self.die(loser, "it was replaced")
                self.roles.ended(loser.lease.process)
                self.words[loser.place] = None
                self.led.discard(loser.place)
        elif step is Step.TAKE_AWAY:
            self.epoch += 1
            self.call(one, "drop_backup", self.epoch)
        elif step is Step.FENCE:
            word = self.words[first]
            assert word is not None
            self.epoch += 1
            self.roles.fencing(word, self.epoch)
            self.ask(second)
        elif step is Step.ATTACH:
            word = self.words[first]
            assert word is not None
            if self.hears(str(first), str(second)) or self.random.random() < 0.2:
                self.epoch += 1
                self.roles.attaching(word, self.epoch)
                self.ask(second)
                then = self.words[second]
                told = then is not None and then.expected == self.epoch
                if not told or not self.call(one, "set_backup", other, self.epoch):
                    self.roles.attach_failed(self.clock.now)
        elif step in (Step.PROMOTE, Step.PROMOTE_OLD):
            self.promote(step, other)
        self.wire(step)

    def promote(self, step: Step, other: Process) -> None:
        word = self.words[other.place]
        assert word is not None
        self.epoch += 1
        self.roles.promoting()
        told = self.call(other, "promote", word.epoch, self.epoch, step is Step.PROMOTE_OLD)
        if told and other.role == "primary":
            self.roles.promoted(word.process, self.epoch)
            self.order.reverse()
            self.ask(other.place)

    def swap(self) -> None:
        self.order.reverse()
        word = self.words[self.order[0]]
        if word is not None:
            self.roles.swapped(word)

    def wire(self, step: Step) -> None:
        """Give the graph to whom it may be given."""
        lead, follow = (self.places[place] for place in self.order)
        word = self.words[self.order[0]]
        if step is Step.START and self.reaches(lead):
            lead.start("primary")
            self.is_new.discard(lead.place)
        is_led = word is not None and word.has_graph and lead.place not in self.is_new
        if is_led and self.reaches(follow) and not follow.role:
            follow.start("backup")
            self.is_new.discard(follow.place)

    # --- fate -------------------------------------------------------------------------------

    def all(self) -> list[Process]:
        return [*self.places, *self.gone]

    def tick(self, seconds: float = LOOK) -> None:
        self.clock.now += seconds
        for place in (0, 1):
            if self.random.random() < 0.8:
                self.ask(place)
        if self.random.random() < 0.8:
            self.look()

    def step(self) -> None:
        roll = self.random.random()
        someone = self.random.choice(self.all())
        if roll < 0.30:
            self.tick()
        elif roll < 0.45:
            self.compute(someone)
        elif roll < 0.75:
            self.send(someone)
        elif roll < 0.80:
            self.arrive()
        elif roll < 0.83:
            self.clock.now += self.random.choice((0.3, 1.0, LEASE, 12.0))
        elif roll < 0.90:
            names = self.random.sample(("w", "0", "1"), 2)
            self.cut ^= {(names[0], names[1])}
            self.say("link", *names, "cut" if (names[0], names[1]) in self.cut else "mended")
        elif roll < 0.94:
            # One host is cut off, and those that were are back; or all are.
            alone = self.random.choice(("", "0", "1", "w"))
            others = {"w", "0", "1"} - {alone} if alone else set()
            self.cut = {(alone, one) for one in others} | {(one, alone) for one in others}
            self.say("cut off:", alone or "nobody")
        elif roll < 0.96:
            self.die(self.random.choice(self.places), "it was killed")
        elif roll < 0.965:
            self.move(self.random.choice((0, 1)))
        elif roll < 0.975:
            self.wire_anew()

    def rest(self) -> None:
        """All links are mended: what was begun comes to an end."""
        self.cut.clear()
        self.late.clear()
        for one in self.gone:
            one.alive = False
        for _ in range(200):
            self.tick()
            for one in self.places:
                self.send(one)


def run(seed: int) -> World:
    world = World(random.Random(seed))
    try:
        for _ in range(40):
            world.tick()
            for one in world.places:
                world.send(one)
        for _ in range(STEPS):
            world.step()
            leased = [one for one in world.all() if holds(one)]
            assert len(leased) < 2, "two processes have a lease"
        world.rest()
        before = world.answers
        for one in world.places:
            world.compute(one)
            world.send(one)
        assert world.answers == before + 1, "not exactly one answers"
        assert any(one.word().is_followed for one in world.places), "no backup follows"
    except AssertionError as error:
        story = "\n".join(world.trace[-60:])
        raise AssertionError(f"seed {seed}: {error}\n{story}") from None
    return world


def run_all() -> list[World]:
    return [run(seed) for seed in range(RUNS)]


def holds(one: Process) -> bool:
    return one.alive and one.role == "primary" and one.lease.holds(one.epoch)


def test_whatever_fails_one_history_is_told_and_in_the_end_one_answers() -> None:
    worlds = run_all()
    # It is no proof where nothing happens.
    assert sum(world.answers for world in worlds) > 5 * RUNS
    assert sum("promote" in line for world in worlds for line in world.trace) > RUNS / 4


def test_without_the_wait_for_a_lease_to_end_two_would_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hasty(roles: Roles, now: float) -> None:
        roles.lease_ends = now

    monkeypatch.setattr(Roles, "granting", hasty)
    with pytest.raises(AssertionError, match=TWO):
        run_all()


def test_without_the_word_that_a_backup_expects_two_would_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Roles, "_may_lead", lambda roles, now, word, second: None)
    with pytest.raises(AssertionError, match=TWO):
        run_all()


def test_a_lease_ends_by_the_stamp_however_late_it_comes() -> None:
    clock = Clock()
    lease = Lease(lambda: clock.now, 7)
    stamp = lease.stamp()
    clock.now += LEASE - 0.1
    assert lease.take(Grant(7, stamp, LEASE, 3), 3)
    clock.now += 0.2
    assert not lease.holds(3)
    assert not lease.take(Grant(7, stamp, LEASE, 3), 3)


@pytest.mark.parametrize(
    "grant",
    [Grant(8, 100.0, LEASE, 3), Grant(7, 100.0, LEASE, 4), Grant(7, 500.0, LEASE, 3)],
    ids=["of another process", "of another epoch", "of a stamp that nobody told"],
)
def test_a_lease_that_is_not_its_own_is_worth_nothing(grant: Grant) -> None:
    lease = Lease(lambda: 100.0, 7)
    assert not lease.take(grant, 3)
    assert lease.age < 0


def test_no_lease_is_longer_than_what_the_wiring_waits_for() -> None:
    clock = Clock()
    lease = Lease(lambda: clock.now, 7)
    assert lease.take(Grant(7, clock.now, 3600.0, 3), 3)
    clock.now += LEASE + lease_module.MARGIN
    assert not lease.holds(3)
