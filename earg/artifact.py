"""The trained model of an operator, as its deployed model finds it.

A graph's operator that says ``train`` has its model process started with ``HOGAR_ARTIFACT``: the
folder of the files that its training has handed over. They are never changed once they are there;
another training makes another folder.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "HOGAR_ARTIFACT"
"""The environment variable that names the folder."""

MODEL = "model"
"""The file of a training that hands one thing over (``ctx.save(bytes)``)."""


class ArtifactError(RuntimeError):
    """There is no trained model; the message says what to do."""


def artifact_folder() -> Path:
    """The folder; raises :class:`ArtifactError` where the process has none."""
    value = os.environ.get(VARIABLE, "")
    if not value:
        raise ArtifactError(
            f"{VARIABLE} is not set, so there is no trained model to load: deploy the operator "
            "from a graph where it says 'train', or set it to a folder with the model"
        )
    return Path(value)


def read_artifact(name: str = MODEL) -> bytes:
    """What ``ctx.save(bytes, name)`` has saved; raises :class:`ArtifactError`."""
    path = artifact_folder() / name
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"the trained model {path} cannot be read ({error.strerror}): train it anew, with the "
            "run's parameter 'retrain'"
        ) from None
