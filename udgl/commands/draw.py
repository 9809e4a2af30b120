"""``udgl draw``: a graph as a picture."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from udgl import parser as language
from udgl.commands import OK, WRONG, colour
from udgl.commands.streams import read, say, shown_name, unusable, write_whole
from udgl.diagnostics import UdglError

if TYPE_CHECKING:
    from udgl.graph import ServingGraph

DESCRIPTION = """\
Draw a graph from left to right. In the terminal a box has an operator's name
and its batch limit; a picture that is wider than the terminal becomes a list.
"""

EPILOG = """\
standard output gets the drawing, or with -o the path that was written; standard
error, what is wrong with the graph.

exit codes:
  0  drawn
  1  the graph has errors
  2  wrong usage, or a file that cannot be read or written

examples:
  udgl draw sentiment.udgl                     a picture in the terminal
  udgl draw -o sentiment.svg sentiment.udgl    the ending says the format
  udgl draw --format dot sentiment.udgl | dot -Tpng > sentiment.png
  udgl draw --format mermaid sentiment.udgl    for a Markdown page
"""

_ENDINGS = {
    ".svg": "svg",
    ".dot": "dot",
    ".gv": "dot",
    ".mmd": "mermaid",
    ".mermaid": "mermaid",
    ".txt": "text",
}

_UNKNOWN_WIDTH = 100


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument(
        "--format",
        choices=("text", "svg", "dot", "mermaid"),
        help="the form; without it, what the ending of -o says (.svg, .dot, .gv, .mmd, .txt), "
        "else text",
    )
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write into this file")
    parser.add_argument(
        "--ascii", action="store_true", help="of text: no characters beyond ASCII for the lines"
    )
    parser.add_argument(
        "--width",
        type=int,
        metavar="COLUMNS",
        help="of text: the most columns it may take (default: the terminal's, else "
        f"{_UNKNOWN_WIDTH})",
    )
    parser.add_argument("file", metavar="FILE", help="a UDGL file; - is standard input")
    colour.add_option(parser)


def run(options: argparse.Namespace) -> int:
    """Draws the graph; the exit code."""
    form = options.format or _ENDINGS.get("" if options.output is None else options.output.suffix)
    if form is None and options.output is not None:
        options.parser.error(f"the ending of {options.output} says no format; say it with --format")
    try:
        graph = language.parse(read(options.file), shown_name(options.file))
    except OSError as error:
        return unusable(options.file, error)
    except UdglError as error:
        say(colour.findings(str(error), options.color))
        return WRONG
    text = _drawn(graph, form or "text", options)
    if options.output is None:
        sys.stdout.write(text)
        return OK
    try:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        write_whole(options.output, text)
    except OSError as error:
        return unusable(str(options.output), error)
    print(options.output)
    return OK


def _drawn(graph: ServingGraph, form: str, options: argparse.Namespace) -> str:
    if form == "svg":
        from udgl.drawing.svg import draw_svg

        return draw_svg(graph)
    if form == "dot":
        from udgl.drawing.dot import draw_dot

        return draw_dot(graph)
    if form == "mermaid":
        from udgl.drawing.mermaid import draw_mermaid

        return draw_mermaid(graph)
    from udgl.drawing.terminal import draw_text

    width = options.width or shutil.get_terminal_size((_UNKNOWN_WIDTH, 24)).columns
    return draw_text(graph, width, ascii_only=options.ascii)
