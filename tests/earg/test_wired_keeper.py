"""What is started elsewhere, and when: the keeper over hosts and pairs that are made up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from earg.extras import Extras
from earg.images import Implementation
from earg.pair import StartError
from earg.plan import read_plan
from earg.platform import FrontendFound, GraphFound, PairFound, PlatformError
from earg.status import HostStatus, NodeState, PingStatus, Role
from earg.survey import Survey
from earg.usage import ContainerUsage
from earg.warning import Warnings
from earg.wired_keeper import (
    FAILURE_GRACE,
    HOST_GRACE,
    SILENT_GRACE,
    SPREAD_GRACE,
    SPREAD_INTERVAL,
    STATE_GRACE,
    Keeper,
)
from earg.wired_node import WiredNode, WiredPair
from earg.wiring import PairView, Wiring
from earg.wiring_places import PairPlace

PLAN = read_plan("2\n1\nfirst,1,image,false,8\nsecond,1,image,true,8\ndist[1->2]\n")


def found(host: str, failure: str = "") -> PairFound:
    place = PairPlace(f"127.0.0.{len(host)}", (f"127.0.0.{len(host)}",))
    return PairFound(place, host, "digest", failure)


@dataclass
class World:
    """A graph with ``first`` on host a, ``second`` on b and c, and its frontend on a."""

    now: float = 1000.0
    silent: dict[tuple[int, int], float] = field(default_factory=dict)
    """Pairs that do not answer, and since when."""
    synced: bool = True
    primary: int = 0
    frontend_is_silent: bool = False
    frontend_placed_at: float = 0.0
    refuses: str = ""
    takes: float = 0.0
    """Seconds that a start takes, while which the node is busy."""
    busy: int = 0
    slow: bool = False
    """Whether what is started does not answer."""
    lost_all: bool = False
    seen: list[set[NodeState]] = field(default_factory=list)
    """The states of the first node during each start."""
    name: str = "g"
    draining: bool = False
    done: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.survey = Survey(cast(Any, None))
        self.hosts("")
        self.frontend: FrontendFound = FrontendFound("127.0.0.9", "http://a", "a")
        self.nodes = []
        for index, hosts in ((1, ("a",)), (2, ("bb", "ccc"))):
            pairs = [
                WiredPair(number, found(host), Role.PRIMARY) for number, host in enumerate(hosts)
            ]
            spec = PLAN.config.nodes[index - 1]
            runs = Implementation("m:M", "")
            self.nodes.append(WiredNode(index, spec, runs, pairs, PLAN, self))
        self.there = {
            (node.index, pair.number): pair.found for node in self.nodes for pair in node.pairs
        }
        self.warnings = Warnings(self.told.append)
        self.keeper = Keeper(self, self.survey, self.warnings, lambda: self.now)

    # --- what the keeper and the nodes see -----------------------------------------------

    @property
    def extras(self) -> Extras:
        return PLAN.extras

    @property
    def wiring(self) -> Wiring:
        return cast(Wiring, self)

    def give_up(self, index: int, number: int, dead: bool = True) -> None:
        self.done.append(f"{'give up' if dead else 'keep'} {index}.{number}")

    def views(self, index: int) -> Sequence[PairView]:
        numbers = [0] if index == 1 else [self.primary, 1 - self.primary]
        return [self._view(index, number) for number in numbers]

    def used(self, index: int, number: int) -> Sequence[ContainerUsage]:
        return ()

    def _view(self, index: int, number: int) -> PairView:
        since = self.silent.get((index, number))
        return PairView(
            number=number,
            place=found("a").place,
            address="127.0.0.1",
            status=PingStatus.READY if since is None else None,
            load=None,
            silent=0.0 if since is None else self.now - since,
            wired=True,
            synced=self.synced,
            wirings=1,
            channel=None,
        )

    def is_busy(self, index: int) -> bool:
        return index == self.busy

    def tell(self, node: str, what: str, before: str = "", after: str = "") -> None:
        self.told.append(f"{node}: {what}")

    def changed(self) -> None:
        pass

    async def start_again(self, node: WiredNode, number: int) -> None:
        self.done.append(f"start {node.index}.{number}")
        if self.takes:
            self.busy, end = node.index, self.now + self.takes
            self.seen.append(set())
            while self.now < end:
                await asyncio.sleep(0)
                self.seen[-1].add(self.nodes[0].status().state)
            self.busy = 0
        if self.refuses:
            raise PlatformError(self.refuses)
        node.put(number, found("dddd"))
        self.there[node.index, number] = found("dddd")
        if self.slow:
            self.silent[node.index, number] = self.now
        else:
            self.silent.pop((node.index, number), None)

    async def spread(self, node: WiredNode, number: int) -> None:
        self.done.append(f"spread {node.index}.{number}")
        if self.refuses:
            return
        node.put(number, found("dddd"))
        self.there[node.index, number] = found("dddd")

    async def move_pair(self, node: WiredNode, number: int) -> None:
        self.done.append(f"move {node.index}.{number}")
        node.put(number, self.there[node.index, number])

    async def start_frontend(self) -> None:
        self.done.append("start frontend")
        if self.refuses:
            raise StartError(self.refuses)
        self.frontend = FrontendFound("127.0.0.8", "http://d", "dddd")
        self.frontend_is_silent = False

    async def move_frontend(self, frontend: FrontendFound) -> None:
        self.done.append("move frontend")
        self.frontend = frontend

    # --- what happens ---------------------------------------------------------------------

    def hosts(self, *dead: str) -> None:
        self.survey.hosts = tuple(
            HostStatus(name, name in dead, "no route to it" if name in dead else "", 0.0)
            for name in ("a", "bb", "ccc", "dddd")
        )

    def lose(self, *keys: tuple[int, int]) -> None:
        self.silent |= dict.fromkeys(keys, self.now)

    async def _look(self) -> None:
        await self.keeper.look()
        for _ in range(3):
            await asyncio.sleep(0)

    def after(self, seconds: float) -> list[str]:
        """What is done within so many seconds; looks as the keeper does."""
        self.done.clear()

        async def look_for_so_long() -> None:
            end = self.now + seconds
            while self.now < end:
                self.now = min(end, self.now + 0.5)
                self.survey.found_at = self.now
                # Placed by another clock than this one.
                for node in self.nodes:
                    for pair in node.pairs:
                        pair.placed_at = 0.0
                self.survey.found = (
                    {} if self.lost_all else {"g": GraphFound("1", dict(self.there), self.frontend)}
                )
                await self._look()

        asyncio.run(look_for_so_long())
        return list(self.done)


@pytest.fixture
def world() -> World:
    return World()


def test_nothing_is_done_where_all_is_well(world: World) -> None:
    assert world.after(120) == []


def test_a_stateless_pair_of_a_dead_host_is_started_elsewhere_after_a_grace(world: World) -> None:
    world.hosts("a")
    world.lose((1, 0))
    assert world.after(HOST_GRACE - 0.5) == ["give up 1.0"]
    status = world.nodes[0].status()
    assert (status.state, status.pairs[0].state) == (NodeState.DEAD, NodeState.DEAD)
    assert "host a is dead: no route to it" in status.reason
    assert world.after(2) == ["start 1.0"]
    assert world.nodes[0].status().state is NodeState.READY
    assert "host: a is dead: no route to it" in world.told


def test_a_host_that_is_back_in_time_loses_nothing(world: World) -> None:
    world.hosts("a")
    world.lose((1, 0))
    world.after(HOST_GRACE - 1)
    world.hosts()
    world.silent.clear()
    assert world.after(60) == ["keep 1.0"]
    assert "host: a answers again" in world.told


def test_a_host_whose_pairs_answer_is_not_dead(world: World) -> None:
    world.hosts("a")
    assert world.after(60) == []
    assert [host.dead for host in world.keeper.hosts()] == [False] * 4
    assert "its pairs answer" in world.keeper.hosts()[0].reason


def test_a_lost_primary_is_started_again_only_when_its_backup_has_taken_over(world: World) -> None:
    world.hosts("bb")
    world.lose((2, 0))
    assert world.after(STATE_GRACE * 3) == ["give up 2.0"]
    assert world.nodes[1].status().state is NodeState.RECOVERING
    world.primary, world.synced = 1, False
    assert world.after(1) == ["start 2.0"]


@pytest.mark.parametrize("lost", [((2, 0),), ((2, 0), (2, 1))])
def test_a_state_that_nobody_else_has_is_waited_for(
    world: World, lost: tuple[tuple[int, int], ...]
) -> None:
    world.hosts("bb", "ccc")
    world.synced = False
    world.lose(*lost)
    assert not [one for one in world.after(STATE_GRACE - 1) if one.startswith("start")]
    assert "start 2.0" in world.after(3)


def test_a_start_that_fails_is_tried_again_after_longer_and_longer(world: World) -> None:
    world.hosts("a")
    world.lose((1, 0))
    world.refuses = "no host has a gpu left"
    done = world.after(HOST_GRACE + 60)
    assert 4 <= done.count("start 1.0") <= 7
    (sentence,) = world.warnings.sentences
    assert sentence == "a pair of first cannot be started again yet: no host has a gpu left"
    world.refuses = ""
    assert world.after(30).count("start 1.0") == 1
    assert world.warnings.sentences == ()


def test_what_fits_nowhere_is_dead_with_why_and_told_once_however_often_it_is_tried(
    world: World,
) -> None:
    world.hosts("a")
    world.lose((1, 0))
    world.takes = 1.0
    tries = []
    for gpus in range(1, 5):
        world.refuses = f"no host fits first: bb has {gpus} GPUs"
        tries += world.after(60)
        status = world.nodes[0].status()
        assert (status.state, status.pairs[0].state) == (NodeState.DEAD, NodeState.DEAD)
        assert status.reason == (
            f"primary: host a is dead: no route to it; it cannot be started again: {world.refuses}"
        )
        (sentence,) = world.warnings.sentences
        assert sentence.endswith(world.refuses)
    # Again and again, but not oftener for all the time that each try takes.
    assert 10 <= tries.count("start 1.0") <= 14
    assert [one for one in world.told if "cannot be started" in one] == [
        "a pair of first cannot be started again yet: no host fits first: bb has 1 GPUs"
    ]
    recovering = [NodeState.RECOVERING in seen for seen in world.seen]
    assert recovering == [True, *[False] * (tries.count("start 1.0") - 1)]


@pytest.mark.parametrize("freed", ["a host answers again", "room is made"])
def test_what_fits_nowhere_is_tried_at_once_when_there_may_be_room(
    world: World, freed: str
) -> None:
    world.hosts("a", "dddd")
    world.lose((1, 0))
    world.refuses = "no host fits"
    world.after(300)
    world.refuses = ""
    if freed == "room is made":
        world.survey.freed_at = world.now + 0.1
    else:
        world.hosts("a")
        world.survey.freed_at = world.now + 0.1
    assert world.after(1) == ["start 1.0"]
    assert world.nodes[0].status().state is NodeState.READY
    assert world.nodes[0].status().reason == ""


def test_a_host_that_was_silent_for_a_while_leaves_no_trouble_behind(world: World) -> None:
    world.hosts("a")
    world.lose((1, 0))
    world.frontend_is_silent = True
    world.refuses = "no host fits"
    world.after(60)
    assert len(world.warnings.sentences) == 2
    assert world.told.count("frontend: is lost: host a is dead: no route to it") == 1
    # It answers, and a moment later what is on it.
    world.hosts()
    world.after(1)
    assert "cannot be started" not in world.nodes[0].status().reason
    world.silent.clear()
    world.frontend_is_silent = False
    assert [one for one in world.after(60) if one.startswith("start")] == []
    assert world.nodes[0].status().state is NodeState.READY
    assert world.warnings.sentences == ()


def test_a_platform_that_has_lost_the_whole_graph_starts_it_again(world: World) -> None:
    world.there.clear()
    world.lost_all = True
    world.lose((1, 0), (2, 0), (2, 1))
    world.frontend_is_silent = True
    done = world.after(STATE_GRACE + 5)
    assert {"start 1.0", "start 2.0", "start 2.1", "start frontend"} <= set(done)


def test_what_the_platform_has_no_more_is_started_again(world: World) -> None:
    del world.there[1, 0]
    world.lose((1, 0))
    assert world.after(HOST_GRACE + 1) == ["start 1.0"]


def test_what_ends_on_every_start_is_left_to_the_platform_for_a_while(world: World) -> None:
    world.there[1, 0] = found("a", "model exited with code 1")
    world.lose((1, 0))
    assert world.after(FAILURE_GRACE - 1) == []
    assert "model exited with code 1" in world.nodes[0].status().reason
    assert world.after(2) == ["start 1.0"]


def test_one_that_hangs_is_started_anew_but_not_a_primary_nor_all_at_once(world: World) -> None:
    world.lose((1, 0), (2, 0), (2, 1))
    # Perhaps it is this process that is cut off.
    assert world.after(SILENT_GRACE * 2) == []
    del world.silent[2, 1]
    assert world.after(HOST_GRACE + 1) == ["start 1.0"]


def test_what_needs_long_to_answer_is_given_longer_and_longer(world: World) -> None:
    world.slow = True
    world.lose((1, 0))
    # After 30, 60, 120 and 240 s, each with the grace of what is lost.
    assert world.after(SILENT_GRACE * 15 + HOST_GRACE * 4 + 5) == ["start 1.0"] * 4


def test_a_pair_that_another_agent_has_moved_is_found(world: World) -> None:
    world.there[2, 1] = found("dddd")
    assert world.after(1) == ["move 2.1"]
    assert world.nodes[1].status().pairs[1].host == "dddd"


def test_the_frontend_of_a_dead_host_is_started_elsewhere(world: World) -> None:
    world.hosts("a")
    world.lose((1, 0))
    world.frontend_is_silent = True
    done = world.after(HOST_GRACE + 1)
    assert done.count("start frontend") == 1
    assert "frontend: was started again at http://d" in world.told


@pytest.mark.parametrize("primary", [0, 1])
def test_a_backup_beside_its_primary_is_moved_away_after_a_while(
    world: World, primary: int
) -> None:
    world.primary = primary
    for number in (0, 1):
        world.nodes[1].put(number, found("bb"))
        world.there[2, number] = found("bb")
    assert world.after(SPREAD_GRACE - 1) == []
    assert world.after(2) == [f"spread 2.{1 - primary}"]
    assert world.after(120) == []


def test_a_backup_that_fits_nowhere_else_is_asked_for_again_but_seldom(world: World) -> None:
    for number in (0, 1):
        world.nodes[1].put(number, found("bb"))
        world.there[2, number] = found("bb")
    world.refuses = "no other host fits"
    asked = world.after(SPREAD_GRACE + 4 * SPREAD_INTERVAL + 1)
    assert asked == ["spread 2.1"] * 5


def test_no_backup_is_moved_while_it_lacks_the_state_or_no_other_host_answers(
    world: World,
) -> None:
    for number in (0, 1):
        world.nodes[1].put(number, found("bb"))
        world.there[2, number] = found("bb")
    world.synced = False
    assert world.after(60) == []
    world.synced = True
    world.hosts("a", "ccc", "dddd")
    assert [one for one in world.after(60) if one.startswith("spread")] == []
