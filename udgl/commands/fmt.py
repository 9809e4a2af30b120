"""``udgl fmt``: graphs in canonical form."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from udgl import parser as language
from udgl.diagnostics import UdglError
from udgl.formatter import format_text

DESCRIPTION = """\
Rewrite graphs in canonical form: indentation, one space after commas, arrows,
Yes and No, a blank line before each section. Comments stay where they belong,
the order of everything and the lines of factors stay the author's. What the
graph means never changes. A file with syntax errors is left as it is.
"""

EPILOG = """\
standard output gets the names of the files that were rewritten. For - the text
is read from standard input, and its canonical form is written to standard
output. Standard error gets syntax errors.

exit codes:
  0  all is canonical now (with --check: already was)
  1  a file has syntax errors; with --check also: a file would change
  2  wrong usage, or a file that cannot be read or written

examples:
  udgl fmt sentiment.udgl
  udgl fmt dags                    every *.udgl file below the folder
  udgl fmt --check dags            for a CI job: names what would change
  udgl fmt --check --diff dags     and shows how
  udgl fmt - < sentiment.udgl      for an editor
"""

_OK, _WRONG, _UNUSABLE = 0, 1, 2


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="a UDGL file, a folder with UDGL files at any depth, or - for standard input",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; name the files that would change, and fail if there are any",
    )
    parser.add_argument(
        "--diff",
        action="store_true",
        help="write nothing; show what would change, as a unified diff",
    )


def run(options: argparse.Namespace) -> int:
    """Formats the files; the exit code."""
    if list(options.files).count("-") > 1:
        _say("udgl: standard input (-) can be formatted once only")
        return _UNUSABLE
    code = _OK
    for name in _files(options.files):
        try:
            code = max(code, _format(name, check=options.check, diff=options.diff))
        except UdglError as error:
            _say(str(error))
            code = max(code, _WRONG)
        except BrokenPipeError:
            raise
        except OSError as error:
            why = error.strerror or str(error)
            if isinstance(error, IsADirectoryError):
                why = "there is no .udgl file below this folder"
            _say(f"udgl: {name}: {why}")
            code = _UNUSABLE
    return code


def _format(name: str, *, check: bool, diff: bool) -> int:
    """Format one file, or tell what would change; raises OSError and UdglError."""
    source = "<stdin>" if name == "-" else name
    before = _content(name)
    text = language.decode(before, source)
    wanted = format_text(text, source)
    after = wanted.encode("utf-8")
    if diff and after != before:
        _write_out(_difference(text, wanted, source).encode("utf-8"))
    if check:
        if after != before:
            _say(f"would rewrite {source}")
        return _OK if after == before else _WRONG
    if name == "-" and not diff:
        _write_out(after)
    elif not diff and after != before:
        _replace(Path(name), after)
        print(f"rewrote {name}")
    return _OK


def _content(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read(language.LARGEST_TEXT + 1)
    with Path(name).open("rb") as file:
        return file.read(language.LARGEST_TEXT + 1)


def _files(names: Iterable[str]) -> Iterator[str]:
    """The files that are named, a folder being all ``*.udgl`` files below it, in order; a folder
    without any is given back itself. Hidden folders are left out, links to folders not followed.
    """
    for name in names:
        if name == "-" or not Path(name).is_dir():
            yield name
            continue
        found = False
        for place, folders, files in os.walk(name):
            folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
            for file in sorted(files):
                if file.endswith(".udgl"):
                    found = True
                    yield str(Path(place, file))
        if not found:
            yield name


def _difference(before: str, after: str, source: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), source, source
    )
    # A last line without a line end is told as diff(1) does.
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _replace(path: Path, content: bytes) -> None:
    """Put the file there whole or not at all, with the mode that it has. Of a link, what it leads
    to is replaced."""
    path = path.resolve()
    mode = path.stat().st_mode & 0o7777
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _write_out(content: bytes) -> None:
    """Standard output gets UTF-8, whatever the terminal's encoding: it may become a file."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def _say(text: str) -> None:
    # Standard output first, so that both together read in order.
    sys.stdout.flush()
    print(text, file=sys.stderr)
