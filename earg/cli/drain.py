"""``earg drain``: stop a graph once it has answered what it accepted."""

from __future__ import annotations

import argparse
import math

from earg.cli.errors import CommandError
from earg.cli.printing import Commands, add_json, print_json

DRAIN_TIMEOUT = 60.0
"""Seconds that a drain may take: a frontend's usual deadline for one request."""


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "drain",
        help="stop a graph once it has answered what it accepted",
        description="Take no new requests (clients get 503 with Retry-After), answer those in the "
        "graph, and stop it. Where that takes too long, the graph serves again.",
    )
    parser.add_argument("graph")
    parser.add_argument(
        "--timeout",
        type=float,
        default=DRAIN_TIMEOUT,
        metavar="S",
        help=f"seconds that it may take (default: {DRAIN_TIMEOUT:g})",
    )
    parser.add_argument(
        "--force", action="store_true", help="stop it all the same when they have passed"
    )
    add_json(parser, "whether it was stopped, and how many requests were left")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do it."""
    from earg.client import UndrainedError, connect

    if not (math.isfinite(options.timeout) and options.timeout >= 0):
        raise CommandError(f"--timeout must be 0 or more seconds, not {options.timeout:g}")
    with connect(options.home, start=False) as client:
        try:
            left = client.drain(options.graph, options.timeout, options.force)
        except UndrainedError as error:
            if options.json:
                print_json({"graph": options.graph, "stopped": False, "left": error.left})
            raise CommandError(f"{error}; --force stops it all the same") from None
    if options.json:
        print_json({"graph": options.graph, "stopped": True, "left": left})
    elif left:
        print(f"{options.graph} is down; {left} requests were left without a reply")
    else:
        print(f"{options.graph} is drained and down")
