"""``earg stats``: what the nodes have done, and what they use."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from earg.cli.errors import CommandError
from earg.cli.printing import Commands, add_json, print_json, print_table
from earg.statistics import GraphStatistics
from earg.statistics_table import as_json, table

if TYPE_CHECKING:
    from earg.client import AgentClient

WATCH_SECONDS = 10
"""What ``earg stats --watch`` tells of latencies is over so many seconds."""


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser("stats", help="what the nodes have done, and what they use")
    parser.add_argument("graph", nargs="?", help="only this graph")
    add_json(parser, "a list of graphs")
    parser.add_argument(
        "--watch",
        action="store_true",
        help="again each second until Ctrl-C, latencies over the last 10 seconds; "
        "with --json one line a second",
    )
    parser.add_argument(
        "--history",
        type=int,
        default=0,
        metavar="SECONDS",
        help="with --json: so many one-second samples of each node, 900 at most (default: 0)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do it."""
    from earg.client import NoAgentError, connect

    try:
        with connect(options.home, start=False) as client:
            if options.watch:
                _watch_stats(options, client)
            else:
                _print_stats(options, _graph_statistics(options, client))
    except NoAgentError as error:
        if options.graph is not None or options.watch:
            raise CommandError(str(error)) from None
        _print_stats(options, ())


def _graph_statistics(
    options: argparse.Namespace, client: AgentClient
) -> tuple[GraphStatistics, ...]:
    names = [g.name for g in client.graphs()] if options.graph is None else [options.graph]
    return tuple(client.statistics(name, max(0, options.history)) for name in names)


def _watch_stats(options: argparse.Namespace, client: AgentClient) -> None:
    """Print again each second, until Ctrl-C: the way to end it, so no failure."""
    looks: deque[tuple[GraphStatistics, ...]] = deque(maxlen=WATCH_SECONDS)
    on_terminal = sys.stdout.isatty() and not options.json
    due = time.monotonic()
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            now = _graph_statistics(options, client)
            if on_terminal:
                # Home, and clear what is left below: without a flicker.
                print("\x1b[H\x1b[J", end="")
            _print_stats(options, now, looks[0] if looks else (), one_line=True)
            sys.stdout.flush()
            looks.append(now)
            due = max(due + 1.0, time.monotonic())
            time.sleep(due - time.monotonic())


def _print_stats(
    options: argparse.Namespace,
    graphs: Sequence[GraphStatistics],
    before: Sequence[GraphStatistics] = (),
    one_line: bool = False,
) -> None:
    if options.json:
        print_json([as_json(graph) for graph in graphs], one_line)
        return
    if not graphs:
        print("nothing is deployed")
    earlier = {graph.name: graph for graph in before}
    for graph in graphs:
        print(f"{graph.name} {graph.version}")
        print_table(table(graph, earlier.get(graph.name)))
