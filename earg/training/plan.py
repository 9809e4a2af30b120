"""What a training is to do: its function, epochs, batch schedule and parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from earg.training.errors import TrainingError

FUNCTION = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*\Z")
"""``package.module:function``."""


@dataclass(frozen=True, slots=True)
class EarlyStop:
    """Training ends where ``metric`` has not become better for ``patience`` epochs."""

    metric: str
    patience: int
    less_is_better: bool


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How one operator is trained.

    ``function`` is ``package.module:function``, imported with ``folder`` first on the module path.
    ``schedule`` has (epoch, batch size in samples), the first of epoch 1, the epochs rising;
    ``params`` are (name, value) pairs of text.
    """

    operator: str
    function: str
    folder: str = ""
    epochs: int = 1
    schedule: tuple[tuple[int, int], ...] = ((1, 1),)
    learning_rate: float | None = None
    early_stop: EarlyStop | None = None
    dataset: str | None = None
    params: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Raise :class:`TrainingError` for a plan that cannot be followed."""
        if not FUNCTION.match(self.function):
            raise TrainingError(
                f"the training function {self.function!r} is not of the form module:function"
            )
        if self.epochs < 1:
            raise TrainingError(f"a training takes at least 1 epoch, not {self.epochs}")
        if not self.schedule or self.schedule[0][0] != 1:
            raise TrainingError("a batch schedule begins at epoch 1")
        before = 0
        for epoch, batch in self.schedule:
            if epoch <= before or batch < 1:
                raise TrainingError(
                    f"batch {batch} from epoch {epoch}: a schedule's epochs rise, and its "
                    "batches are at least 1"
                )
            before = epoch

    def batch_at(self, epoch: int) -> int:
        """The batch size that the schedule says for ``epoch``, which counts from 1."""
        return [batch for since, batch in self.schedule if since <= epoch][-1]

    def as_json(self) -> dict[str, Any]:
        """As an object of JSON values, which :func:`read_plan` reads."""
        return asdict(self) | {
            "schedule": [list(step) for step in self.schedule],
            "params": [list(pair) for pair in self.params],
        }


def read_plan(value: Mapping[str, Any]) -> TrainingPlan:
    """The plan of :meth:`TrainingPlan.as_json`; raises :class:`TrainingError`."""
    try:
        stop = value.get("early_stop")
        rate = value.get("learning_rate")
        dataset = value.get("dataset")
        return TrainingPlan(
            operator=str(value["operator"]),
            function=str(value["function"]),
            folder=str(value.get("folder", "")),
            epochs=int(value.get("epochs", 1)),
            schedule=tuple((int(e), int(b)) for e, b in value.get("schedule", ((1, 1),))),
            learning_rate=None if rate is None else float(rate),
            early_stop=None
            if stop is None
            else EarlyStop(
                str(stop["metric"]), int(stop["patience"]), bool(stop["less_is_better"])
            ),
            dataset=None if dataset is None else str(dataset),
            params=tuple((str(n), str(v)) for n, v in value.get("params", ())),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"this is no training plan: {error!r}") from None
