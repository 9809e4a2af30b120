"""What commands read from and write to: files by name, standard input, and the two outputs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from udgl import parser
from udgl.commands import UNUSABLE

STDIN = "<stdin>"
"""What standard input is called in messages; on the command line it is ``-``."""

ENDING = ".udgl"


def shown_name(name: str) -> str:
    """The name of a file of the command line, as messages tell it."""
    return STDIN if name == "-" else name


def read(name: str) -> str:
    """The text of the file; raises OSError, and UdglError where it is no UTF-8 text."""
    if name == "-":
        return parser.decode(sys.stdin.buffer.read(parser.LARGEST_TEXT + 1), STDIN)
    return parser.read(name)


def expand(names: Iterable[str]) -> Iterator[str]:
    """The files that are named, each folder being all ``*.udgl`` files below it, in order.

    Hidden folders are left out, links to folders not followed. A folder without any file is given
    back itself, for reading it to fail.
    """
    for name in names:
        if name == "-" or not Path(name).is_dir():
            yield name
            continue
        found = False
        for place, folders, files in os.walk(name, onerror=_raise):
            folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
            for file in sorted(files):
                if file.endswith(ENDING):
                    found = True
                    yield str(Path(place, file))
        if not found:
            yield name


def _raise(error: OSError) -> None:
    raise error


def why_unreadable(name: str, error: OSError) -> str:
    """The sentence that tells why the file cannot be used."""
    if isinstance(error, IsADirectoryError) and Path(name).is_dir():
        return f"there is no {ENDING} file below this folder"
    return error.strerror or str(error)


def unusable(name: str, error: OSError) -> int:
    """Tells on standard error why the file cannot be used; the exit code."""
    say(f"udgl: {name}: {why_unreadable(name, error)}")
    return UNUSABLE


def say(text: str) -> None:
    """Writes to standard error, after what standard output was given so far: both together read in
    order."""
    sys.stdout.flush()
    print(text, file=sys.stderr)


def write_whole(path: Path, text: str) -> None:
    """Puts the file there whole or not at all; its folder has to be there. Raises OSError."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        unfinished.write_text(text, encoding="utf-8", newline="\n")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
