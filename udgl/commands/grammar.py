"""``udgl grammar``: a grammar for the highlighting of editors."""

from __future__ import annotations

import argparse
import json

from udgl.commands import OK

DESCRIPTION = """\
Print the TextMate grammar of UDGL, by which VS Code and other editors colour
files.
"""

EPILOG = """\
standard output gets the grammar, as JSON; standard error, what went wrong.

exit codes:
  0  it is printed
  2  wrong usage

examples:
  udgl grammar > syntaxes/udgl.tmLanguage.json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument(
        "--format", choices=("textmate",), default="textmate", help="the only one, and the default"
    )


def run(options: argparse.Namespace) -> int:
    """Prints the grammar; the exit code."""
    from udgl.editor.textmate import grammar

    print(json.dumps(grammar(), ensure_ascii=False, indent=2))
    return OK
