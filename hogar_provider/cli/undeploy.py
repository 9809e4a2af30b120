"""``airflow hogar undeploy``: take a graph down."""

from __future__ import annotations

import math
import sys
from argparse import Namespace

from hogar_provider.cli.engine import agent, command, graph_of
from hogar_provider.cli.table import show
from hogar_provider.configuration import drain_timeout


@command
def run(args: Namespace) -> None:
    """Do it, once the person has confirmed it."""
    from earg.cli.errors import CommandError
    from hogar_provider.undeploy import take_down

    timeout = drain_timeout() if args.timeout is None else args.timeout
    if not (math.isfinite(timeout) and timeout >= 0):
        raise CommandError(f"--timeout must be 0 or more seconds, not {timeout:g}")
    with agent(args) as client:
        graph = graph_of(client, args.graph)
        if not args.yes:
            _confirm(graph.name)
        left = take_down(client, graph.name, now=args.now, timeout=timeout, force=args.force)
    show(args, [{"graph": graph.name, "version": graph.version, "unanswered": left}])


def _confirm(graph: str) -> None:
    print(f"Take graph {graph} down? (y/n) ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise SystemExit("airflow hogar: left as it is")
