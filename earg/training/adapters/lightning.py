"""A callback for PyTorch Lightning's Trainer (https://lightning.ai, "Callback")."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from earg.training.context import TrainingContext


class _Callback:
    """What the callback does, whatever its base class is."""

    def __init__(
        self,
        ctx: TrainingContext,
        samples: int | None = None,
        dump: Callable[[Any], bytes] | None = None,
    ) -> None:
        super().__init__()
        self._ctx = ctx
        self._samples = samples
        self._dump = dump

    def setup(self, trainer: Any, pl_module: Any, stage: str = "fit") -> None:
        """Begin the first epoch: Lightning makes its loader after this."""
        if stage == "fit" and not self._ctx.running:
            self._begin(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Report what the module has logged, end the epoch, and begin the next one: Lightning makes
        that one's loader before it tells that it begins."""
        if not self._ctx.running:
            return
        self._ctx.report(samples=self._samples, **dict(trainer.callback_metrics))
        if self._dump is not None:
            self._ctx.checkpoint(self._dump(pl_module))
        self._ctx.end_epoch()
        self._begin(trainer)

    def _begin(self, trainer: Any) -> None:
        if not self._ctx.begin_epoch():
            trainer.should_stop = True
            return
        data = getattr(trainer, "datamodule", None)
        if data is not None and hasattr(data, "batch_size"):
            data.batch_size = self._ctx.batch_size


class _PlainCallback(_Callback):
    """Without Lightning's base class: its other hooks do nothing."""

    state_key = "hogar"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("on_") or name in ("teardown", "load_state_dict"):
            return _nothing
        if name == "state_dict":
            return dict
        raise AttributeError(name)


def lightning_callback(
    ctx: TrainingContext,
    samples: int | None = None,
    dump: Callable[[Any], bytes] | None = None,
) -> Any:
    """A callback for ``Trainer(callbacks=[...], max_epochs=ctx.plan.epochs)``.

    It reports what the module logs (``callback_metrics``), begins and ends the context's epochs and
    stops the trainer when the context says so. For each epoch to have its own batch size, let the
    Trainer ``reload_dataloaders_every_n_epochs=1`` and make the loader of ``ctx.batch_size``; a
    data module's ``batch_size`` is set to it. ``samples`` is how many an epoch trains, ``dump``
    makes the module a checkpoint. The callback is one of Lightning's own where that is installed.
    """
    for name in ("lightning.pytorch", "pytorch_lightning"):
        try:
            base = importlib.import_module(name).Callback
        except (ImportError, AttributeError):
            continue
        kind = type("HogarCallback", (_Callback, base), {})
        return kind(ctx, samples, dump)
    return _PlainCallback(ctx, samples, dump)


def _nothing(*_: object, **__: object) -> None:
    return None
