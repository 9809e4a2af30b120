"""``earg logs``: the last lines that a process of a graph has written."""

from __future__ import annotations

import argparse

from earg.cli.errors import CommandError
from earg.cli.graphs import node_of
from earg.cli.printing import Commands, add_json, print_json

MOST_LINES = 1000
"""More lines the agent does not tell."""

FRONTEND = "frontend"
"""What the frontend is called, unless a node has that name."""


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser("logs", help="the last lines that a process has written")
    parser.add_argument("graph")
    parser.add_argument(
        "node", help=f"its name, or its number in the config; {FRONTEND!r} for the frontend"
    )
    parser.add_argument("--proxy", action="store_true", help="of its proxy (default: its model)")
    parser.add_argument(
        "--backup", action="store_true", help="of its backup (default: its primary)"
    )
    parser.add_argument(
        "--lines", type=int, default=20, help="how many (default: 20; 1000 at most)"
    )
    add_json(parser, "a list of lines")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do it."""
    from earg.client import connect

    if options.lines < 1:
        raise CommandError(f"--lines must be 1 or more, not {options.lines}")
    with connect(options.home, start=False) as client:
        graph = client.graph(options.graph)
        index = 0
        if options.node != FRONTEND or any(node.name == FRONTEND for node in graph.nodes):
            index = node_of(graph, options.node).index
        elif options.proxy or options.backup:
            raise CommandError("the frontend has neither a proxy nor a backup")
        text = client.node_log(
            options.graph,
            index,
            min(options.lines, MOST_LINES),
            proxy=options.proxy,
            backup=options.backup,
        )
    if options.json:
        print_json(text.splitlines())
    elif text:
        print(text)
