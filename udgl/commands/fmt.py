"""``udgl fmt``: graphs in canonical form."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import tempfile
from pathlib import Path

from udgl import parser as language
from udgl.commands import OK, UNUSABLE, WRONG
from udgl.commands.streams import expand, say, shown_name, unusable
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
        say("udgl: standard input (-) can be formatted once only")
        return UNUSABLE
    code = OK
    try:
        for name in expand(options.files):
            code = max(code, _format_or_tell(name, check=options.check, diff=options.diff))
    except BrokenPipeError:
        raise
    except OSError as error:
        # A folder that cannot be looked into.
        return unusable(str(error.filename), error)
    return code


def _format_or_tell(name: str, *, check: bool, diff: bool) -> int:
    try:
        return _format(name, check=check, diff=diff)
    except UdglError as error:
        say(str(error))
        return WRONG
    except BrokenPipeError:
        raise
    except OSError as error:
        return unusable(name, error)


def _format(name: str, *, check: bool, diff: bool) -> int:
    """Format one file, or tell what would change; raises OSError and UdglError."""
    source = shown_name(name)
    before = _content(name)
    text = language.decode(before, source)
    wanted = format_text(text, source)
    after = wanted.encode("utf-8")
    if diff and after != before:
        _write_out(_difference(text, wanted, source).encode("utf-8"))
    if check:
        if after != before:
            say(f"would rewrite {source}")
        return OK if after == before else WRONG
    if name == "-" and not diff:
        _write_out(after)
    elif not diff and after != before:
        _replace(Path(name), after)
        print(f"rewrote {name}")
    return OK


def _content(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read(language.LARGEST_TEXT + 1)
    with Path(name).open("rb") as file:
        return file.read(language.LARGEST_TEXT + 1)


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
