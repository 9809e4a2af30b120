"""Where a computed request goes: by the reply, or by weight."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earg.choosing import (
    MAX_CASES,
    Case,
    ChoiceError,
    NoCaseError,
    Share,
    Split,
    Switch,
    choose,
    choose_for_failure,
)
from earg.condition import parse_condition

SWITCH = Switch(
    1,
    (
        Case(2, parse_condition('label == "drowsy"')),
        Case(3, parse_condition("score > 0.5")),
        Case(2, parse_condition("score < 0")),
    ),
)
OTHERWISE = Switch(1, (*SWITCH.cases, Case(4)))
CANARY = Split(1, (Share(2, 90), Share(3, 10)))


def test_without_a_choice_a_request_goes_to_all_targets() -> None:
    targets = (4, 2, 3)
    assert choose(None, targets, 7, "reply") is targets
    assert choose_for_failure(None, targets, 7) is targets


@pytest.mark.parametrize(
    ("reply", "target"),
    [
        ({"label": "drowsy", "score": 0.9}, 2),
        ({"label": "awake", "score": 0.9}, 3),
        ({"score": -1}, 2),
        ({"score": 0.2}, 4),
        ("text", 4),
        (None, 4),
    ],
)
def test_a_switch_takes_the_first_case_that_holds(reply: object, target: int) -> None:
    assert choose(OTHERWISE, (2, 3, 4), 1, reply) == (target,)


def test_a_reply_that_no_case_takes_is_an_error_that_shows_both_shortly() -> None:
    with pytest.raises(NoCaseError) as caught:
        choose(SWITCH, (2, 3), 1, {"label": "x" * 1_000_000})
    message = str(caught.value)
    assert 'node 1 holds (label == "drowsy"; score > 0.5; score < 0)' in message
    assert "for the reply {'label': 'xxx" in message
    assert len(message) < 500


def test_an_error_of_a_large_switch_is_short() -> None:
    text = "y" * 1000
    cases = tuple(Case(2, parse_condition(f'a == "{text}{n}"')) for n in range(MAX_CASES))
    with pytest.raises(NoCaseError, match="and 251 more") as caught:
        choose(Switch(1, cases), (2,), 1, [[[["deep"] * 50] * 50] * 50] * 50)
    assert len(str(caught.value)) < 1200


def test_a_join_that_wants_the_choosing_nodes_reply_gets_every_request() -> None:
    assert choose(OTHERWISE, (2, 3, 4, 9), 1, {"score": 0.9}) == (3, 9)
    assert choose(CANARY, (9, 2, 3), 5, None) in ((9, 2), (9, 3))
    assert choose_for_failure(OTHERWISE, (2, 3, 4, 9), 1) == (4, 9)


def test_a_request_that_failed_takes_one_way() -> None:
    assert choose_for_failure(SWITCH, (2, 3), 1) == (2,)
    for request_id in range(100):
        way = choose_for_failure(CANARY, (2, 3), request_id)
        assert way == choose(CANARY, (2, 3), request_id, "any reply")


def chi_square(counts: Counter[int], split: Split, total: int) -> float:
    return sum(
        (counts[share.target] - total * share.percent / 100) ** 2 / (total * share.percent / 100)
        for share in split.shares
    )


@pytest.mark.parametrize("start", [0, 1, 1_000_000, 2**32 - 50_000])
@pytest.mark.parametrize(
    "percents", [(90, 10), (99, 1), (50, 50), (34, 33, 33), (1,) * 100, (100,)]
)
def test_a_split_keeps_its_shares_over_consecutive_ids(
    start: int, percents: tuple[int, ...]
) -> None:
    shares = tuple(Share(target, percent) for target, percent in enumerate(percents, 2))
    split, total = Split(1, shares), 100_000
    targets = tuple(share.target for share in shares)
    counts = Counter(choose(split, targets, (start + n) % 2**32, None)[0] for n in range(total))
    # Five standard deviations of a chi-square with this many degrees of freedom.
    freedom = len(percents) - 1
    assert chi_square(counts, split, total) <= freedom + 5 * (2 * freedom) ** 0.5 + 5


def test_two_splits_in_a_row_choose_independently() -> None:
    first = Split(1, (Share(2, 50), Share(3, 50)))
    second = Split(2, (Share(4, 50), Share(5, 50)))
    counts = Counter((first.target_of(n), second.target_of(n)) for n in range(100_000))
    assert len(counts) == 4
    for count in counts.values():
        assert abs(count - 25_000) < 5 * (100_000 * 0.25 * 0.75) ** 0.5


@given(st.integers(0, 2**32 - 1))
def test_a_request_takes_the_same_way_again(request_id: int) -> None:
    again = Split(1, (Share(3, 10), Share(2, 90)))
    assert again == CANARY
    assert hash(CANARY) == hash(again)
    assert CANARY.target_of(request_id) == again.target_of(request_id) in (2, 3)


def test_the_way_of_an_id_is_a_contract_between_versions() -> None:
    # A replacement of a proxy may run a newer version: it must replay requests the same way.
    ways = "".join(str(CANARY.target_of(n)) for n in range(40))
    assert ways == "2322222232222222222222222222232222222222"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Switch(1, ()), "from 1 to 256 cases"),
        (lambda: Switch(1, (Case(2), Case(3))), "case 1 has no condition"),
        (lambda: Switch(1, (SWITCH.cases[0], Case(3, SWITCH.cases[0].condition))), "of case 1"),
        (lambda: Split(1, (Share(2, 50), Share(3, 49))), "sum to 99"),
        (lambda: Split(1, ()), "sum to 0"),
        (lambda: Split(1, (Share(2, 50), Share(2, 50))), "each target once"),
        (lambda: Split(1, (Share(2, 100), Share(3, 0))), "from 1 to 100, not 0"),
        (lambda: Split(1, (Share(2, True), Share(3, 99))), "not True"),
        (lambda: Split(1, (Share(2, 50.0), Share(3, 50))), "not 50.0"),  # type: ignore[arg-type]
    ],
)
def test_a_choice_that_cannot_be_followed_is_not_made(make: object, words: str) -> None:
    assert callable(make)
    with pytest.raises(ChoiceError, match=words):
        make()
