"""The sentiment of a text and the running mood of its speaker, with VADER."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from models.fields import MAX_SESSION_NAME, object_of, session_of, text_of, texts_of

MAX_SESSIONS = 1000
"""Sessions remembered; beyond these the one that was silent longest is forgotten."""

THRESHOLD = 0.05
"""A compound score from here up is positive, from minus this down negative (VADER's own rule)."""

_WHO = "the sentiment analyzer"
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Mood:
    """What is kept of a session: the number of utterances and the sum of their scores."""

    utterances: int = 0
    total: float = 0.0

    @property
    def mean(self) -> float:
        """The running mean of the compound scores, from -1 to 1; 0 before the first utterance."""
        return self.total / self.utterances if self.utterances else 0.0

    def after(self, compound: float) -> Mood:
        """The mood once one more utterance has been heard."""
        return Mood(self.utterances + 1, self.total + compound)


class SentimentAnalyzer:
    """Scores a text and keeps a running mood per speaker session: a stateful model.

    A request is ``{"transcript": str, "sentences": [str], "session": str}``. A reply is
    ``{"session": str, "transcript": str, "compound": float,
    "label": "positive"|"negative"|"neutral", "mood": float, "utterances": int}``: ``compound`` is
    the mean of VADER's scores of the sentences, and ``mood`` the mean of ``compound`` over the
    session, both from -1 to 1; ``utterances`` counts this one too.
    """

    def __init__(self) -> None:
        self._vader = SentimentIntensityAnalyzer()
        self._moods: OrderedDict[str, Mood] = OrderedDict()

    def predict(self, request: Any) -> dict[str, Any]:
        fields = object_of(request, _WHO, '{"transcript": "...", "sentences": ["..."]}')
        session, text = session_of(fields, _WHO), text_of(fields, "transcript", _WHO)
        compound = self._score(texts_of(fields, "sentences", _WHO))
        mood = self._moods.get(session, Mood()).after(compound)
        self._remember(session, mood)
        return {
            "session": session,
            "transcript": text,
            "compound": compound,
            "label": label_of(compound),
            "mood": round(mood.mean, _DIGITS),
            "utterances": mood.utterances,
        }

    def _score(self, sentences: list[str]) -> float:
        # VADER is made for sentences; of a longer text its score says little.
        scores = [float(self._vader.polarity_scores(s)["compound"]) for s in sentences]
        return round(sum(scores) / len(scores), _DIGITS) if scores else 0.0

    def _remember(self, session: str, mood: Mood) -> None:
        self._moods[session] = mood
        self._moods.move_to_end(session)
        while len(self._moods) > MAX_SESSIONS:
            self._moods.popitem(last=False)

    def get_state(self) -> bytes:
        """Every session's mood as JSON, the one that was silent longest first."""
        rows = [[name, mood.utterances, mood.total] for name, mood in self._moods.items()]
        return json.dumps({"moods": rows}, ensure_ascii=False).encode()

    def set_state(self, state: bytes) -> None:
        """Take over what :meth:`get_state` gave. ValueError, and no change, for anything else."""
        self._moods = _read_state(state)


def label_of(compound: float) -> str:
    """The sign of a compound score in words."""
    if compound >= THRESHOLD:
        return "positive"
    return "negative" if compound <= -THRESHOLD else "neutral"


def _read_state(state: bytes) -> OrderedDict[str, Mood]:
    try:
        rows = json.loads(state)["moods"]
        moods = OrderedDict((name, Mood(count, float(total))) for name, count, total in rows)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"this is no state of {_WHO}: {error}") from None
    if len(moods) > MAX_SESSIONS or not all(_sound(*row) for row in moods.items()):
        raise ValueError(f"this is no state of {_WHO}: a session in it cannot be")
    return moods


def _sound(name: Any, mood: Mood) -> bool:
    return (
        isinstance(name, str)
        and 0 < len(name) <= MAX_SESSION_NAME
        and type(mood.utterances) is int
        and mood.utterances > 0
        and math.isfinite(mood.total)
        and abs(mood.total) <= mood.utterances
    )
