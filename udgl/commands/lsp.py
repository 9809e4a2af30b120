"""``udgl lsp``: the language server, for editors."""

from __future__ import annotations

import argparse

from udgl.commands import UNUSABLE
from udgl.commands.streams import say

DESCRIPTION = """\
Speak the Language Server Protocol over standard input and output, until the
editor ends it. An editor starts this, not a person; docs/editors.md shows how.
"""

EPILOG = """\
standard output gets the protocol alone; standard error, what went wrong.
It needs pygls: pip install 'airflow-provider-hogar[lsp]'.

exit codes:
  0  the editor ended it
  1  the editor left without ending it
  2  wrong usage, or there is no pygls

examples:
  udgl lsp --stdio
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    # Clients that let a person choose the channel say so; there is only this one.
    parser.add_argument("--stdio", action="store_true", help="the only channel, and the default")


def run(options: argparse.Namespace) -> int:
    """Serves the editor; the exit code."""
    try:
        from udgl.editor.server import main as serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("pygls", "lsprotocol"):
            raise
        say("udgl: the language server needs pygls: pip install 'airflow-provider-hogar[lsp]'")
        return UNUSABLE
    return serve()
