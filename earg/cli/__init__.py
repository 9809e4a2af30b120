"""The command ``earg``: a graph of model servers on this machine, without Airflow.

Each command is a file: ``add`` describes its arguments, and ``run`` does it. All of them take
``--json``, and print JSON for programs then.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from earg.cli import (
    agent,
    batch,
    down,
    drain,
    events,
    logs,
    nodes,
    ready,
    requests,
    send,
    stats,
    traces,
    up,
    wire,
)
from earg.cli.errors import CommandError
from earg.images import ImagesError

COMMANDS = (
    up,
    nodes,
    send,
    stats,
    requests,
    traces,
    events,
    logs,
    batch,
    drain,
    down,
    agent,
    wire,
    ready,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Exit code 0, 1 for what failed, 2 for a wrong command line."""
    options = _parser().parse_args(arguments)
    # Imported here: --help need not wait for gRPC.
    from earg.client import AgentError

    run: Callable[[argparse.Namespace], None] = options.run
    try:
        run(options)
    except (CommandError, AgentError, ImagesError) as error:
        print(f"earg: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="earg",
        description="Run graphs of model servers on this machine.",
        epilog="An agent is started on first use; it owns the processes and ends when nothing "
        "has been deployed for a minute.",
    )
    parser.add_argument(
        "--home",
        type=Path,
        help="the agent's folder (default: $EARG_HOME, else ~/.local/state/earg)",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser
