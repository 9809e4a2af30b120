"""Times as the APIs of Docker and Kubernetes write them."""

from __future__ import annotations

import datetime


def seconds(text: object) -> float:
    """A time of RFC 3339 in seconds since the Unix epoch; 0 where it is none, or before that. Its
    fractions may have nine digits."""
    try:
        found = datetime.datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return max(0.0, found)
