"""``earg requests``: the requests that are in a graph, and where each is."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from earg.cli.printing import Commands, add_json, print_json, print_table

if TYPE_CHECKING:
    from earg.request_wire import RequestInGraph


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "requests", help="the requests that are in a graph, and where each is"
    )
    parser.add_argument("graph")
    parser.add_argument(
        "--most", type=int, default=20, help="so many, the oldest first (default: 20)"
    )
    add_json(parser, "how many there are, and a list of them")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do it."""
    from earg.client import connect

    with connect(options.home, start=False) as client:
        names = {node.index: node.name for node in client.graph(options.graph).nodes}
        total, requests = client.requests(options.graph, min(max(1, options.most), 1000))
    if options.json:
        print_json({"graph": options.graph, "total": total, "requests": requests})
        return
    print(f"{total} request{'' if total == 1 else 's'} in {options.graph}")
    if requests:
        header = ("REQUEST", "SINCE", "SENT", "WHERE")
        print_table([header, *(_row(one, names) for one in requests)])


def _row(request: RequestInGraph, names: dict[int, str]) -> tuple[str, ...]:
    where = ", ".join(
        f"{names.get(at.index, f'node {at.index}')} ({at.stage} {at.seconds:.3f} s)"
        for at in request.positions
    )
    sent = "once" if request.attempt == 0 else f"{request.attempt + 1} times"
    return str(request.id), f"{request.seconds:.3f} s", sent, where or "between two nodes"
