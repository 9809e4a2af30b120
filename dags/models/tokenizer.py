"""Text to sentences and tokens."""

from __future__ import annotations

import re
from typing import Any

from models.fields import DEFAULT_SESSION, object_of, session_of, text_of

MAX_CHARACTERS = 100_000
"""Longest transcript."""

_WHO = "the tokenizer"
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_TOKEN = re.compile(r"\w+(?:['\u2019-]\w+)*")


class Tokenizer:
    """Splits a transcript into sentences and words.

    A request is ``{"transcript": str, "session": str}`` or plain text. A reply is
    ``{"session": str, "transcript": str, "sentences": [str], "tokens": [str]}``. Tokens are the
    words in lower case, without punctuation. A transcript of speech has no punctuation and so is
    one sentence.
    """

    def predict(self, request: Any) -> dict[str, Any]:
        if isinstance(request, str):
            session, text = DEFAULT_SESSION, request
        else:
            fields = object_of(request, _WHO, '{"transcript": "..."}')
            session, text = session_of(fields, _WHO), text_of(fields, "transcript", _WHO)
        if len(text) > MAX_CHARACTERS:
            raise ValueError(
                f"the transcript has {len(text)} characters, more than {MAX_CHARACTERS}; "
                "send it in shorter pieces"
            )
        return {
            "session": session,
            "transcript": text,
            "sentences": sentences_of(text),
            "tokens": tokens_of(text),
        }


def sentences_of(text: str) -> list[str]:
    """The sentences of a text, each with its punctuation; none for a blank text."""
    return [part for part in _SENTENCE_END.split(text.strip()) if part]


def tokens_of(text: str) -> list[str]:
    """The words of a text in lower case; ``it's`` and ``well-known`` are one word each."""
    return [match.group().lower() for match in _TOKEN.finditer(text)]
