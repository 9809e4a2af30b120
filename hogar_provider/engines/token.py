"""The token that an engine's processes show each other, and clients show its frontends."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from earg.home import Home

NAME = "token"


def token_in(home: Home) -> str:
    """The token that was made for an engine whose connection gives none; empty where none was."""
    try:
        return (home.path / NAME).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def make_token(home: Home) -> str:
    """The same, made where there is none. Raises :class:`earg.home.HomeError` and OSError."""
    home.prepare()
    fresh = home.path / f"{NAME}.{os.getpid()}"
    fresh.touch(0o600)
    fresh.write_text(secrets.token_hex(32) + "\n")
    try:
        # Of two that make one at the same time, one wins.
        os.link(fresh, home.path / NAME)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
    return token_in(home)
