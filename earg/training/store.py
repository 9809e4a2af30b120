"""Where trainings of one operator keep their checkpoints and trained models.

Below the operator's folder, ``runs/<hash of the run>`` is the working folder of a run (removed once
it is trained), and ``artifacts/<name>`` a trained model with ``about.json`` beside its files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
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
        path = self.folder / "runs" / hashlib.sha256(run.encode()).hexdigest()[:32]
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(
                f"{path} cannot be made ({error.strerror}): set training_folder in section [hogar] "
                "to a folder that this user can write"
            ) from None
        os.utime(path)
        _remove_old(self.folder / "runs", path)
        return path

    def find(self, fingerprint: str) -> Artifact | None:
        """The newest model of a training with this fingerprint."""
        return next(
            (a for a in self.artifacts() if a.about.get("fingerprint") == fingerprint), None
        )

    def artifacts(self) -> list[Artifact]:
        """All trained models, the newest first."""
        found = []
        with contextlib.suppress(OSError):
            for folder in (self.folder / "artifacts").iterdir():
                about = _about(folder)
                if about is not None:
                    found.append(Artifact(folder, about))
        return sorted(found, key=lambda one: float(one.about.get("at", 0)), reverse=True)

    def commit(self, work: Path, about: dict[str, Any]) -> Artifact:
        """Make the working folder's artifact a trained model, and remove the folder and the oldest
        models."""
        at = time.time()
        name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(at))}-{uuid.uuid4().hex[:8]}"
        target = self.folder / "artifacts" / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = {**about, "at": at}
        staged = work / "artifact"
        (staged / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        staged.replace(target)
        shutil.rmtree(work, ignore_errors=True)
        for old in self.artifacts()[KEPT:]:
            shutil.rmtree(old.folder, ignore_errors=True)
        return Artifact(target, about)


def _about(folder: Path) -> dict[str, Any] | None:
    try:
        with (folder / ABOUT).open("rb") as file:
            found = json.loads(file.read(MOST_ABOUT))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _remove_old(runs: Path, but: Path) -> None:
    """Remove the oldest working folders: their runs were given up."""
    with contextlib.suppress(OSError):
        found = sorted(runs.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in found[KEPT:]:
            if path != but:
                shutil.rmtree(path, ignore_errors=True)
