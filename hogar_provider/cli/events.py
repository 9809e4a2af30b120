"""``airflow hogar events``: what happened to the nodes, and each change of their states."""

from __future__ import annotations

from argparse import Namespace

from hogar_provider.cli.engine import command, hook_of
from hogar_provider.cli.table import moment, show
from hogar_provider.deployers import deployed_as


@command
def run(args: Namespace) -> None:
    """Do it. A graph that is down has events, too."""
    from earg.cli.errors import CommandError
    from earg.client import NoAgentError

    if args.limit < 1:
        raise CommandError(f"--limit must be 1 or more, not {args.limit}")
    try:
        with hook_of(args).engine().connect(start=False) as client:
            events = client.events(args.graph or "")
            if args.graph and not events:
                events = client.events(deployed_as(args.graph))
    except NoAgentError:
        events = ()
    rows = [
        {
            "time": moment(event.time),
            "graph": event.graph,
            "node": event.node,
            "before": event.before,
            "after": event.after,
            "what": event.what,
        }
        for event in events[-args.limit :]
    ]
    show(args, rows)
