"""Colours for a terminal, and when they are used."""

from __future__ import annotations

import argparse
import os
import re
import sys
from typing import TextIO

RED, GREEN, YELLOW, BLUE, CYAN = "31", "32", "33", "34", "36"
BOLD = "1"
FAINT = "2"

_HEAD = re.compile(
    r"(?P<place>.+?): (?P<code>[A-Z]+\d{3}) (?P<kind>(?:warning|note): )?(?P<rest>.*)"
)
_CARETS = re.compile(r" +\^+")
_KINDS = {None: RED, "warning: ": YELLOW, "note: ": CYAN}


def add_option(parser: argparse.ArgumentParser) -> None:
    """Adds ``--color``."""
    parser.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="whether to colour what is told: auto (default) is on a terminal alone, and never "
        "where the environment has NO_COLOR",
    )


def wanted(choice: str, stream: TextIO) -> bool:
    """Whether what is written to ``stream`` is coloured; ``choice`` is that of ``--color``."""
    if choice != "auto":
        return choice == "always"
    # https://no-color.org: set, and not empty.
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def paint(text: str, *codes: str) -> str:
    """``text`` in the colours ``codes``."""
    return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if text else text


def findings(text: str, choice: str) -> str:
    """Findings as :func:`udgl.diagnostics.format_all` tells them, coloured where standard error
    shows colours."""
    if not wanted(choice, sys.stderr):
        return text
    colour = RED
    lines = []
    for line in text.split("\n"):
        head = None if line.startswith("  ") else _HEAD.fullmatch(line)
        if head is not None:
            colour = _KINDS[head["kind"]]
            told = paint((head["code"] + " " + (head["kind"] or "")).rstrip(), BOLD, colour)
            lines.append(f"{paint(head['place'], BOLD)}: {told} {head['rest']}")
        elif _CARETS.fullmatch(line):
            gap = len(line) - len(line.lstrip())
            lines.append(line[:gap] + paint(line[gap:], BOLD, colour))
        elif line.startswith("  hint: "):
            lines.append("  " + paint("hint:", GREEN) + line[len("  hint:") :])
        else:
            lines.append(line)
    return "\n".join(lines)


def changes(text: str, choice: str) -> str:
    """A difference as ``udgl diff`` tells it, coloured where standard output shows colours."""
    if not wanted(choice, sys.stdout):
        return text
    signs = {"+": GREEN, "-": RED, "~": YELLOW}
    return "\n".join(
        paint(line, signs[line[0]]) if line[:1] in signs else line for line in text.split("\n")
    )
