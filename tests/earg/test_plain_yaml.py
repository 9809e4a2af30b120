"""YAML without surprises."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from earg.plain_yaml import PlainYamlError, load_plain

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10)
    | st.sampled_from(["No", "1", "1:30", "null", "~", "<<", "=", "2024-01-31", "0x1", "1_000"])
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@pytest.fixture(params=["with libyaml", "without libyaml"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without libyaml":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)


@given(st.dictionaries(st.text(max_size=5), values, max_size=3))
def test_json_is_read_as_json(value: Any) -> None:
    assert load_plain(json.dumps(value)) == value
    assert load_plain(json.dumps(value, ensure_ascii=False)) == value


@given(st.dictionaries(st.text("abNo:1-' \"", max_size=5), st.text("abNo:1-' \"#é"), max_size=3))
def test_text_that_a_yaml_writer_writes_is_read_back(value: Any) -> None:
    assert load_plain(yaml.safe_dump(value, default_style='"', allow_unicode=True)) == value


@given(st.text(max_size=50) | st.text(alphabet="ab:-{}[],&*!|>'\"\n #?1%@", max_size=50))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        load_plain(text)
    except PlainYamlError as error:
        said = str(error)
    else:
        said = "read"
    assert said


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing\n", None),
        ("No: yes", {"No": "yes"}),
        ("1: 2", {"1": 2}),
        ("a: 1:30", {"a": "1:30"}),
        ("a: 010", {"a": "010"}),
        ("a: 1_000", {"a": "1_000"}),
        ("a: .nan", {"a": ".nan"}),
        ("a: 2024-01-31", {"a": "2024-01-31"}),
        ("a: 1e3", {"a": 1000.0}),
        ("a: '1'", {"a": "1"}),
        ("a:", {"a": None}),
        ("a: ''", {"a": ""}),
        ("{a: true, b: [x, 1.5]}", {"a": True, "b": ["x", 1.5]}),
        ("<<: {a: 1}", {"<<": {"a": 1}}),
    ],
)
def test_only_words_and_numbers_of_json_are_more_than_text(text: str, value: Any) -> None:
    found = load_plain(text)
    assert found == value
    assert repr(found) == repr(value)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2", "line 2, column 1: the key 'a' comes twice"),
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' comes twice"),
        ("a: &x 1", "anchor"),
        ("a: &x [1]\nb: *x", "anchor"),
        ("a: *x", "alias"),
        ("a: !!python/object:os.system x", "a tag"),
        ("a: !!str 1", "a tag"),
        ("[a]: 1", "a key has to be plain text"),
        ("a: 1\n---\nb: 2", "one document"),
        ("a: [1", r"line \d, column \d: this is not YAML"),
        ("a: \x00", "this is not YAML"),
        ("a: \ud800", "this is not YAML"),
        ("- " * 20 + "x", "nest more than 8 deep"),
        ("[" * 100_000, "nest more than 8 deep"),
        ('{"a": ' + "9" * 5000 + "}", "too many digits"),
    ],
)
def test_what_yaml_could_do_and_this_does_not(text: str, words: str) -> None:
    with pytest.raises(PlainYamlError, match=words):
        load_plain(text)
