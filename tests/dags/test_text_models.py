"""Tokens, subject and conclusion, and the whole chain on the samples."""

from __future__ import annotations

import json
from typing import Any

import pytest
from models.conclusion import Conclusion
from models.sentiment import SentimentAnalyzer
from models.subject import SubjectAnalyzer
from models.tokenizer import MAX_CHARACTERS, Tokenizer
from models.transcriber import Transcriber

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def subject() -> SubjectAnalyzer:
    return SubjectAnalyzer()


def sentiment_part(**changes: Any) -> dict[str, Any]:
    part = {
        "session": "ada",
        "transcript": "good books",
        "compound": 0.4,
        "label": "positive",
        "mood": 0.1,
        "utterances": 2,
    }
    return {**part, **changes}


def subject_part(**changes: Any) -> dict[str, Any]:
    return {"subject": "books", "keywords": [{"text": "books", "score": 0.1}], **changes}


def test_text_is_split_into_sentences_and_words() -> None:
    reply = Tokenizer().predict(
        {"transcript": "It's late! Is it? Well-known: 3 facts.", "session": "a"}
    )
    assert reply == {
        "session": "a",
        "transcript": "It's late! Is it? Well-known: 3 facts.",
        "sentences": ["It's late!", "Is it?", "Well-known: 3 facts."],
        "tokens": ["it's", "late", "is", "it", "well-known", "3", "facts"],
    }


def test_plain_text_needs_no_json() -> None:
    assert Tokenizer().predict("Guten Tag, B\u00e4r")["tokens"] == ["guten", "tag", "b\u00e4r"]


def test_silence_has_no_sentences_and_no_tokens() -> None:
    reply = Tokenizer().predict({"transcript": "  "})
    assert (reply["sentences"], reply["tokens"]) == ([], [])


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (b"RIFF", "got 4 bytes"),
        (True, "got true or false"),
        ({"text": "a"}, "needs the field 'transcript', but the request has text"),
        ("a" * (MAX_CHARACTERS + 1), "shorter pieces"),
    ],
)
def test_the_tokenizer_refuses_what_is_no_transcript(request_: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Tokenizer().predict(request_)


def test_the_subject_is_a_thing_and_not_a_feeling(subject: SubjectAnalyzer) -> None:
    reply = subject.predict({"transcript": "the hotel was terrible and the staff were rude"})
    assert reply["subject"] == "hotel"
    assert [keyword["text"] for keyword in reply["keywords"]] == ["hotel", "staff"]
    assert all(0 < keyword["score"] < 1 for keyword in reply["keywords"])
    json.dumps(reply)  # no numpy numbers in it


def test_feelings_are_the_subject_where_there_is_nothing_else(subject: SubjectAnalyzer) -> None:
    assert subject.predict({"transcript": "i am happy"})["subject"] == "happy"


def test_no_words_have_no_subject(subject: SubjectAnalyzer) -> None:
    for text in ("", "it was what it was"):
        assert subject.predict({"transcript": text})["subject"] is None


def test_the_subject_analyzer_refuses_what_is_no_transcript(subject: SubjectAnalyzer) -> None:
    with pytest.raises(ValueError, match="got a list of 2"):
        subject.predict([1, 2])


def test_the_conclusion_joins_both_parts() -> None:
    assert Conclusion().predict([sentiment_part(), subject_part()]) == {
        "session": "ada",
        "transcript": "good books",
        "sentiment": {"label": "positive", "score": 0.4, "mood": 0.1, "utterances": 2},
        "subject": "books",
        "keywords": ["books"],
        "conclusion": "The speaker feels positive about 'books'.",
    }


def test_the_conclusion_says_when_there_is_nothing_to_conclude() -> None:
    nothing = subject_part(subject=None, keywords=[])
    reply = Conclusion().predict([sentiment_part(), nothing])
    assert reply["conclusion"] == "The speaker feels positive about nothing in particular."
    reply = Conclusion().predict([sentiment_part(transcript=""), nothing])
    assert reply["conclusion"] == "Nothing was said that could be understood."


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({}, "joins two parts"),
        ([sentiment_part()], "got a list of 1"),
        ([subject_part(), sentiment_part()], "first part needs the field 'label'"),
        ([sentiment_part(label="glad"), subject_part()], "one of the labels"),
        ([sentiment_part(mood=None), subject_part()], "number in 'mood', but it holds null"),
        ([sentiment_part(), "books"], "second part expects a JSON object"),
        ([sentiment_part(), subject_part(subject=3)], "needs text in the field 'subject'"),
        ([sentiment_part(), {"keywords": []}], "needs the field 'subject'"),
        ([sentiment_part(), subject_part(keywords={})], "list in 'keywords'"),
        ([sentiment_part(), subject_part(keywords=[1])], "keyword of the conclusion's second"),
    ],
)
def test_the_conclusion_refuses_parts_that_are_not_its_own(parts: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Conclusion().predict(parts)


def test_the_models_agree_with_each_other_on_the_samples(
    praise: bytes, complaint: bytes, subject: SubjectAnalyzer
) -> None:
    transcriber, tokenizer, sentiment = Transcriber(), Tokenizer(), SentimentAnalyzer()

    def answer(audio: bytes) -> dict[str, Any]:
        # Replies travel as JSON between the nodes.
        tokens = json.loads(json.dumps(tokenizer.predict(transcriber.predict(audio))))
        parts = json.loads(json.dumps([sentiment.predict(tokens), subject.predict(tokens)]))
        return Conclusion().predict(parts)

    first, second = answer(praise), answer(complaint)
    assert first["sentiment"]["score"] > 0.5
    assert first["subject"] == "library"
    assert first["conclusion"] == "The speaker feels positive about 'library'."
    assert second["sentiment"]["score"] < -0.5
    assert second["subject"] == "hotel"
    assert second["sentiment"]["utterances"] == 2
    mood = (first["sentiment"]["score"] + second["sentiment"]["score"]) / 2
    assert second["sentiment"]["mood"] == pytest.approx(mood, abs=1e-4)
