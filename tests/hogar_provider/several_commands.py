"""Runs several of Airflow's commands in one process, as starting each of them takes seconds.

Standard input is a JSON list of argument lists; the last line of standard output is a JSON list of
``[exit code, standard output, standard error]``.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from typing import Any


class Captured(io.TextIOWrapper):
    """A standard stream of one command; bytes and text both arrive."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    @property
    def text(self) -> str:
        self.flush()
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode()


def run(arguments: list[str]) -> tuple[int, str, str]:
    """Run one command as ``airflow`` would."""
    from airflow.cli.cli_parser import get_parser

    from tests.hogar_provider.folders import TAKES_COMMANDS

    if not TAKES_COMMANDS:
        from hogar_provider.__main__ import add_commands

        add_commands()
    code: Any = 0
    out, err = Captured(), Captured()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            args = get_parser().parse_args(arguments)
            args.func(args)
        except SystemExit as end:
            code = end.code or 0
            if isinstance(code, str):
                print(code, file=sys.stderr)
                code = 1
    return code, out.text, err.text


if __name__ == "__main__":
    print("\n" + json.dumps([run(arguments) for arguments in json.load(sys.stdin)]))
