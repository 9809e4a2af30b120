"""Sentiment and the running mood, with the real lexicon."""

from __future__ import annotations

import json

import pytest
from models import sentiment
from models.sentiment import SentimentAnalyzer

GOOD = "i love this wonderful library"
BAD = "the hotel was terrible and the staff were very rude"


@pytest.fixture(scope="module")
def blank() -> bytes:
    return SentimentAnalyzer().get_state()


@pytest.fixture(scope="module")
def shared() -> SentimentAnalyzer:
    return SentimentAnalyzer()


@pytest.fixture
def analyzer(shared: SentimentAnalyzer, blank: bytes) -> SentimentAnalyzer:
    """An analyzer that knows no session; reading the lexicon once is enough."""
    shared.set_state(blank)
    return shared


def said(text: str, session: str = "ada") -> dict[str, object]:
    return {"transcript": text, "sentences": [text], "session": session}


def test_praise_is_positive_complaint_negative_and_fact_neutral(
    analyzer: SentimentAnalyzer,
) -> None:
    assert analyzer.predict(said(GOOD))["label"] == "positive"
    assert analyzer.predict(said(BAD))["label"] == "negative"
    reply = analyzer.predict(said("the train leaves at noon"))
    assert (reply["label"], reply["compound"]) == ("neutral", 0.0)


def test_the_mood_is_the_mean_of_the_sessions_scores(analyzer: SentimentAnalyzer) -> None:
    scores = []
    for count, text in enumerate((GOOD, BAD, BAD, GOOD, "well"), 1):
        reply = analyzer.predict(said(text))
        scores.append(reply["compound"])
        assert reply["utterances"] == count
        assert reply["mood"] == pytest.approx(sum(scores) / count, abs=1e-4)
    assert min(scores) < 0 < max(scores)


def test_sessions_do_not_touch_each_other(analyzer: SentimentAnalyzer) -> None:
    analyzer.predict(said(GOOD, "ada"))
    assert analyzer.predict(said(BAD, "bob"))["utterances"] == 1
    assert analyzer.predict(said(BAD, "bob"))["mood"] < 0
    assert analyzer.predict(said(GOOD, "ada"))["mood"] > 0


def test_sentences_count_alike(analyzer: SentimentAnalyzer) -> None:
    good = analyzer.predict(said(GOOD))["compound"]
    bad = analyzer.predict(said(BAD))["compound"]
    both = analyzer.predict({"transcript": f"{GOOD} {BAD}", "sentences": [GOOD, BAD]})
    assert both["compound"] == pytest.approx((good + bad) / 2, abs=1e-4)
    assert analyzer.predict({"transcript": "", "sentences": []})["compound"] == 0.0


def test_the_session_that_was_silent_longest_is_forgotten_first(
    analyzer: SentimentAnalyzer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentiment, "MAX_SESSIONS", 2)
    analyzer.predict(said(GOOD, "ada"))
    analyzer.predict(said(GOOD, "bob"))
    analyzer.predict(said(GOOD, "ada"))
    analyzer.predict(said(GOOD, "cy"))
    assert analyzer.predict(said(GOOD, "ada"))["utterances"] == 3
    assert analyzer.predict(said(GOOD, "bob"))["utterances"] == 1


def test_a_second_analyzer_goes_on_where_the_first_stopped(analyzer: SentimentAnalyzer) -> None:
    analyzer.predict(said(GOOD, "ada"))
    analyzer.predict(said(BAD, "b\u00f6b"))
    other = SentimentAnalyzer()
    other.set_state(analyzer.get_state())
    assert other.get_state() == analyzer.get_state()
    for session in ("ada", "b\u00f6b", "new"):
        assert other.predict(said(BAD, session)) == analyzer.predict(said(BAD, session))


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"moods": [["ada"]]}',
        b'{"moods": [["ada", 0, 0.0]]}',
        b'{"moods": [["ada", 1, NaN]]}',
        b'{"moods": [["ada", 1, 1.5]]}',
        b'{"moods": [["ada", "1", 0.5]]}',
        b'{"moods": [["", 1, 0.5]]}',
        b'{"moods": [[["ada"], 1, 0.5]]}',
        json.dumps({"moods": [[f"s{n}", 1, 0.5] for n in range(1001)]}).encode(),
    ],
)
def test_a_damaged_state_changes_nothing(analyzer: SentimentAnalyzer, state: bytes) -> None:
    analyzer.predict(said(GOOD))
    before = analyzer.get_state()
    with pytest.raises(ValueError, match="no state of the sentiment analyzer"):
        analyzer.set_state(state)
    assert analyzer.get_state() == before


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ("text", "got text of 4 characters"),
        ({"sentences": []}, "needs the field 'transcript'"),
        ({"transcript": "a"}, "list of texts in the field 'sentences'"),
        ({"transcript": "a", "sentences": [1]}, "list of texts in the field 'sentences'"),
        ({"transcript": "a", "sentences": ["a"], "session": 5}, "session name"),
    ],
)
def test_a_malformed_request_is_refused_and_not_counted(
    analyzer: SentimentAnalyzer, request_: object, says: str
) -> None:
    before = analyzer.get_state()
    with pytest.raises(ValueError, match=says):
        analyzer.predict(request_)
    assert analyzer.get_state() == before
