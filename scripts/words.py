"""What the demo tells the person who runs it."""

from __future__ import annotations

import time
from pathlib import Path

_spoken = 0.0


def say(text: str) -> None:
    """Print a line now."""
    global _spoken
    _spoken = time.monotonic()
    print(text, flush=True)


def silence() -> float:
    """Seconds since the last line."""
    return time.monotonic() - _spoken


def shown(path: Path) -> str:
    """A path as short as it can be typed from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def tail(path: Path, lines: int = 25) -> str:
    """The last lines of a log."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return ""
    return f"The end of {shown(path)}:\n" + "\n".join(text.splitlines()[-lines:])
