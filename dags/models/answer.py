"""The classifier's finding as an answer."""

from __future__ import annotations

from typing import Any

from models.fields import kind_of, object_of

SURE = 0.8
"""Probability from which on the answer is sure."""

_WHO = "the answer"


class Answer:
    """Says which digit it is, and how sure that is.

    A request is ``{"digit": int, "probabilities": [10 numbers]}``; a reply is
    ``{"digit": int, "probability": float, "second": int, "answer": str}``.
    """

    def predict(self, request: Any) -> dict[str, Any]:
        found = object_of(request, _WHO, '{"digit": 3, "probabilities": [...]}').get(
            "probabilities"
        )
        if (
            not isinstance(found, list)
            or len(found) != 10
            or not all(isinstance(p, (int, float)) and not isinstance(p, bool) for p in found)
        ):
            raise ValueError(f"{_WHO} needs 10 numbers in 'probabilities', not {kind_of(found)}")
        first, second = sorted(range(10), key=lambda digit: -found[digit])[:2]
        chance = float(found[first])
        text = f"It is a {first}." if chance >= SURE else f"It may be a {first}, or a {second}."
        return {"digit": first, "probability": round(chance, 4), "second": second, "answer": text}
