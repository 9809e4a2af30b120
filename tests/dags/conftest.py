"""The demo's samples."""

from __future__ import annotations

from pathlib import Path

import pytest

DAGS = Path(__file__).parents[2] / "dags"


@pytest.fixture(scope="session")
def praise() -> bytes:
    """A WAV: "I love this wonderful library. It makes my work a great pleasure."."""
    return (DAGS / "samples/praise.wav").read_bytes()


@pytest.fixture(scope="session")
def complaint() -> bytes:
    """A WAV: "The hotel was terrible and the staff were very rude."."""
    return (DAGS / "samples/complaint.wav").read_bytes()
