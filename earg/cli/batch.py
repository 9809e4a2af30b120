"""``earg batch``: set a node's batch limit."""

from __future__ import annotations

import argparse

from earg.cli.graphs import node_of
from earg.cli.printing import Commands, add_json, print_json


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser("batch", help="set a node's batch limit, from its next batch on")
    parser.add_argument("graph")
    parser.add_argument("node", help="its name, or its number in the config")
    parser.add_argument("limit", type=int, help="most requests that its model gets at once")
    add_json(parser, "the limit and the one before")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do it."""
    from earg.client import connect

    with connect(options.home, start=False) as client:
        node = node_of(client.graph(options.graph), options.node)
        limit, who = client.set_batch_limit(
            options.graph, node.index, options.limit, who="earg batch"
        )
    if options.json:
        answer = {"graph": options.graph, "node": node.name, "limit": options.limit}
        print_json(answer | {"before": limit, "before_set_by": who})
        return
    print(
        f"{node.name} of {options.graph} takes at most {options.limit} requests at once now; "
        f"before: {limit}, set by {who}"
    )
