"""Compiled files of a graph: for the task that publishes them, and for those who download them."""

from __future__ import annotations

import hashlib
import io
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from udgl.diagnostics import Diagnostic
    from udgl.targets import OutputFile

MOST_FILES = 10_000
"""Files that one target may write."""

MOST_BYTES = 32 * 1024 * 1024
"""Bytes that they may have together."""


class CompiledError(Exception):
    """There are no files to be had, for the reason given, which is no fault of the graph's."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """What a target makes of a graph. ``files`` is empty where the target cannot express it: an
    error among the ``diagnostics`` says why."""

    target: str
    files: tuple[OutputFile, ...]
    diagnostics: tuple[Diagnostic, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the files' names and texts, in hexadecimal."""
        found = hashlib.sha256()
        for file in sorted(self.files, key=lambda file: file.name):
            for part in (file.name.encode(), file.text.encode()):
                found.update(len(part).to_bytes(8, "big"))
                found.update(part)
        return found.hexdigest()


def compile_text(text: str, source: str, name: str) -> Compiled:
    """Compile the UDGL ``text``, whose file is called ``source``, to the target ``name``.

    Raises KeyError where there is no such target, UdglError where the text is no UDGL, and
    :class:`CompiledError` where the target fails or would write too much.
    """
    import udgl
    from udgl.compiling import compile_to
    from udgl.targets import TargetError

    graph = udgl.parse(text, source)
    try:
        found = compile_to(name, graph)
    except udgl.UdglError as error:
        return Compiled(name, (), tuple(error.diagnostics))
    except TargetError as error:
        raise CompiledError(f"{error}.") from error
    size = sum(len(file.text.encode()) for file in found.files)
    if len(found.files) > MOST_FILES or size > MOST_BYTES:
        raise CompiledError(
            f"The target {name} makes {len(found.files)} files of {size} bytes of this graph, "
            f"which is more than {MOST_FILES} or {MOST_BYTES}: use udgl compile."
        )
    return Compiled(name, found.files, found.diagnostics)


def publish(compiled: Compiled, folder: Path) -> None:
    """Write the files below ``folder``, which holds nothing else afterwards. Whoever looks there
    meanwhile sees all files of one time, or for a moment none. Raises OSError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        new, old = work / "new", work / "old"
        for file in compiled.files:
            path = new / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.text, encoding="utf-8", newline="\n")
        with suppress(FileNotFoundError):
            folder.replace(old)
        new.replace(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def archive(files: Sequence[OutputFile]) -> bytes:
    """A ZIP file of them, the same for the same files."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as made:
        for file in files:
            # The first time that the format can say: of the files' own time nothing is known.
            entry = zipfile.ZipInfo(file.name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            made.writestr(entry, file.text)
    return written.getvalue()
