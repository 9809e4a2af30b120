"""Environments of platforms, which scripts/test_peers.sh makes."""

from __future__ import annotations

from pathlib import Path

import pytest

BUILD = Path(__file__).parents[2] / "build"


def program(name: str, file: str) -> Path:
    """A program of the environment of a platform. Skips the test where the script was told to leave
    the platform out; AssertionError that says what to do where it has not run."""
    found = BUILD / f"{name}-env" / "bin" / file
    if not found.exists() and (BUILD / f"{name}-env.skipped").exists():
        pytest.skip(f"HOGAR_SKIP_PEERS left {name} out when scripts/test_peers.sh ran")
    assert found.exists(), f"there is no {found}; run scripts/test_peers.sh, which makes it"
    return found
