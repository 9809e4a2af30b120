"""``airflow hogar logs``: the last lines that a process of a graph has written."""

from __future__ import annotations

from argparse import Namespace

from hogar_provider.cli.engine import agent, command, graph_of
from hogar_provider.cli.table import show


@command
def run(args: Namespace) -> None:
    """Do it. As a table the lines are printed as they were written."""
    from earg.cli.errors import CommandError
    from earg.cli.graphs import node_of
    from earg.cli.logs import FRONTEND, MOST_LINES

    if args.lines < 1:
        raise CommandError(f"--lines must be 1 or more, not {args.lines}")
    with agent(args) as client:
        graph = graph_of(client, args.graph)
        index = 0
        if args.node != FRONTEND or any(node.name == FRONTEND for node in graph.nodes):
            index = node_of(graph, args.node).index
        elif args.proxy or args.backup:
            raise CommandError("the frontend has neither a proxy nor a backup")
        text = client.node_log(
            *(graph.name, index, min(args.lines, MOST_LINES)),
            proxy=args.proxy,
            backup=args.backup,
        )
    if args.output in ("json", "yaml"):
        show(args, [{"line": line} for line in text.splitlines()])
    elif text:
        print(text)
