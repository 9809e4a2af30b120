"""Graphs with choices: accepted exactly when every way to choose answers a request once."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from earg.config import ConfigError, Edge, NodeSpec, StaticConfig, check_static
from earg.guards import GuardError, check_guards


def graph(
    dist: list[tuple[int, tuple[int, ...]]], reduce: list[tuple[tuple[int, ...], int]] | None = None
) -> StaticConfig:
    reduce = reduce or []
    count = max([1, *(t for _, ts in dist for t in ts), *(t for _, t in reduce)])
    config = StaticConfig(
        tuple(NodeSpec(f"n{i}", "1", "image", False, 1) for i in range(1, count + 1)),
        tuple(Edge((source,), targets) for source, targets in dist),
        tuple(Edge(sources, (target,)) for sources, target in reduce),
    )
    check_static(config, choices=True)
    return config


def ways_of(config: StaticConfig, choosing: set[int]) -> dict[int, tuple[int, ...]]:
    return {
        index: tuple(t for edge in config.dist if edge.sources == (index,) for t in edge.targets)
        for index in choosing
    }


def answers_once(config: StaticConfig, way: Mapping[int, int]) -> bool:
    """Send one request through the graph, each choosing node choosing as ``way`` says."""
    arrived: dict[int, list[int]] = {index: [] for index in range(1, len(config.nodes) + 1)}
    computed: set[int] = set()
    answers = 0
    pending = [1]
    while pending:
        index = pending.pop()
        if index in computed:
            return False
        computed.add(index)
        targets = [
            target
            for edge in (*config.dist, *config.reduce)
            if index in edge.sources
            for target in edge.targets
            if edge in config.reduce or way.get(index, target) == target
        ]
        if index in config.sinks():
            answers += 1
        for target in targets:
            arrived[target].append(index)
            joined = next((e.sources for e in config.reduce if e.targets == (target,)), None)
            if joined is None or set(arrived[target]) == set(joined):
                pending.append(target)
    waiting = any(arrived[index] and index not in computed for index in arrived)
    return answers == 1 and not waiting


def brute_force(config: StaticConfig, ways: Mapping[int, tuple[int, ...]]) -> bool:
    return all(
        answers_once(config, dict(zip(ways, chosen, strict=True)))
        for chosen in itertools.product(*ways.values())
    )


def verdict(config: StaticConfig, ways: Mapping[int, tuple[int, ...]]) -> bool:
    try:
        check_guards(config, ways)
    except GuardError:
        return False
    return True


@st.composite
def any_graphs(draw: st.DrawFn) -> tuple[StaticConfig, dict[int, tuple[int, ...]]]:
    """Any small graph that EARG's remaining rules allow, with any nodes choosing."""
    count = draw(st.integers(2, 7))
    dist: list[tuple[int, tuple[int, ...]]] = []
    reduce: list[tuple[tuple[int, ...], int]] = []
    for target in range(2, count + 1):
        before = list(range(1, target))
        few = st.lists(st.sampled_from(before), min_size=1, max_size=3, unique=True)
        sources = draw(few)
        if len(sources) > 1 and draw(st.booleans()):
            reduce.append((tuple(sources), target))
        else:
            dist += [(source, (target,)) for source in sources]
    config = graph(dist, reduce)
    may_choose = sorted({source for source, _ in dist})
    chosen = draw(st.sets(st.sampled_from(may_choose))) if may_choose else set()
    return config, ways_of(config, chosen)


