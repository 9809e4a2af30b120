"""What a training depends on, in one hash: where it is the same, the model need not be trained."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from earg.training.plan import TrainingPlan

WHOLE = 256 * 2**20
"""Bytes up to which a file of data is read whole; of a larger one its size, its time of change and
both ends count."""

END = 2**20

MOST_FILES = 100_000
"""Files of a folder of data that are looked at."""


def fingerprint(plan: TrainingPlan, version: str) -> str:
    """Of the operator's ``version``, the plan, the function's own file and the data: 32 hex
    digits. What the function imports does not count: give the operator another version."""
    parts = plan.as_json()
    del parts["folder"]
    source = _source(plan)
    return _hash(
        json.dumps(
            {
                "version": version,
                "plan": parts,
                "source": "" if source is None else _file(source),
                "data": data_fingerprint(plan.dataset, plan.folder),
            },
            sort_keys=True,
        ).encode()
    )


def data_fingerprint(dataset: str | None, folder: str) -> str:
    """Of the data at a path, relative ones from ``folder``: a file's content, a folder's names,
    sizes and times of change. What is no path on this machine is its own text."""
    if not dataset:
        return ""
    path = Path(folder) / Path(dataset).expanduser()
    try:
        if path.is_file():
            return f"file:{_file(path)}"
        if path.is_dir():
            return f"folder:{_folder(path)}"
    except (OSError, ValueError):
        pass
    return f"name:{dataset}"


def _source(plan: TrainingPlan) -> Path | None:
    """The file of the function's module, where it is beside the graph's file."""
    parts = plan.function.partition(":")[0].split(".")
    base = Path(plan.folder, *parts)
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _file(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if size <= WHOLE:
            while block := file.read(END):
                digest.update(block)
        else:
            digest.update(f"{size}:{path.stat().st_mtime_ns}:".encode())
            digest.update(file.read(END))
            file.seek(-END, os.SEEK_END)
            digest.update(file.read(END))
    return digest.hexdigest()


def _folder(path: Path) -> str:
    digest = hashlib.sha256()
    seen = 0
    for folder, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(files):
            seen += 1
            if seen > MOST_FILES:
                break
            found = Path(folder, name).stat()
            place = os.path.relpath(Path(folder, name), path)
            digest.update(
                f"{place}\0{found.st_size}\0{found.st_mtime_ns}\0".encode("utf-8", "replace")
            )
    digest.update(str(seen).encode())
    return digest.hexdigest()


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
