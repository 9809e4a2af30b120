"""The dynamic batch limit finds the largest batch that computes within its objective."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from earg.batching import BatchLimit
from earg.dynamic_limit import DEFAULT_OBJECTIVE, LimitInForce


def steer(force: LimitInForce, seconds: Callable[[int], float], batches: int) -> list[int]:
    """Full batches, one after the other; the limit of each."""
    sizes = []
    for _ in range(batches):
        sizes.append(force.now)
        force.computed(force.now, seconds(force.now))
    return sizes


def test_a_static_limit_does_not_move() -> None:
    force = LimitInForce(BatchLimit(32, objective=0.001))
    assert set(steer(force, lambda size: 10.0, 20)) == {32}


def test_it_starts_at_one_and_doubles_while_batches_are_in_time() -> None:
    force = LimitInForce(BatchLimit(64, dynamic=True, objective=1.0))
    assert steer(force, lambda size: 0.001, 9) == [1, 2, 4, 8, 16, 32, 64, 64, 64]


@pytest.mark.parametrize("objective", [0.02, 0.05, 0.2])
def test_it_settles_near_the_largest_batch_that_is_in_time(objective: float) -> None:
    best = (objective - 0.005) / 0.001
    force = LimitInForce(BatchLimit(512, dynamic=True, objective=objective))
    sizes = steer(force, lambda size: 0.005 + 0.001 * size, 300)[100:]
    assert 0.8 * best <= sum(sizes) / len(sizes) <= 1.05 * best
    late = sum(1 for size in sizes if 0.005 + 0.001 * size > objective)
    assert late <= len(sizes) / 3


def test_a_model_that_becomes_slower_is_followed_within_a_few_batches() -> None:
    force = LimitInForce(BatchLimit(256, dynamic=True, objective=0.1))
    steer(force, lambda size: 0.0003 * size, 100)
    assert force.now > 200
    steer(force, lambda size: 0.003 * size, 6)
    assert 0.003 * force.now <= 0.1 * 1.2
    steer(force, lambda size: 0.0003 * size, 200)
    assert force.now > 200


def test_a_model_that_is_never_in_time_gets_requests_one_by_one() -> None:
    force = LimitInForce(BatchLimit(64, dynamic=True, objective=0.01))
    assert steer(force, lambda size: 1.0, 20)[-1] == 1


def test_a_batch_that_is_not_full_tells_nothing_about_larger_ones() -> None:
    force = LimitInForce(BatchLimit(64, dynamic=True, objective=0.1))
    steer(force, lambda size: 0.001, 5)
    limit = force.now
    for _ in range(100):
        force.computed(1, 0.001)
    assert force.now == limit


def test_a_late_batch_below_the_limit_lowers_it_below_that_batch() -> None:
    force = LimitInForce(BatchLimit(64, dynamic=True, objective=0.1))
    steer(force, lambda size: 0.001, 8)
    assert force.now == 64
    force.computed(20, 0.15)
    assert force.now == 13


def test_without_an_objective_there_is_the_usual_one() -> None:
    force = LimitInForce(BatchLimit(64, dynamic=True))
    assert steer(force, lambda size: DEFAULT_OBJECTIVE * 1.5, 10)[-1] == 1


def test_it_stays_between_one_and_the_most_whatever_comes() -> None:
    randomly = random.Random(7)
    force = LimitInForce(BatchLimit(48, dynamic=True, objective=0.05))
    for _ in range(5000):
        force.computed(randomly.randint(0, 60), randomly.choice([0.0, 0.01, 0.06, 1.0, 50.0]))
        assert 1 <= force.now <= 48


def test_a_change_holds_from_the_next_batch_on() -> None:
    force = LimitInForce(BatchLimit(64, dynamic=True, objective=0.1))
    steer(force, lambda size: 0.001, 10)
    force.change(force.limit.changed(most=8))
    assert force.now == 8
    force.change(force.limit.changed(dynamic=False, most=100))
    assert force.now == 100
    force.change(force.limit.changed(dynamic=True))
    assert force.now == 1
    force.change(force.limit.changed(objective=10.0))
    assert steer(force, lambda size: 0.05 * size, 9)[-1] == 100
