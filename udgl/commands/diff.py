"""``udgl diff``: what changes from one graph to another."""

from __future__ import annotations

import argparse
import json

from udgl import parser as language
from udgl.commands import OK, UNUSABLE, WRONG, colour
from udgl.commands.streams import read, say, shown_name, unusable
from udgl.diagnostics import UdglError

DESCRIPTION = """\
Tell what deploying the graph NEW in place of the graph OLD would change: what
comes (+), what goes (-), and what is another one now (~), factor by factor in
the words of the language. How the files are laid out makes no difference.
"""

EPILOG = """\
standard output gets the difference; standard error, what is wrong with a graph.

exit codes:
  0  no difference
  1  a difference
  2  a graph has errors, wrong usage, or a file that cannot be read

examples:
  udgl diff deployed.udgl sentiment.udgl
  git show HEAD:dags/a.udgl | udgl diff - dags/a.udgl
  udgl diff --format json old.udgl new.udgl
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("old", metavar="OLD", help="a UDGL file; - is standard input")
    parser.add_argument("new", metavar="NEW", help="a UDGL file; - is standard input")
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="for people (default), or JSON"
    )
    colour.add_option(parser)


def run(options: argparse.Namespace) -> int:
    """Compares the two; the exit code."""
    from udgl.difference import difference

    if options.old == options.new == "-":
        options.parser.error("only one of the two graphs can come from standard input")
    graphs = []
    for name in (options.old, options.new):
        try:
            graphs.append(language.parse(read(name), shown_name(name)))
        except OSError as error:
            unusable(name, error)
        except UdglError as error:
            say(colour.findings(str(error), options.color))
    if len(graphs) < 2:
        return UNUSABLE
    found = difference(*graphs)
    if options.format == "json":
        print(json.dumps(found.as_json(), ensure_ascii=False, indent=2))
    else:
        print(colour.changes(str(found), options.color))
    return WRONG if found else OK
