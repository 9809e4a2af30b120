"""Conditions on a reply: read strictly, written canonically, and never a surprise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earg.condition import (
    MAX_INDEX,
    MAX_INTEGER,
    MAX_JOINED,
    MAX_STEPS,
    Comparison,
    Condition,
    ConditionError,
    Scalar,
    holds,
    parse_condition,
)

texts = st.text(max_size=20) | st.sampled_from(["reply", "and", "contains", "a b", "", '"', "0"])
steps = texts | st.integers(0, MAX_INDEX)
ordered_values = (
    texts
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False).filter(lambda value: abs(value) != float("inf"))
)
values = ordered_values | st.booleans() | st.none()
replies = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    found: Condition | None = None
    for _ in range(draw(st.integers(1, 4))):
        comparison = draw(st.sampled_from(list(Comparison)))
        loose = comparison in (Comparison.EQUAL, Comparison.NOT_EQUAL, Comparison.CONTAINS)
        value: Scalar = draw(values if loose else ordered_values)
        path = tuple(draw(st.lists(steps, max_size=MAX_STEPS)))
        found = Condition(path, comparison, value, found)
    assert found is not None
    return found


@given(conditions())
def test_the_canonical_text_reads_back_equal(condition: Condition) -> None:
    again = parse_condition(str(condition))
    assert again == condition
    assert hash(again) == hash(condition)
    assert str(again) == str(condition)
    assert str(condition).isprintable()


@given(conditions(), replies)
def test_any_reply_gets_a_verdict(condition: Condition, reply: Any) -> None:
    assert holds(condition, reply) in (True, False)


@given(st.text(max_size=60) | st.text(alphabet='ab. 01"=<>!\\andrepy', max_size=40))
def test_any_text_is_read_or_refused_with_a_column(text: str) -> None:
    column = 1
    try:
        parse_condition(text)
    except ConditionError as error:
        column = error.column
    assert 1 <= column <= len(text) + 1


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ('label=="drowsy"', 'label == "drowsy"'),
        ("  scores.0   >0.5\n", "scores.0 > 0.5"),
        ('reply == "yes"', 'reply == "yes"'),
        ("reply.label == true", "label == true"),
        ("reply.0.score >= -1e3", "reply.0.score >= -1000.0"),
        ('"reply" == null', '"reply" == null'),
        ("reply.reply != 1", '"reply" != 1'),
        ('a."my key"."0" contains "row"', 'a."my key"."0" contains "row"'),
        ('"a" == "\\u00e9"', 'a == "é"'),
        ('contains contains "and" and and == 1', 'contains contains "and" and and == 1'),
        ('a == "\\u007f"', 'a == "\\u007f"'),
    ],
)
def test_texts_and_their_canonical_form(text: str, canonical: str) -> None:
    assert str(parse_condition(text)) == canonical


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("", 1, "expected the path of a value, such as label, found the end"),
        ("0 == 1", 1, "write reply.0"),
        ("label", 6, "expected a comparison"),
        ("label = 1", 7, "use '=='"),
        ("label is 1", 7, "use '=='"),
        ('label in ["a"]', 7, "a case for each value"),
        ("label == drowsy", 10, 'text stands in double quotes: "drowsy"'),
        ("label == 'drowsy'", 10, "not in single ones"),
        ('label == "drowsy', 10, "as in JSON: Unterminated string"),
        ('label == "a\\q"', 12, "as in JSON: Invalid"),
        ("label == ", 10, "found the end"),
        ("label == [1]", 10, "expected text in double quotes"),
        ("label == 1 or label == 2", 12, "another case with the same target"),
        ("label == 1 && x == 2", 12, "use 'and'"),
        ("label == 1 and", 15, "expected the path"),
        ("label == 01", 11, "a space or the end"),
        ("label == 1e999", 10, "finite"),
        ("label == 99999999999999999999999", 10, "63 bits"),
        ("label == 9999999999999999999", 1, "63 bits"),
        ("label == NaN", 10, "expected text in double quotes, a number"),
        ("label < true", 1, "< compares with a number or text, not with true"),
        ("a == 1 and b >= null", 12, ">= compares with a number or text, not with null"),
        ("a..b == 1", 3, "expected a key or a position after '.'"),
        ("a.-1 == 1", 3, "expected a key or a position after '.'"),
        ("a.1000000 == 1", 3, "at most 999999"),
        ('a == "\\ud800"', 1, "surrogate"),
        (".".join("a" * (MAX_STEPS + 1)) + " == 1", 34, "at most 16 steps"),
        ("a" * 129 + " == 1", 1, "at most 128 characters"),
        ('a == "' + "x" * 1025 + '"', 1, "at most 1024 characters"),
        (" and ".join(["a == 1"] * (MAX_JOINED + 1)), 176, "joins at most 16"),
        ("a == 1" + " " * 20_000, 1, "at most 16384 characters"),
    ],
)
def test_what_cannot_be_read_is_refused_where_it_stands(text: str, column: int, words: str) -> None:
    with pytest.raises(ConditionError) as caught:
        parse_condition(text)
    assert words in caught.value.message
    assert caught.value.column == column


@pytest.mark.parametrize(
    ("text", "reply", "expected"),
    [
        ('label == "drowsy"', {"label": "drowsy"}, True),
        ('label == "drowsy"', {"label": "awake"}, False),
        ('label == "drowsy"', "drowsy", False),
        ('label == "drowsy"', {}, False),
        ('reply == "yes"', "yes", True),
        ('reply == "yes"', b"yes", False),
        ("scores.0 > 0.5", {"scores": [0.7]}, True),
        ("scores.0 > 0.5", {"scores": []}, False),
        ("scores.0 > 0.5", {"scores": {"0": 0.7}}, False),
        ('scores."0" > 0.5', {"scores": {"0": 0.7}}, True),
        ("reply.1 == 2", [1, 2.0], True),
        ("a == 1", {"a": True}, False),
        ("a == true", {"a": 1}, False),
        ("a == true", {"a": True}, True),
        ("a == null", {"a": None}, True),
        ("a == null", {}, False),
        ("a > 0", {"a": True}, False),
        ("a > 0", {"a": "1"}, False),
        ("a > 0", {"a": float("inf")}, True),
        ("a <= 9007199254740993", {"a": 9007199254740993}, True),
        ("a < 9007199254740993", {"a": 9007199254740992}, True),
        ('day >= "2024-01-31"', {"day": "2024-02-01"}, True),
        ("a != 1", {"a": 2}, True),
        ("a != 1", {"a": "1"}, True),
        ("a != 1", {"a": [1]}, True),
        ("a != 1", {"a": True}, True),
        ("a != 1", {"a": 1.0}, False),
        ("a != 1", {}, False),
        ("a.b != 1", {"a": "text"}, False),
        ('label contains "row"', {"label": "drowsy"}, True),
        ('label contains "cat"', {"label": "drowsy"}, False),
        ('tags contains "cat"', {"tags": ["dog", "cat"]}, True),
        ("tags contains 1", {"tags": [True, "1"]}, False),
        ("tags contains null", {"tags": [None]}, True),
        ('a contains "key"', {"a": {"key": 1}}, False),
        ("a contains 1", {"a": "1"}, False),
        ("a == 1 and b == 2", {"a": 1, "b": 2}, True),
        ("a == 1 and b == 2", {"a": 1, "b": 3}, False),
        ("a == 1 and b == 2", {"a": 2, "b": 2}, False),
    ],
)
def test_what_holds(text: str, reply: Any, expected: bool) -> None:
    assert holds(parse_condition(text), reply) is expected


@pytest.mark.parametrize("comparison", list(Comparison))
def test_nothing_holds_of_nan(comparison: Comparison) -> None:
    assert not holds(Condition((), comparison, 1.0), float("nan"))


def test_conditions_that_differ_only_in_the_kind_of_number_differ() -> None:
    one, truth, real = (Condition(("a",), Comparison.EQUAL, v) for v in (1, True, 1.0))
    assert len({one, truth, real}) == 3
    assert one == Condition(("a",), Comparison.EQUAL, 1)


def test_a_condition_too_long_to_be_read_back_is_not_made() -> None:
    long = Condition(("a",), Comparison.EQUAL, "\x01" * 1024)
    longer = Condition(("a",), Comparison.EQUAL, "\x01" * 1024, long)
    with pytest.raises(ConditionError, match="at most 16384 characters"):
        Condition(("a",), Comparison.EQUAL, "\x01" * 1024, longer)


@pytest.mark.parametrize(
    ("path", "value"),
    [((True,), 1), ((-1,), 1), ((1.5,), 1), ((), float("nan")), ((), [1]), ((), b"x")],
)
def test_a_condition_cannot_hold_what_its_text_could_not_say(path: Any, value: Any) -> None:
    with pytest.raises(ConditionError):
        Condition(path, Comparison.EQUAL, value)
