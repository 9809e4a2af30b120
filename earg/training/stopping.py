"""When a training ends early: its metric has not become better for some epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from earg.training.errors import TrainingError
from earg.training.plan import EarlyStop


@dataclass(frozen=True, slots=True)
class Stopping:
    """What an early stop knows: the best value so far, and of which epoch. Epoch 0 is none."""

    rule: EarlyStop
    best: float | None = None
    best_epoch: int = 0
    epoch: int = 0

    @property
    def over(self) -> bool:
        """Whether the metric has not become better for as many epochs as the rule waits."""
        return self.epoch - self.best_epoch >= self.rule.patience

    def after(self, epoch: int, metrics: Mapping[str, float | None]) -> Stopping:
        """With what ``epoch`` has reported; a value that is not finite is no better one. Raises
        :class:`TrainingError` where the metric is not among the reported."""
        name = self.rule.metric
        if name not in metrics:
            told = ", ".join(metrics) or "nothing"
            raise TrainingError(
                f"early-stop watches {name!r}, but epoch {epoch} reported {told}: report {name!r} "
                "in every epoch, or name another metric in early-stop"
            )
        value = metrics[name]
        if value is not None and (
            self.best is None
            or (value < self.best if self.rule.less_is_better else value > self.best)
        ):
            return Stopping(self.rule, value, epoch, epoch)
        return Stopping(self.rule, self.best, self.best_epoch, epoch)

    def as_json(self) -> dict[str, Any]:
        """As an object of JSON values."""
        return {"best": self.best, "best_epoch": self.best_epoch, "epoch": self.epoch}


def read_stopping(rule: EarlyStop, value: object) -> Stopping:
    """The state of :meth:`Stopping.as_json`, or the first state for what is none."""
    try:
        assert isinstance(value, Mapping)
        best = value["best"]
        return Stopping(
            rule,
            None if best is None else float(best),
            int(value["best_epoch"]),
            int(value["epoch"]),
        )
    except (AssertionError, KeyError, TypeError, ValueError):
        return Stopping(rule)
