"""``udgl decompile``: the graph that a platform's files say, as UDGL text."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from udgl.commands import OK, UNUSABLE, WRONG, colour
from udgl.commands.streams import say, shown_name, unusable, write_whole
from udgl.diagnostics import UdglError

if TYPE_CHECKING:
    from udgl.graph import ServingGraph

DESCRIPTION = """\
Write the graph that an EARG static config says as UDGL text: what 'udgl compile
-t earg' made of a graph, back. EARG knows nothing of a graph's owner, schedule
or payload types, so they are not in the text.
"""

EPILOG = """\
standard output gets the text, or with -o the path that was written; standard
error, what is wrong with a file.

exit codes:
  0  the text is written
  1  a file is no EARG config, or says what no UDGL graph can be
  2  wrong usage, or a file that cannot be read or written

examples:
  udgl decompile -t earg SentiAnalyzer-3.earg
  udgl decompile -t earg --extras extras.yaml -o faces.udgl Faces-1.earg
  udgl decompile -t earg --name Faces --version 1 - < config
"""

_LARGEST_BYTES = 1024 * 1024 * 1024


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument(
        "-t", "--target", choices=("earg",), default="earg", help="whose files they are: earg"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="write the text into this file"
    )
    parser.add_argument("--name", help="the graph's name, where the file's name does not say it")
    parser.add_argument(
        "--version", help="the graph's version, where the file's name does not say it"
    )
    parser.add_argument(
        "--extras",
        metavar="EXTRAS",
        type=Path,
        help="what the graph needs beside its config: switch, split, replicas, wait, latency, "
        "timeout",
    )
    parser.add_argument(
        "--images",
        metavar="IMAGES",
        type=Path,
        help="the images file, for the entrypoint and environment of each image",
    )
    parser.add_argument(
        "file", metavar="FILE", help="a config called NAME-VERSION.earg; - is standard input"
    )
    colour.add_option(parser)


def run(options: argparse.Namespace) -> int:
    """Writes the text; the exit code."""
    name, version = _called(options)
    from earg.config import ConfigError
    from earg.extras import ExtrasError
    from earg.images import ImagesError

    source = shown_name(options.file)
    try:
        graph = _graph(options, name, version)
    except OSError as error:
        return unusable(str(error.filename or options.file), error)
    except UnicodeDecodeError:
        say(f"udgl: {source}: no UTF-8 text, so no EARG config")
        return WRONG
    except ConfigError as error:
        place = f"{source}:{error.line}:{error.column}" if error.line else source
        say(f"{place}: no EARG config: {error.message}")
        return WRONG
    except (ExtrasError, ImagesError) as error:
        place = f"{options.extras}: " if isinstance(error, ExtrasError) else ""
        say(f"{place}{error}")
        return WRONG
    return _write(graph, options)


def _called(options: argparse.Namespace) -> tuple[str, str]:
    """Name and version: what is given, else what the file is called."""
    name, version = options.name, options.version
    stem = "" if options.file == "-" else Path(options.file).name.removesuffix(".earg")
    # As EARG's daemon takes them apart; it allows for no other '-'.
    parts = stem.split("-")
    if len(parts) == 2:
        name, version = name or parts[0], version or parts[1]
    if not name or not version:
        options.parser.error(
            f"{shown_name(options.file)} is not called NAME-VERSION.earg; say --name and --version"
        )
    return name, version


def _graph(options: argparse.Namespace, name: str, version: str) -> ServingGraph:
    """Raises OSError, UnicodeDecodeError, ConfigError, ExtrasError and ImagesError."""
    from earg.config import ConfigError, read_static
    from earg.extras import read_extras
    from earg.images import read_images
    from udgl.targets._earg_back import to_graph

    if options.file == "-":
        data = sys.stdin.buffer.read(_LARGEST_BYTES)
    else:
        with Path(options.file).open("rb") as file:
            data = file.read(_LARGEST_BYTES)
    text = data.decode("utf-8")
    try:
        config = read_static(text, choices=options.extras is not None)
    except ConfigError as error:
        if options.extras is None and _is_choosing(text):
            hint = "a graph that chooses needs its extras too: --extras EXTRAS"
            message = f"{error.message}\n  hint: {hint}"
            raise ConfigError(message, error.line, error.column) from None
        raise
    extras = None
    if options.extras is not None:
        extras = read_extras(options.extras.read_text(encoding="utf-8"), config)
    images = None if options.images is None else read_images(options.images)
    return to_graph(name, version, config, extras, images)


def _is_choosing(text: str) -> bool:
    """Whether the config would do for a graph whose nodes choose among their targets."""
    from earg.config import ConfigError, read_static

    try:
        read_static(text, choices=True)
    except ConfigError:
        return False
    return True


def _write(graph: ServingGraph, options: argparse.Namespace) -> int:
    from udgl.parser import parse
    from udgl.writing import dumps

    try:
        text = dumps(graph)
        # A config may hold names that UDGL has not, so what is written is read once more.
        parse(text, "<decompiled>")
    except UdglError as error:
        say(colour.findings(str(error), options.color))
        say(f"udgl: {shown_name(options.file)} says what no UDGL graph can be; see above")
        return WRONG
    if options.output is None:
        sys.stdout.write(text)
        return OK
    try:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        write_whole(options.output, text)
    except OSError as error:
        unusable(str(options.output), error)
        return UNUSABLE
    print(options.output)
    return OK
