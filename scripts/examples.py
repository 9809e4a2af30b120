"""The graphs that the demo can show: what is sent to each, and how its reply is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from standalone import ROOT

SAMPLES = ROOT / "dags" / "samples"


@dataclass(frozen=True, slots=True)
class Example:
    """One graph. ``told`` makes lines for a person of a reply; it raises KeyError or TypeError for
    one that the graph's models do not give. ``trains`` is the operator that is trained, or ''."""

    dag: str
    file: str
    sample: Path
    other_sample: Path
    media_type: str
    told: Callable[[dict[str, Any]], list[str]]
    trains: str = ""


def _told_sentiment(reply: dict[str, Any]) -> list[str]:
    sentiment = reply["sentiment"]
    count = sentiment["utterances"]
    others = [word for word in reply["keywords"] if word != reply["subject"]]
    return [
        f"transcript  {reply['transcript']}",
        f"sentiment   {sentiment['label']}, score {sentiment['score']:+.2f}; "
        f"mood {sentiment['mood']:+.2f} after {count} utterance{'s' if count != 1 else ''}",
        f"subject     {reply['subject'] or 'none'}"
        f"{' (other keywords: ' + ', '.join(others) + ')' if others else ''}",
        f"conclusion  {reply['conclusion']}",
    ]


def _told_digit(reply: dict[str, Any]) -> list[str]:
    return [
        f"digit       {reply['digit']}, probability {reply['probability']:.2f}",
        f"answer      {reply['answer']}",
    ]


SENTIMENT = Example(
    "SentiAnalyzer",
    "dags/sentiment.udgl",
    SAMPLES / "praise.wav",
    SAMPLES / "complaint.wav",
    "audio/wav",
    _told_sentiment,
)

DIGITS = Example(
    "Digits",
    "dags/digits.udgl",
    SAMPLES / "seven.pgm",
    SAMPLES / "three.pgm",
    "image/x-portable-graymap",
    _told_digit,
    trains="Classifier",
)
