"""Where trainings of one operator keep their checkpoints and trained models.

Below the operator's folder, ``runs/<number>-<hash of the run>`` is the working folder of a run
(removed once it is trained), and ``artifacts/<number>-<random>`` a trained model with
``about.json`` beside its files. Numbers rise, so that no clock decides which one is newer.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from earg.training.errors import TrainingError

KEPT = 5
"""Trained models that are kept, and working folders of runs that have not ended well."""

ABOUT = "about.json"

MOST_ABOUT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Artifact:
    """A trained model: its ``folder`` and what is known ``about`` it."""

    folder: Path
    about: dict[str, Any] = field(default_factory=dict, repr=False)


class TrainingStore:
    """The folder of one operator."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def work(self, run: str) -> Path:
        """The working folder of a run; it is made where it is missing."""
        runs = self.folder / "runs"
        key = hashlib.sha256(run.encode()).hexdigest()[:32]
        for path in _numbered(runs):
            if path.name.endswith(f"-{key}"):
                return path
        path = runs / _next_name(runs, key)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(
                f"{path} cannot be made ({error.strerror}): set training_folder in section [hogar] "
                "to a folder that this user can write"
            ) from None
        for old in _numbered(runs)[KEPT:]:
            # Their runs were given up.
            shutil.rmtree(old, ignore_errors=True)
        return path

    def find(self, fingerprint: str) -> Artifact | None:
        """The newest model of a training with this fingerprint."""
        return next(
            (a for a in self.artifacts() if a.about.get("fingerprint") == fingerprint), None
        )

    def artifacts(self) -> list[Artifact]:
        """All trained models, the newest first."""
        found = []
        for folder in _numbered(self.folder / "artifacts"):
            about = _about(folder)
            if about is not None:
                found.append(Artifact(folder, about))
        return found

    def commit(self, work: Path, about: dict[str, Any]) -> Artifact:
        """Make the working folder's artifact a trained model, and remove the folder and the oldest
        models."""
        artifacts = self.folder / "artifacts"
        artifacts.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = artifacts / _next_name(artifacts, uuid.uuid4().hex[:8])
        about = {**about, "at": time.time()}
        staged = work / "artifact"
        (staged / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        _open_to_read(staged)
        staged.replace(target)
        shutil.rmtree(work, ignore_errors=True)
        for old in self.artifacts()[KEPT:]:
            shutil.rmtree(old.folder, ignore_errors=True)
        return Artifact(target, about)


def _open_to_read(folder: Path) -> None:
    """Let whoever gets the folder itself, mounted into a container, read it: its process is
    another user. Here the folder above is closed to others."""
    folder.chmod(folder.stat().st_mode | 0o555)
    for path in folder.rglob("*"):
        if path.is_symlink():
            continue
        mode = path.stat().st_mode
        path.chmod(mode | (0o555 if path.is_dir() else 0o444))


def _numbered(folder: Path) -> list[Path]:
    """The folders with a number before a ``-``, the highest number first."""
    found = []
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            number = path.name.partition("-")[0]
            if number.isascii() and number.isdigit():
                found.append((int(number), path))
    return [path for _, path in sorted(found, reverse=True)]


def _next_name(folder: Path, rest: str) -> str:
    newest = _numbered(folder)[:1]
    number = int(newest[0].name.partition("-")[0]) + 1 if newest else 1
    return f"{number:06d}-{rest}"


def _about(folder: Path) -> dict[str, Any] | None:
    try:
        with (folder / ABOUT).open("rb") as file:
            found = json.loads(file.read(MOST_ABOUT))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
