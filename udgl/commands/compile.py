"""``udgl compile``: graphs as a platform's files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from udgl import parser as language
from udgl.commands import OK, UNUSABLE, WRONG, colour
from udgl.commands.streams import expand, read, say, shown_name, unusable, write_whole
from udgl.compiling import compile_to
from udgl.diagnostics import Diagnostic, UdglError, format_all
from udgl.suggestions import Suggestions
from udgl.targets import OutputFile, TargetError, target, target_names

DESCRIPTION = """\
Compile graphs for a platform: check each, and write what the platform accepts.
What the platform cannot express is an error at its line, with a code of the
platform's own; nothing is written for that graph then.
"""

EPILOG = """\
standard output gets the paths that were written; without -o, the text of the
one file. Standard error gets errors, warnings and notes. Files of graphs that
are fine are written also where another graph has errors.

exit codes:
  0  all is written (with --check: could be)
  1  a graph has errors, or the platform cannot express it
  2  wrong usage, or a file that cannot be read or written

examples:
  udgl compile -t earg sentiment.udgl               to standard output
  udgl compile -t earg -o build dags                all graphs below a folder
  udgl compile -t earg --check dags                 what could not be expressed
  udgl targets                                      which platforms there are
"""


@dataclass(frozen=True, slots=True)
class _Compiled:
    """The files that one graph's file becomes."""

    source: str
    files: tuple[OutputFile, ...]


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument(
        "-t", "--target", required=True, metavar="TARGET", help="the platform; see 'udgl targets'"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=Path,
        help="write the files into this folder, which is made if need be, and print their paths",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; tell what the platform cannot express",
    )
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="a UDGL file, a folder with UDGL files at any depth, or - for standard input; "
        "several where -o or --check is given",
    )
    colour.add_option(parser)


def run(options: argparse.Namespace) -> int:
    """Compiles the files; the exit code."""
    if options.target not in target_names():
        near = Suggestions(target_names()).near(options.target)
        hint = f"did you mean '{near}'?" if near else f"there are {', '.join(target_names())}"
        options.parser.error(f"there is no target {options.target!r}; {hint}")
    if list(options.files).count("-") > 1:
        options.parser.error("standard input (-) can be compiled once only")
    try:
        names = list(expand(options.files))
    except OSError as error:
        return unusable(str(error.filename), error)
    if len(names) > 1 and options.output is None and not options.check:
        options.parser.error("several graphs need a folder to write to: -o DIR")
    try:
        target(options.target)
    except TargetError as error:
        say(f"udgl: {error}")
        return UNUSABLE
    code = OK
    compiled: list[_Compiled] = []
    for name in names:
        found, told = _compile(name, options)
        code = max(code, told)
        if found is not None:
            compiled.append(found)
    if options.check:
        for one in compiled:
            files = ", ".join(file.name for file in one.files)
            print(f"{one.source}: ok, {options.target} writes {files}")
        return code
    if options.output is None:
        return max(code, *(_print(one) for one in compiled), OK)
    return max(code, _deliver(compiled, options.output))


def _compile(name: str, options: argparse.Namespace) -> tuple[_Compiled | None, int]:
    """The files of one graph, None where it has none, and the exit code that says why."""
    source = shown_name(name)
    text = ""
    try:
        text = read(name)
        graph = language.parse(text, source)
        result = compile_to(options.target, graph)
    except OSError as error:
        return None, unusable(name, error)
    except TargetError as error:
        say(f"udgl: {source}: {error}")
        return None, UNUSABLE
    except UdglError as error:
        _tell(error.diagnostics, source, error.text or text, options)
        return None, WRONG
    _tell(result.diagnostics, source, text, options)
    return _Compiled(source, result.files), OK


def _tell(
    diagnostics: Iterable[Diagnostic], source: str, text: str, options: argparse.Namespace
) -> None:
    told = format_all(diagnostics, source, text)
    if told:
        say(colour.findings(told, options.color))


def _print(compiled: _Compiled) -> int:
    if len(compiled.files) > 1:
        names = ", ".join(file.name for file in compiled.files)
        say(f"udgl: this target writes several files ({names}); say where to with -o DIR")
        return UNUSABLE
    for file in compiled.files:
        sys.stdout.write(file.text)
    return OK


def _deliver(compiled: list[_Compiled], folder: Path) -> int:
    code = OK
    written: dict[str, str] = {}
    try:
        for one in compiled:
            taken = next((file.name for file in one.files if file.name in written), None)
            if taken is not None:
                say(
                    f"udgl: {one.source}: not written: its {taken} would replace that of "
                    f"{written[taken]}; give each a folder of its own"
                )
                code = UNUSABLE
                continue
            for file in one.files:
                written[file.name] = one.source
                path = folder / file.name
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, file.text)
                print(path)
    except BrokenPipeError:
        raise
    except OSError as error:
        return unusable(str(error.filename or folder), error)
    return code
