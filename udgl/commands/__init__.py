"""The commands of ``udgl``: one module of this package each.

A command's module has these four, and is imported only when the command is run:

* ``DESCRIPTION`` and ``EPILOG``: what ``--help`` says before and after the options, in lines of at
  most 79 characters, with examples and exit codes;
* ``configure(parser)``: adds the command's options;
* ``run(options) -> int``: does it, and gives back the exit code. ``options.parser`` is the parser,
  for a usage that only the command knows to be wrong (``parser.error``).

A new command is a module here and a line of :data:`COMMANDS`.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Protocol, cast

OK, WRONG, UNUSABLE = 0, 1, 2
"""Exit codes: all is well; a graph has errors; wrong usage, or a file that cannot be used."""

COMMANDS: dict[str, str] = {
    "check": "report what is wrong in graphs",
    "compile": "write a platform's files for graphs",
    "decompile": "write the graph that a platform's files say",
    "diff": "tell what changes from one graph to another",
    "draw": "draw a graph: in the terminal, as SVG, DOT or Mermaid",
    "fmt": "write graphs in canonical form",
    "grammar": "print a grammar for an editor's highlighting",
    "lsp": "serve an editor as a language server",
    "targets": "list the platforms that graphs can be compiled to",
}
"""Each command, which its module is called as, and what ``udgl --help`` says of it."""


class Command(Protocol):
    """A command's module, as ``udgl`` sees it."""

    DESCRIPTION: str
    EPILOG: str

    def configure(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, options: argparse.Namespace) -> int: ...


def command(name: str) -> Command:
    """The command called ``name``, which is one of :data:`COMMANDS`."""
    return cast("Command", import_module(f"{__name__}.{name}"))
