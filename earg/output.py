"""Standard output that never fails: what a full disk does not take is lost, nothing else."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Lossy(io.RawIOBase):
    """Writes to a file descriptor, and drops what it does not take."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            # A print() of a model would raise in the middle of its work.
            pass
        return size


def forgive_output() -> None:
    """Let this process's ``print`` and logging go on when the disk under its log is full."""
    sys.stdout = _forgiving(1, "strict")
    sys.stderr = _forgiving(2, "backslashreplace")


def _forgiving(descriptor: int, errors: str) -> io.TextIOWrapper:
    # Without a buffer, as PYTHONUNBUFFERED wants it: a process that is killed has told all.
    return io.TextIOWrapper(
        _Lossy(descriptor),  # type: ignore[arg-type]
        encoding="utf-8",
        errors=errors,
        write_through=True,
    )
