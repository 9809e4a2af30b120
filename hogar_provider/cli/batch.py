"""``airflow hogar batch``: show or change how a node batches."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from hogar_provider.cli.engine import agent, command, graph_of
from hogar_provider.cli.table import show

if TYPE_CHECKING:
    from earg.client import AgentClient


@command
def run(args: Namespace) -> None:
    """Do it: what is set now, and what was before."""
    from earg.cli.errors import CommandError
    from earg.cli.graphs import node_of
    from earg.cli.printing import read_duration

    if args.dynamic and args.static:
        raise CommandError("a limit is either --dynamic or --static")
    dynamic = True if args.dynamic else False if args.static else None
    wait = None if args.wait is None else read_duration("--wait", args.wait)
    objective = None if args.latency is None else read_duration("--latency", args.latency)
    with agent(args) as client:
        graph = graph_of(client, args.graph)
        node = node_of(graph, args.node)
        if (args.limit, wait, objective, dynamic) == (None, None, None, None):
            show(args, [_now(client, graph.name, node.index)])
            return
        before = client.set_batch_limit(
            *(graph.name, node.index, args.limit, f"airflow hogar batch ({_user()})"),
            wait=wait,
            objective=objective,
            dynamic=dynamic,
        )
    row = {
        "graph": graph.name,
        "node": node.name,
        "limit": before.limit if args.limit is None else args.limit,
        "wait": before.wait if wait is None else wait,
        "latency": before.objective if objective is None else objective,
        "dynamic": before.dynamic if dynamic is None else dynamic,
        "limit_before": before.limit,
        "set_before_by": before.who,
    }
    show(args, [row])


def _now(client: AgentClient, graph: str, index: int) -> dict[str, Any]:
    from earg.cli.errors import CommandError

    for report in client.statistics(graph).nodes:
        if report.index == index and report.statistics is not None:
            found = report.statistics
            return {
                "graph": graph,
                "node": report.name,
                "limit": found.batch_most if found.batch_dynamic else found.batch_limit,
                "wait": found.batch_wait,
                "latency": found.batch_objective,
                "dynamic": found.batch_dynamic,
                "limit_now": found.batch_limit,
                "set_by": found.limit_set_by,
            }
    raise CommandError(f"node {index} of graph {graph} tells nothing at present")


def _user() -> str:
    from airflow.utils.platform import getuser

    return getuser()
