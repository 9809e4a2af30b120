"""``earg batch``: change how a node batches."""

from __future__ import annotations

import argparse

from earg.cli.errors import CommandError
from earg.cli.graphs import node_of
from earg.cli.printing import Commands, add_json, print_json, read_duration


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "batch",
        help="change how a node batches, from its next batch on",
        description="Change a node's batch limit, how long a batch waits to fill, or whether the "
        "limit moves by itself. What is not named stays as it is.",
    )
    parser.add_argument("graph")
    parser.add_argument("node", help="its name, or its number in the config")
    parser.add_argument(
        "limit", type=int, nargs="?", help="most requests that its model gets at once"
    )
    parser.add_argument("--wait", metavar="TIME", help="a batch may wait so long to fill: 5ms, 1s")
    parser.add_argument(
        "--latency",
        metavar="TIME",
        help="the objective of a dynamic limit: a batch computes within it (0: the usual one)",
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--dynamic", action="store_true", help="let the limit move below the most by itself"
    )
    kind.add_argument("--static", action="store_true", help="keep the limit as it is set")
    add_json(parser, "what is set now, and what was before")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do it."""
    from earg.client import connect

    dynamic = True if options.dynamic else False if options.static else None
    wait = None if options.wait is None else read_duration("--wait", options.wait)
    objective = None if options.latency is None else read_duration("--latency", options.latency)
    if (options.limit, wait, objective, dynamic) == (None, None, None, None):
        raise CommandError("say what to change: a limit, --wait, --latency, --dynamic or --static")
    with connect(options.home, start=False) as client:
        node = node_of(client.graph(options.graph), options.node)
        before = client.set_batch_limit(
            options.graph,
            node.index,
            options.limit,
            "earg batch",
            wait=wait,
            objective=objective,
            dynamic=dynamic,
        )
    limit = before.limit if options.limit is None else options.limit
    wait = before.wait if wait is None else wait
    objective = before.objective if objective is None else objective
    dynamic = before.dynamic if dynamic is None else dynamic
    if options.json:
        print_json(
            {
                "graph": options.graph,
                "node": node.name,
                "limit": limit,
                "wait": wait,
                "objective": objective,
                "dynamic": dynamic,
                "before": before.limit,
                "before_set_by": before.who,
                "before_wait": before.wait,
                "before_objective": before.objective,
                "before_dynamic": before.dynamic,
            }
        )
        return
    print(
        f"{node.name} of {options.graph} takes {_described(limit, wait, objective, dynamic)}; "
        f"before: {_described(before.limit, before.wait, before.objective, before.dynamic)}, "
        f"set by {before.who}"
    )


def _described(limit: int, wait: float, objective: float, dynamic: bool) -> str:
    text = f"at most {limit} requests at once"
    if dynamic:
        aim = f" so that a batch computes within {objective * 1000:g} ms" if objective else ""
        text += f", fewer by itself{aim}"
    return text + (f", and waits up to {wait * 1000:g} ms for them" if wait else "")
