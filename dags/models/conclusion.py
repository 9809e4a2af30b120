"""The last word: sentiment and subject of one utterance, joined."""

from __future__ import annotations

from typing import Any

from models.fields import kind_of, object_of, session_of, text_of

_WHO = "the conclusion"
_LABELS = ("positive", "negative", "neutral")


class Conclusion:
    """Joins what the analyzers found into the graph's reply.

    A request is a list of two objects in the order in which the flow names them: the sentiment's
    reply and the subject's reply. A reply is ``{"session": str, "transcript": str,
    "sentiment": {"label": str, "score": float, "mood": float, "utterances": int},
    "subject": str|null, "keywords": [str], "conclusion": str}``; ``score`` and ``mood`` are from
    -1 to 1.
    """

    def predict(self, request: Any) -> dict[str, Any]:
        if not isinstance(request, list) or len(request) != 2:
            raise ValueError(
                f"{_WHO} joins two parts, sentiment and subject, but got {kind_of(request)}; "
                "its operator needs a reduce of exactly these two"
            )
        sentiment = object_of(request[0], f"{_WHO}'s first part", "a sentiment's reply")
        subject = object_of(request[1], f"{_WHO}'s second part", "a subject's reply")
        label = text_of(sentiment, "label", f"{_WHO}'s first part")
        if label not in _LABELS:
            raise ValueError(
                f"{_WHO}'s first part must have one of the labels {', '.join(_LABELS)}"
            )
        scores = {name: _number(sentiment, name) for name in ("compound", "mood", "utterances")}
        transcript = text_of(sentiment, "transcript", f"{_WHO}'s first part")
        topic, keywords = _topic(subject), _keywords(subject)
        return {
            "session": session_of(sentiment, _WHO),
            "transcript": transcript,
            "sentiment": {
                "label": label,
                "score": scores["compound"],
                "mood": scores["mood"],
                "utterances": scores["utterances"],
            },
            "subject": topic,
            "keywords": keywords,
            "conclusion": sentence(transcript, label, topic),
        }


def sentence(transcript: str, label: str, subject: str | None) -> str:
    """The finding as one English sentence."""
    if not transcript.strip():
        return "Nothing was said that could be understood."
    if subject is None:
        return f"The speaker feels {label} about nothing in particular."
    return f"The speaker feels {label} about '{subject}'."


def _number(part: dict[str, Any], field: str) -> float:
    value = part.get(field)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(
            f"{_WHO}'s first part needs a number in {field!r}, but it holds {kind_of(value)}; "
            "the first part must be the sentiment's reply"
        )
    return value


def _topic(part: dict[str, Any]) -> str | None:
    if part.get("subject", "") is None:
        return None
    return text_of(part, "subject", f"{_WHO}'s second part")


def _keywords(part: dict[str, Any]) -> list[str]:
    keywords = part.get("keywords")
    if not isinstance(keywords, list):
        raise ValueError(
            f"{_WHO}'s second part needs a list in 'keywords', but it holds {kind_of(keywords)}; "
            "the second part must be the subject's reply"
        )
    who = f"a keyword of {_WHO}'s second part"
    return [text_of(object_of(k, who, '{"text": "..."}'), "text", who) for k in keywords]
