"""What a training keeps in Airflow's task state: one row of the whole, one an epoch.

Airflow (3.3 and later) keeps task state in its database with the DAG run: it is there while the
task runs, survives retries, clearing and restarts of Airflow, and goes when the run is deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from typing import Any

from earg.training.batch import read_effective

SUMMARY = "training"
"""The key of the row that is a :class:`Summary`."""

CHANGES = "batch"
"""The key of the list of people's changes of the batch size (:mod:`earg.training.batch`)."""

EPOCH = "epoch."
"""How the keys of the epochs' rows begin; their number follows."""

MOST_EPOCHS = 5000
"""Epochs that are kept of a run. Of a longer training each n-th is, and its last."""

MOST_RESUMED = 50
"""Resumptions that are told."""

MOST_MESSAGE = 1000
"""Characters of a message."""

TRAINING, TRAINED, UNCHANGED, FAILED = "training", "trained", "unchanged", "failed"

NO_TASK_STATE = (
    "The figures of this training are in its task's log alone, and its batch size cannot be "
    "changed while it runs: Airflow keeps such figures from 3.3 on."
)


def has_task_state() -> bool:
    """Whether this Airflow keeps task state: 3.3 and later ones do."""
    return find_spec("airflow.models.task_state_store") is not None


@dataclass(frozen=True, slots=True)
class Summary:
    """Where a training is.

    ``plan`` is that of the run, ``attempt`` another one when it begins anew; ``epoch`` is the one
    that has begun last, ``last_epoch`` the last one whose figures are kept, and ``resumed`` tells
    after which epochs it has gone on (``{"epoch", "at", "try_number"}``). ``effective`` has the
    epoch in which each change of the batch size took effect. Times are in seconds since 1970.
    """

    state: str
    attempt: str = ""
    plan: Mapping[str, Any] = field(default_factory=dict)
    begun: float | None = None
    ended: float | None = None
    epoch: int = 0
    last_epoch: int = 0
    resumed: tuple[Mapping[str, Any], ...] = ()
    effective: Mapping[str, int] = field(default_factory=dict)
    ended_by: str | None = None
    best_epoch: int | None = None
    message: str = ""
    mlflow_run: str = ""

    def as_json(self) -> dict[str, Any]:
        """As an object of JSON values, which :func:`read_summary` reads."""
        return asdict(self) | {"resumed": [dict(one) for one in self.resumed]}


def read_summary(value: object) -> Summary | None:
    """The summary of :meth:`Summary.as_json`; None for what is none."""
    if not isinstance(value, Mapping) or not isinstance(value.get("state"), str):
        return None
    try:
        best = value.get("best_epoch")
        return Summary(
            state=value["state"],
            attempt=str(value.get("attempt", "")),
            plan=value.get("plan") or {},
            begun=_seconds(value.get("begun")),
            ended=_seconds(value.get("ended")),
            epoch=int(value.get("epoch", 0)),
            last_epoch=int(value.get("last_epoch", 0)),
            resumed=tuple(dict(one) for one in value.get("resumed", ()))[-MOST_RESUMED:],
            effective=read_effective(value.get("effective")),
            ended_by=value.get("ended_by"),
            best_epoch=None if best is None else int(best),
            message=str(value.get("message", ""))[:MOST_MESSAGE],
            mlflow_run=str(value.get("mlflow_run", "")),
        )
    except (TypeError, ValueError):
        return None


def epoch_key(epoch: int) -> str:
    """The key of an epoch's row; keys sort as their epochs do."""
    return f"{EPOCH}{epoch:07d}"


def stride(epochs: int) -> int:
    """Each how many-th epoch of a training of so many is kept."""
    return -(-epochs // MOST_EPOCHS)


def is_kept(epoch: int, epochs: int) -> bool:
    """Whether the figures of that epoch are kept."""
    return epoch % stride(epochs) == 0 or epoch in (1, epochs)


def _seconds(value: Any) -> float | None:
    return None if value is None else float(value)
