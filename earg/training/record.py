"""What an epoch has come to: the figures that are kept of it."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from earg.training.batch import BatchDecision
from earg.training.errors import TrainingError

MOST_METRICS = 50
"""Numbers that an epoch may report."""

_NAME = re.compile(r"[A-Za-z_][\w.\-/]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One epoch. Times are in seconds (``at``, its end, since 1970), memory in resident bytes.

    A metric is None where the function reported no finite number; ``samples`` is None where
    nobody has counted them. ``cpu_seconds`` is what the training's process, and those of its
    children that have ended, computed in the epoch.
    """

    epoch: int
    at: float
    duration: float
    decision: BatchDecision
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    samples: int | None = None
    cpu_seconds: float = 0.0
    memory: int = 0
    checkpoint: bool = False

    @property
    def samples_per_second(self) -> float | None:
        """None where the samples are not counted."""
        if self.samples is None:
            return None
        return self.samples / self.duration if self.duration > 0 else None

    def as_json(self) -> dict[str, Any]:
        """As an object of JSON values, which :func:`read_record` reads."""
        return {
            "epoch": self.epoch,
            "at": round(self.at, 3),
            "duration": round(self.duration, 6),
            "batch": self.decision.batch,
            "set_by": self.decision.set_by,
            "change": self.decision.change,
            "metrics": dict(self.metrics),
            "samples": self.samples,
            "cpu": round(self.cpu_seconds, 3),
            "memory": self.memory,
            "checkpoint": self.checkpoint,
        }

    def line(self, epochs: int) -> str:
        """The epoch for a log: one line."""
        figures = ", ".join(
            f"{name} {'not a number' if value is None else format(value, '.4g')}"
            for name, value in self.metrics.items()
        )
        speed = self.samples_per_second
        parts = [
            f"batch {self.decision.batch} ({self.decision.set_by})",
            *(() if speed is None else (f"{speed:.0f} samples/s",)),
            f"{self.duration:.2f} s",
            f"cpu {self.cpu_seconds:.2f} s",
            f"{self.memory / 2**20:.0f} MiB",
        ]
        text = f"epoch {self.epoch}/{epochs}: {figures or 'no figures'}; {', '.join(parts)}"
        return text + (", checkpoint" if self.checkpoint else "")


def read_record(value: Mapping[str, Any]) -> EpochRecord:
    """The record of :meth:`EpochRecord.as_json`; raises :class:`TrainingError`."""
    try:
        samples = value.get("samples")
        return EpochRecord(
            epoch=int(value["epoch"]),
            at=float(value["at"]),
            duration=float(value["duration"]),
            decision=BatchDecision(
                int(value["batch"]), str(value["set_by"]), value.get("change") or None
            ),
            metrics=check_metrics(value.get("metrics") or {}),
            samples=None if samples is None else int(samples),
            cpu_seconds=float(value.get("cpu", 0.0)),
            memory=int(value.get("memory", 0)),
            checkpoint=bool(value.get("checkpoint", False)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TrainingError(f"this is no record of an epoch: {error!r}") from None


def check_metrics(values: Mapping[str, Any]) -> dict[str, float | None]:
    """The numbers that a function reports as floats, None for what is not finite; raises
    :class:`TrainingError` for a name or a value that is none. Numbers of NumPy and tensors of one
    element are numbers, too."""
    if len(values) > MOST_METRICS:
        raise TrainingError(f"an epoch reports at most {MOST_METRICS} numbers, not {len(values)}")
    found: dict[str, float | None] = {}
    for name, value in values.items():
        if not _NAME.match(name):
            raise TrainingError(
                f"a metric cannot be called {name!r}: letters, digits and _ - . /, at most 64"
            )
        found[name] = None if value is None else _number(name, value)
    return found


def _number(name: str, value: Any) -> float | None:
    if isinstance(value, (str, bytes, bool)):
        raise TrainingError(f"{name} must be a number, not {value!r}")
    try:
        number = float(value if isinstance(value, numbers.Real) else _item(value))
    except (TypeError, ValueError, RuntimeError):
        kind = type(value).__name__
        raise TrainingError(f"{name} must be one number, not a {kind}") from None
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _item(value: Any) -> Any:
    item = getattr(value, "item", None)
    return item() if callable(item) else value
