"""A callback for Keras' ``fit`` (https://keras.io/api/callbacks): any object with these methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from earg.training.context import TrainingContext


class KerasCallback:
    """Reports the logs of each epoch, and ends the fit when the context says so.

    Keras fixes the batch size for a whole fit. So that it follows the schedule, and people, fit one
    epoch at a time::

        for epoch in ctx.epochs():
            model.fit(x, y, batch_size=ctx.batch_size, initial_epoch=epoch - 1, epochs=epoch,
                      callbacks=[KerasCallback(ctx)])

    Where the batch size need not change, one fit does; then the callback begins and ends the
    context's epochs itself, and ``epochs`` and ``initial_epoch`` are ``ctx.plan.epochs`` and
    ``ctx.epoch`` (after ``ctx.restore()``). ``samples`` is how many an epoch trains; ``dump`` makes
    the model a checkpoint.
    """

    def __init__(
        self,
        ctx: TrainingContext,
        samples: int | None = None,
        dump: Callable[[Any], bytes] | None = None,
    ) -> None:
        self.model: Any = None
        self.params: dict[str, Any] = {}
        self._ctx = ctx
        self._samples = samples
        self._dump = dump
        self._drives = False
        self._over = False

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Keras tells the fit's parameters."""
        self.params = dict(params)

    def set_model(self, model: Any) -> None:
        """Keras tells the model."""
        self.model = model

    def on_train_begin(self, logs: object = None) -> None:
        """An epoch of the context that runs already is somebody else's to end."""
        self._drives = not self._ctx.running

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        """Begin the context's epoch, unless it runs."""
        if self._drives and not self._ctx.begin_epoch():
            self._over = True
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Report the logs: loss, accuracy, val_loss, ..."""
        if self._over:
            return
        self._ctx.report(samples=self._samples, **(logs or {}))
        if self._dump is not None:
            self._ctx.checkpoint(self._dump(self.model))
        if self._drives:
            self._ctx.end_epoch()
            if self._ctx.over:
                self.model.stop_training = True

    def __getattr__(self, name: str) -> Any:
        """Keras' other hooks do nothing here."""
        if name.startswith("on_"):
            return _nothing
        raise AttributeError(name)


def _nothing(*_: object, **__: object) -> None:
    return None
