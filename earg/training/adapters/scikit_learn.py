"""Estimators with ``partial_fit``, as scikit-learn's (https://scikit-learn.org, "incremental
learning"): one call trains one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from earg.training.context import TrainingContext


def partial_fit(
    ctx: TrainingContext,
    estimator: Any,
    x: Any,
    y: Any,
    *,
    classes: Any = None,
    validation: tuple[Any, Any] | None = None,
    dump: Callable[[Any], bytes] | None = None,
    load: Callable[[Any, bytes], object] | None = None,
    metrics: Callable[[Any], Mapping[str, Any]] | None = None,
) -> Any:
    """Train ``estimator`` on ``x`` and ``y``, epoch by epoch in batches of the context's size.

    ``classes`` are all labels, for a classifier's first batch. Reports ``loss`` where the estimator
    has a ``loss_``, ``accuracy`` (its ``score``) on ``validation``, and what ``metrics`` gives.
    With ``dump`` each epoch has a checkpoint, and with ``load`` a training that was broken off goes
    on from it. Returns the estimator. It hands nothing over: save the model yourself.
    """
    if load is not None and (last := ctx.restore()) is not None:
        load(estimator, last)
    for _ in ctx.epochs():
        for x_batch, y_batch in ctx.batches(x, y):
            if hasattr(estimator, "batch_size"):
                # The MLPs would cut the batch into batches of their own.
                estimator.batch_size = len(x_batch)
            if classes is None:
                estimator.partial_fit(x_batch, y_batch)
            else:
                estimator.partial_fit(x_batch, y_batch, classes=classes)
        found: dict[str, Any] = {}
        loss = getattr(estimator, "loss_", None)
        if loss is not None:
            found["loss"] = loss
        if validation is not None:
            found["accuracy"] = estimator.score(*validation)
        ctx.report(**found, **(metrics(estimator) if metrics is not None else {}))
        if dump is not None:
            ctx.checkpoint(dump(estimator))
    return estimator
