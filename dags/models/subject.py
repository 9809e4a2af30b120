"""What a text is about, with YAKE."""

from __future__ import annotations

from typing import Any

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
from yake import KeywordExtractor

from models.fields import object_of, session_of, text_of

KEYWORDS = 5
"""Most keywords in a reply."""

WORDS_IN_KEYWORD = 2
"""Most words in one keyword."""

_WHO = "the subject analyzer"


class SubjectAnalyzer:
    """Finds the subject of a text: its best keyword.

    A request is ``{"transcript": str, "session": str}``. A reply is ``{"session": str,
    "transcript": str, "subject": str|null, "keywords": [{"text": str, "score": float}]}``: keywords
    are ordered best first, YAKE's score is above 0 and lower is better. Words of feeling ("love",
    "terrible") tell how a thing is and not what, so they are no keywords while others are left.
    ``subject`` is null where the text has no keyword at all.
    """

    def __init__(self) -> None:
        self._anything = KeywordExtractor(lan="en", n=WORDS_IN_KEYWORD, top=KEYWORDS)
        feelings = SentimentIntensityAnalyzer().lexicon
        self._things = KeywordExtractor(
            lan="en",
            n=WORDS_IN_KEYWORD,
            top=KEYWORDS,
            stopwords={*self._anything.stopword_set, *feelings},
        )

    def predict(self, request: Any) -> dict[str, Any]:
        fields = object_of(request, _WHO, '{"transcript": "..."}')
        session, text = session_of(fields, _WHO), text_of(fields, "transcript", _WHO)
        found = self._things.extract_keywords(text) or self._anything.extract_keywords(text)
        # YAKE's scores are numpy's floats, which JSON cannot say.
        keywords = [{"text": str(keyword), "score": float(score)} for keyword, score in found]
        return {
            "session": session,
            "transcript": text,
            "subject": keywords[0]["text"] if keywords else None,
            "keywords": keywords,
        }