class _Builder:
    """Grows a graph whose parts nest as they should, then breaks it here and there."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.count = 1
        self.edges: list[tuple[int, int]] = []
        self.joins: dict[int, list[int]] = {}
        self.choosing: set[int] = set()

    def new(self) -> int:
        self.count += 1
        return self.count

    def part(self, start: int, budget: int) -> list[int]:
        """Grow behind ``start``; returns the ends, of which each request reaches one."""
        if budget <= 0 or self.draw.random() < 0.15:
            return [start]
        kind = self.draw.choice(["chain", "choose", "choose", "fan"])
        if start in self.choosing or any(source == start for source, _ in self.edges):
            kind = "chain"
        if kind == "chain":
            after = self.new()
            self.edges.append((start, after))
            return self.part(after, budget - 1)
        branches = [self.new() for _ in range(self.draw.choice([2, 2, 3]))]
        self.edges += [(start, branch) for branch in branches]
        grown = [self.part(branch, budget - 2) for branch in branches]
        if kind == "choose":
            self.choosing.add(start)
            ends = [end for part in grown for end in part]
            if self.draw.random() < 0.3:
                return ends
            merge = self.new()
            self.edges += [(end, merge) for end in ends if end not in self.choosing]
            return self.part(merge, budget - 2)
        ends = []
        for part in grown:
            if len(part) > 1:
                merge = self.new()
                self.edges += [(end, merge) for end in part]
                ends.append(merge)
            else:
                ends += part
        join = self.new()
        self.joins[join] = ends + ([start] if self.draw.random() < 0.2 else [])
        return self.part(join, budget - 2)


@st.composite
def nested_graphs(draw: st.DrawFn) -> tuple[StaticConfig, dict[int, tuple[int, ...]]]:
    """Graphs that are mostly right, some with one edge or one choice changed."""
    chance = draw(st.randoms(use_true_random=False))
    builder = _Builder(chance)
    builder.part(1, draw(st.integers(1, 6)))
    edges, joins, choosing = builder.edges, builder.joins, set(builder.choosing)
    damage = draw(st.sampled_from(["none", "none", "edge", "choice", "drop"]))
    if damage == "edge" and builder.count > 2:
        one, other = sorted(chance.sample(range(1, builder.count + 1), 2))
        if other not in joins and (one, other) not in edges:
            edges = [*edges, (one, other)]
    if damage == "choice" and edges:
        choosing ^= {chance.choice(edges)[0]}
    if damage == "drop" and joins:
        target = chance.choice(sorted(joins))
        if len(joins[target]) > 2:
            joins = {**joins, target: joins[target][:-1]}
    try:
        config = graph([(s, (t,)) for s, t in edges], [(tuple(ss), t) for t, ss in joins.items()])
    except ConfigError:  # the damage made a cycle: another rule's business
        return graph([]), {}
    choosing &= {source for source, _ in edges}
    return config, ways_of(config, choosing)


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(any_graphs() | nested_graphs())
def test_the_verdict_is_that_of_trying_every_way(
    case: tuple[StaticConfig, dict[int, tuple[int, ...]]],
) -> None:
    config, ways = case
    combinations = 1
    for targets in ways.values():
        combinations *= len(targets)
    if combinations > 2000:
        event("too many ways to try")
        return
    expected = brute_force(config, ways)
    event(f"{'right' if expected else 'wrong'}, choices: {min(len(ways), 3)}")
    assert verdict(config, ways) is expected


DIAMOND = [(1, (2, 3)), (2, (4,)), (3, (4,))]


@pytest.mark.parametrize(
    ("dist", "reduce", "choosing", "words"),
    [
        (DIAMOND, [], set(), "n4 would compute a request twice: it comes from n2 and from n3"),
        ([(1, (2, 3))], [], set(), "answered twice: it reaches n2 and n3"),
        (
            [(1, (2, 3))],
            [((2, 3), 4)],
            {1},
            "join n4 would wait for ever: when n1 chooses n2, a request reaches n2 but not n3",
        ),
        (
            [(1, (2, 3)), (2, (4, 5)), (4, (6,)), (3, (6,))],
            [],
            {2},
            "n6 would compute a request twice: when n2 chooses n4, it comes from n4 and from n3",
        ),
        (
            [(1, (2, 3)), (2, (4, 5)), (3, (6, 7))],
            [((4, 6), 8), ((5, 7), 9)],
            {2, 3},
            "when n2 chooses n4 and n3 chooses n7, a request reaches n4 but not n6",
        ),
    ],
)
def test_a_refusal_says_where_and_when(
    dist: list[tuple[int, tuple[int, ...]]],
    reduce: list[tuple[tuple[int, ...], int]],
    choosing: set[int],
    words: str,
) -> None:
    config = graph(dist, reduce)
    with pytest.raises(GuardError, match=words):
        check_guards(config, ways_of(config, choosing))


def test_a_diamond_of_a_choice_may_be_joined_with_what_is_always_computed() -> None:
    config = graph(DIAMOND, [((1, 4), 5)])
    check_guards(config, ways_of(config, {1}))


@pytest.mark.slow
def test_many_choices_in_a_row_collapse() -> None:
    dist: list[tuple[int, tuple[int, ...]]] = []
    for start in range(1, 3 * 3000, 3):
        one, other, meet = start + 1, start + 2, start + 3
        dist += [(start, (one, other)), (one, (meet,)), (other, (meet,))]
    config = graph(dist)
    check_guards(config, ways_of(config, set(range(1, 3 * 3000, 3))))


def cascade(steps: int) -> tuple[StaticConfig, dict[int, tuple[int, ...]]]:
    """A chain in which each node asks the next one or is done; the last node takes what is done."""
    last = 2 * steps + 2
    dist: list[tuple[int, tuple[int, ...]]] = []
    for index in range(1, 2 * steps, 2):
        dist += [(index, (index + 1, index + 2)), (index + 1, (last,))]
    config = graph([*dist, (2 * steps + 1, (last,))])
    return config, ways_of(config, set(range(1, 2 * steps, 2)))


def test_a_cascade_that_may_be_left_at_every_step_is_checked() -> None:
    check_guards(*cascade(150))


def test_an_endless_cascade_is_a_sentence_not_a_blow_up() -> None:
    with pytest.raises(GuardError, match="more than 200 choices of this graph hang on one another"):
        check_guards(*cascade(2000))


def test_a_choice_of_many_targets_is_checked() -> None:
    config = graph([(1, tuple(range(2, 258))), *((index, (258,)) for index in range(2, 258))])
    check_guards(config, ways_of(config, {1}))


def crossed(layers: int, width: int) -> tuple[StaticConfig, dict[int, tuple[int, ...]]]:
    """Layers in which every node chooses among all nodes of the next one."""
    rows = [[2 + layer * width + at for at in range(width)] for layer in range(layers)]
    dist = [(1, tuple(rows[0]))]
    for row, following in itertools.pairwise(rows):
        dist += [(index, tuple(following)) for index in row]
    config = graph(dist)
    return config, ways_of(config, {source for source, _ in dist})


@pytest.mark.slow
def test_choices_that_cross_are_checked() -> None:
    config, ways = crossed(layers=6, width=12)
    with pytest.raises(GuardError, match="when n1 chooses n2"):
        check_guards(config, {index: ways[index] for index in ways if index < 60})
    check_guards(config, ways)


def test_choices_that_cross_without_bound_are_a_sentence_not_a_blow_up() -> None:
    with pytest.raises(GuardError, match="in too many ways to be checked"):
        check_guards(*crossed(layers=6, width=90))
