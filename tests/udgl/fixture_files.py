"""Where the fixtures are, and the codes they hold; see fixtures/README.md."""

from __future__ import annotations

import re
from pathlib import Path

FIXTURES = Path(__file__).parent / "fixtures"


def graphs(folder: str) -> list[str]:
    """The names of a folder's graphs, without their ending."""
    names = sorted(path.stem for path in (FIXTURES / folder).glob("*.udgl"))
    assert names, f"no fixtures in {folder}"
    return names


def codes_in(text: str) -> set[str]:
    """The codes of the diagnostics that ``text`` tells."""
    return set(re.findall(r"^\S+?: ([A-Z]+\d{3}) ", text, re.MULTILINE))
