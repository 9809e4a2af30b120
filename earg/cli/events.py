"""``earg events``: what happened to the nodes, and each change of their states."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from earg.cli.printing import Commands, add_json, print_json
from earg.status import Event

FOLLOW_INTERVAL = 0.3
"""Seconds between looks for new events."""


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser("events", help="what happened to the nodes, oldest first")
    parser.add_argument("graph", nargs="?", default="", help="only this graph")
    parser.add_argument(
        "--follow", action="store_true", help="go on with what happens, until Ctrl-C"
    )
    add_json(parser, "a list of events; with --follow one line each")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do it."""
    from earg.client import NoAgentError, connect

    try:
        with connect(options.home, start=False) as client:
            events = client.events(options.graph)
            _print(options, events)
            # Ctrl-C is the way to end it, so no failure.
            with contextlib.suppress(KeyboardInterrupt):
                while options.follow:
                    time.sleep(FOLLOW_INTERVAL)
                    last = events[-1].number if events else 0
                    fresh = client.events(options.graph, after=last)
                    _print(options, fresh)
                    events = fresh or events
    except NoAgentError:
        if options.follow:
            raise
        _print(options, ())


def _print(options: argparse.Namespace, events: Sequence[Event]) -> None:
    if options.json and not options.follow:
        print_json(events)
        return
    for event in events:
        if options.json:
            print_json(event, one_line=True)
        else:
            print(_line(event))
    sys.stdout.flush()


def _line(event: Event) -> str:
    at = datetime.fromtimestamp(event.time, UTC).astimezone().isoformat(" ", "milliseconds")
    if not event.after:
        return f"{at}  {event.graph}  {event.node} {event.what}"
    return (
        f"{at}  {event.graph}  {event.node} {event.before or 'new'} -> {event.after}: {event.what}"
    )
