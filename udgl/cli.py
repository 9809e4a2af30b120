"""The ``udgl`` command: finds the command that is asked for, and runs it.

Exit codes: 0 all is well, 1 something is wrong in a graph, 2 wrong usage, or a file that cannot be
read or written; of ``udgl diff``, as of diff(1): 0 no difference, 1 a difference, 2 anything wrong.
Findings go to standard error, results to standard output. Each command is a module of
:mod:`udgl.commands`.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from udgl.commands import COMMANDS, command

_INTERRUPTED = 130

_EPILOG = """\
examples:
  udgl check dags                       all graphs below a folder
  udgl draw sentiment.udgl              a picture in the terminal
  udgl compile -t earg -o build sentiment.udgl
  git show HEAD:dags/a.udgl | udgl diff - dags/a.udgl

exit codes:
  0  all is well
  1  a graph has errors (of diff: the graphs differ)
  2  wrong usage, or a file that cannot be read or written

'udgl COMMAND --help' tells all of a command, with examples.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line ``arguments`` (by default those of the process); the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show an arrow is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parsed(given)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has left, as `head` does. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _options(arguments)
    word = _first_word(arguments)
    if word is not None and word not in COMMANDS:
        from udgl.suggestions import Suggestions

        near = Suggestions(COMMANDS).near(word)
        hint = f"did you mean '{near}'?" if near else f"there are {', '.join(COMMANDS)}"
        parser.error(f"there is no command {word!r}; {hint}")
    return parser.parse_args(arguments)


def _options(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser. It knows the options of the command that ``arguments`` begin with alone, so that
    no other command is imported."""
    options = argparse.ArgumentParser(
        prog="udgl",
        description="Check, draw, compare and compile ML serving graphs written in UDGL.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = options.add_subparsers(title="commands", metavar="COMMAND", required=True)
    asked = _first_word(arguments)
    for name, summary in COMMANDS.items():
        if name == asked:
            module = command(name)
            parser = commands.add_parser(
                name,
                help=summary,
                description=module.DESCRIPTION,
                epilog=module.EPILOG,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
            module.configure(parser)
            parser.set_defaults(run=module.run, parser=parser)
        else:
            commands.add_parser(name, help=summary, add_help=False)
    return options


def _first_word(arguments: Sequence[str]) -> str | None:
    return next((word for word in arguments if not word.startswith("-")), None)


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from udgl.commands.installed import installed_version

        version = installed_version()
        print(f"udgl {version}" if version else "udgl (not installed)")
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
