"""The last checkpoint of a training, in one file: a line of JSON, then the function's bytes.

A checkpoint is written beside the one before and takes its place only when its epoch has ended and
its figures are kept. So whatever kills the training, what is found is whole, and every epoch up to
it is known.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE = "checkpoint"

MOST_HEADER = 64 * 1024
"""Bytes of the first line."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a training goes on from: the last ``epoch`` that it holds, the ``attempt`` that it is
    of, the ``stopping`` rule's state, and the function's own ``data``."""

    epoch: int
    attempt: str
    data: bytes = field(repr=False)
    stopping: Any = None


def write_checkpoint(folder: Path, checkpoint: Checkpoint, fingerprint: str) -> None:
    """Write it, without replacing the one before yet; see :func:`commit_checkpoint`."""
    header = {
        "epoch": checkpoint.epoch,
        "attempt": checkpoint.attempt,
        "fingerprint": fingerprint,
        "bytes": len(checkpoint.data),
        "sha256": hashlib.sha256(checkpoint.data).hexdigest(),
        "stopping": checkpoint.stopping,
    }
    with (folder / f"{FILE}.new").open("wb") as file:
        file.write(json.dumps(header).encode() + b"\n")
        file.write(checkpoint.data)
        file.flush()
        os.fsync(file.fileno())


def commit_checkpoint(folder: Path) -> None:
    """Let the one that was written take the place of the one before."""
    (folder / f"{FILE}.new").replace(folder / FILE)
    with contextlib.suppress(OSError):
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def read_checkpoint(folder: Path, fingerprint: str) -> Checkpoint | str | None:
    """The last one; None where there is none, and a sentence where the one that is found is of
    another training or is damaged."""
    try:
        with (folder / FILE).open("rb") as file:
            header = json.loads(file.readline(MOST_HEADER))
            data = file.read(int(header["bytes"]) + 1)
        epoch, attempt = int(header["epoch"]), str(header["attempt"])
        whole = len(data) == int(header["bytes"])
        whole = whole and hashlib.sha256(data).hexdigest() == header["sha256"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"the checkpoint in {folder} cannot be read: {error}"
    if not whole:
        return f"the checkpoint in {folder} is damaged"
    if header.get("fingerprint") != fingerprint:
        return f"the checkpoint in {folder} is of a training with other parameters"
    return Checkpoint(epoch, attempt, data, header.get("stopping"))
