"""What a command found, in the format that ``--output`` names."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any


def show(args: Namespace, rows: Sequence[dict[str, Any]]) -> None:
    """Print rows as Airflow's own commands do; all of them have the same keys."""
    from airflow.cli.simple_table import AirflowConsole

    AirflowConsole().print_as(data=rows, output=args.output)


def moment(seconds: float) -> str:
    """A time of the Unix epoch as ISO 8601, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
