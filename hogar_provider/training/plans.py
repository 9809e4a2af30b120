"""The training that an operator of a graph says, as the plan that the runtime follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from earg.training.plan import TrainingPlan
    from udgl.graph import Operator

GROUP = "train"
"""The task group of trainings."""


def training_plan(operator: Operator, folder: str = "") -> TrainingPlan | None:
    """None where it is not trained. Raises :class:`~earg.training.TrainingError` for what the
    language's own checks do not admit."""
    training = operator.training
    if training is None:
        return None
    # A graph that trains nothing is parsed without it.
    from earg.training.plan import EarlyStop, TrainingPlan

    stop = training.early_stop
    return TrainingPlan(
        operator=operator.name,
        function=training.function,
        folder=folder,
        epochs=training.epochs,
        schedule=tuple((step.epoch, step.batch) for step in training.schedule),
        learning_rate=training.learning_rate,
        early_stop=None
        if stop is None
        else EarlyStop(stop.metric, stop.patience, stop.less_is_better),
        dataset=training.dataset,
        params=training.params,
    )


def train_task(operator: str) -> str:
    """The id of the task that trains an operator."""
    return f"{GROUP}.{operator}"
