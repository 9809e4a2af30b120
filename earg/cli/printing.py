"""Tables for people, JSON for programs."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from enum import Enum
from typing import Any

from earg.cli.errors import CommandError

Commands = Any
"""What ``argparse`` hands out to add commands to; its class is private."""


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """``--json``, which every command has."""
    parser.add_argument("--json", action="store_true", help=f"as JSON: {what}")


def print_json(value: Any, one_line: bool = False) -> None:
    """A value as JSON; values of ours and their states, too."""
    indent = None if one_line else 2
    print(json.dumps(value, default=_plain, ensure_ascii=False, indent=indent))


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def read_duration(option: str, text: str) -> float:
    """Seconds of a time such as 5ms, 1.5s or 2m; raises :class:`CommandError`."""
    from earg.extras import ExtrasError, duration

    try:
        return duration(option, float(text) if text.replace(".", "", 1).isdigit() else text)
    except ExtrasError as error:
        raise CommandError(str(error)) from None


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Rows as columns of equal width."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  " + "  ".join(cells).rstrip())


def say(text: str) -> None:
    """What goes on, for people: never on the standard output."""
    print(text, file=sys.stderr, flush=True)
