"""``earg down``: stop a graph at once."""

from __future__ import annotations

import argparse

from earg.cli.errors import CommandError
from earg.cli.printing import Commands, add_json, print_json


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser("down", help="stop a graph at once ('drain' answers first)")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("graph", nargs="?")
    which.add_argument("--all", action="store_true", help="every graph of this agent")
    add_json(parser, "the names of the graphs that were stopped")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do it."""
    from earg.client import NoAgentError, connect

    stopped: list[str] = []
    try:
        with connect(options.home, start=False) as client:
            names = [g.name for g in client.graphs()] if options.all else [options.graph]
            for name in names:
                client.down(name)
                stopped.append(name)
                if not options.json:
                    print(f"{name} is down")
    except NoAgentError as error:
        if not options.all:
            raise CommandError(f"no graph {options.graph!r} is deployed: {error}") from None
    if options.json:
        print_json({"stopped": stopped})
