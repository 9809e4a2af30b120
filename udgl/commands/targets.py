"""``udgl targets``: the platforms that graphs can be compiled to."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import textwrap
from typing import Any

from udgl.commands import OK, UNUSABLE
from udgl.commands.streams import say
from udgl.targets import TargetError, distribution_of, target, target_names

DESCRIPTION = """\
List the platforms that graphs can be compiled to, and what each writes. Other
packages add theirs by an entry point of the group udgl.targets.
"""

EPILOG = """\
standard output gets the table; standard error, which target of another package
cannot be used, and why.

exit codes:
  0  all targets can be used
  2  wrong usage, or a target of another package cannot be used

examples:
  udgl targets
  udgl targets --format json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="for people (default), or JSON"
    )


def run(options: argparse.Namespace) -> int:
    """Prints the table; the exit code."""
    code = OK
    rows = []
    for name in target_names():
        try:
            rows.append(_row(name))
        except TargetError as error:
            say(f"udgl: {error}")
            code = UNUSABLE
    if options.format == "json":
        json.dump(rows, sys.stdout, ensure_ascii=False, indent=2)
        print()
    else:
        print(_table(rows))
    return code


def _row(name: str) -> dict[str, Any]:
    found = target(name)
    return {
        "name": name,
        "description": found.DESCRIPTION,
        "writes": getattr(found, "WRITES", None),
        "codes": dict(found.CODES),
        "package": distribution_of(name),
    }


def _table(rows: list[dict[str, Any]]) -> str:
    margin = max((len(row["name"]) for row in rows), default=0) + 2
    width = max(40, shutil.get_terminal_size((80, 24)).columns)
    lines = []
    for row in rows:
        text = row["description"]
        if row["writes"]:
            text += f"; writes {row['writes']}"
        if row["package"]:
            text += f" (of {row['package']})"
        lines += textwrap.wrap(
            text,
            width,
            initial_indent=row["name"].ljust(margin),
            subsequent_indent=" " * margin,
            break_on_hyphens=False,
        )
    return "\n".join(lines)
