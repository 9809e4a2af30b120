"""``earg traces``: the way of recorded requests, with the time at each node."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from earg.cli.printing import Commands, add_json, print_json, print_table
from earg.statistics_table import duration

if TYPE_CHECKING:
    from earg.traces import Trace


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "traces",
        help="the way of recorded requests, with the time at each node",
        description="One request a second is recorded, and each that comes with a sampled "
        "'traceparent' (W3C Trace Context).",
    )
    parser.add_argument("graph")
    parser.add_argument(
        "--most", type=int, default=1, help="so many, the newest first (default: 1)"
    )
    add_json(parser, "a list of traces")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do it."""
    from earg.client import connect

    with connect(options.home, start=False) as client:
        traces = client.traces(options.graph, min(max(1, options.most), 1000))
    if options.json:
        print_json(traces)
        return
    if not traces:
        print(f"no request of {options.graph} was recorded yet")
    for trace in traces:
        _print(trace)


def _print(trace: Trace) -> None:
    at = datetime.fromtimestamp(trace.start, UTC).astimezone().isoformat(" ", "milliseconds")
    print(f"{at}  trace {trace.trace_id}  request {trace.request}  {duration(trace.duration)}")
    rows = [("NODE", "AFTER", "QUEUE", "COMPUTE", "LEAVE", "BATCH", "REPLICA")]
    rows += [
        (
            hop.node,
            duration(hop.start - trace.start),
            duration(hop.queue),
            duration(hop.compute),
            duration(hop.leave),
            str(hop.batch),
            str(hop.replica),
        )
        for hop in trace.hops
    ]
    print_table(rows)
    if trace.error:
        print(f"  failed: {trace.error}")
