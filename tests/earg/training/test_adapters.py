"""The adapters, by doubles that call them in the order in which the libraries do."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from earg.training import EarlyStop, LocalLink, TrainingContext, TrainingPlan
from earg.training.adapters.keras import KerasCallback
from earg.training.adapters.lightning import lightning_callback
from earg.training.adapters.scikit_learn import partial_fit


def context(tmp_path: Path, epochs: int = 3, **more: Any) -> tuple[TrainingContext, LocalLink]:
    plan = TrainingPlan("A", "m:f", epochs=epochs, **more)
    link = LocalLink(plan, say=lambda line: None)
    return TrainingContext(plan, tmp_path, link), link


class Estimator:
    """An estimator's protocol: ``partial_fit``, ``score``, ``loss_``."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, Any]] = []
        self.loss_ = 1.0

    def partial_fit(self, x: Any, y: Any, classes: Any = None) -> Estimator:
        assert len(x) == len(y)
        self.calls.append((len(x), classes))
        self.loss_ = 1 / len(self.calls)
        return self

    def score(self, x: Any, y: Any) -> float:
        return 1 - self.loss_


def test_partial_fit_is_called_with_each_batch(tmp_path: Path) -> None:
    ctx, link = context(tmp_path, 2, schedule=((1, 2), (2, 3)))
    data = [[1], [2], [3], [4]]
    made = partial_fit(
        ctx, Estimator(), data, [0, 1, 0, 1], classes=[0, 1], validation=(data, []),
        dump=lambda e: str(len(e.calls)).encode(),
    )  # fmt: skip
    assert made.calls == [(n, [0, 1]) for n in (2, 2, 3, 1)]
    assert [r.metrics for r in link.records] == [
        *({"loss": 0.5, "accuracy": 0.5}, {"loss": 0.25, "accuracy": 0.75}),
    ]
    assert [(r.samples, r.checkpoint) for r in link.records] == [(4, True), (4, True)]
    loaded = []
    again, _ = context(tmp_path, 2, schedule=((1, 2), (2, 3)))
    partial_fit(again, Estimator(), data, [0] * 4, load=lambda e, b: loaded.append(b))
    assert loaded == [b"4"]
    assert again.epoch == 2


class KerasModel:
    """Keras' ``fit`` as far as callbacks see it (CallbackList: set_params, set_model, then the
    hooks, of which it calls every one)."""

    def __init__(self) -> None:
        self.stop_training = False
        self.batch_sizes: list[int] = []

    def fit(self, callback: Any, batch_size: int, epochs: int, initial_epoch: int = 0) -> None:
        self.stop_training = False
        callback.set_params({"epochs": epochs})
        callback.set_model(self)
        callback.on_train_begin(None)
        for epoch in range(initial_epoch, epochs):
            callback.on_epoch_begin(epoch, None)
            callback.on_train_batch_begin(0, {})
            self.batch_sizes.append(batch_size)
            callback.on_train_batch_end(0, {"loss": 1.0})
            callback.on_test_begin(None)
            callback.on_epoch_end(epoch, {"loss": 1 / (epoch + 1), "val_loss": 2.0})
            if self.stop_training:
                break
        callback.on_train_end(None)


def test_a_keras_fit_an_epoch_follows_the_batch_sizes(tmp_path: Path) -> None:
    ctx, link = context(tmp_path, schedule=((1, 8), (2, 16)))
    model = KerasModel()
    for epoch in ctx.epochs():
        model.fit(KerasCallback(ctx, samples=100), ctx.batch_size, epoch, epoch - 1)
    assert model.batch_sizes == [8, 16, 16]
    assert [r.metrics["loss"] for r in link.records] == [1, 1 / 2, 1 / 3]
    assert link.records[0].samples == 100


def test_one_keras_fit_is_ended_by_early_stopping(tmp_path: Path) -> None:
    stop = EarlyStop("val_loss", 2, less_is_better=True)
    ctx, link = context(tmp_path, 10, early_stop=stop)
    model = KerasModel()
    model.fit(KerasCallback(ctx, dump=lambda m: b"weights"), 8, ctx.plan.epochs)
    assert len(model.batch_sizes) == len(link.records) == ctx.epoch == 3
    assert all(record.checkpoint for record in link.records)


class Trainer:
    """Lightning's fit loop as far as callbacks see it: setup, the loader of an epoch, its start,
    its end; every hook is called."""

    def __init__(self, callback: Any, max_epochs: int) -> None:
        self.callback = callback
        self.max_epochs = max_epochs
        self.should_stop = False
        self.callback_metrics: dict[str, Any] = {}
        self.datamodule = SimpleNamespace(batch_size=1)
        self.loaders: list[int] = []

    def fit(self, module: Any) -> None:
        hooks = self.callback
        hooks.setup(self, module, stage="fit")
        hooks.on_fit_start(self, module)
        for epoch in range(self.max_epochs):
            if self.should_stop:
                break
            self.loaders.append(self.datamodule.batch_size)
            hooks.on_train_epoch_start(self, module)
            hooks.on_train_batch_end(self, module, None, None, 0)
            hooks.on_validation_epoch_end(self, module)
            self.callback_metrics = {"train_loss": SimpleNamespace(item=lambda: 1 / (epoch + 1))}  # noqa: B023
            hooks.on_train_epoch_end(self, module)
        hooks.on_fit_end(self, module)
        hooks.teardown(self, module, stage="fit")
        assert hooks.state_dict() == {}


def test_lightning_makes_each_loader_of_the_epochs_batch_size(tmp_path: Path) -> None:
    ctx, link = context(tmp_path, schedule=((1, 8), (3, 16)))
    trainer = Trainer(lightning_callback(ctx), ctx.plan.epochs)
    trainer.fit(object())
    assert trainer.loaders == [8, 8, 16]
    assert [r.metrics["train_loss"] for r in link.records] == [1, 1 / 2, 1 / 3]
    ctx.finish(b"model")
    assert (ctx.epoch, ctx.stopped_early) == (3, False)


def test_lightning_is_stopped_by_early_stopping(tmp_path: Path) -> None:
    stop = EarlyStop("train_loss", 1, less_is_better=False)
    ctx, link = context(tmp_path, 10, early_stop=stop)
    trainer = Trainer(lightning_callback(ctx, dump=lambda m: b"weights"), ctx.plan.epochs)
    trainer.fit(object())
    assert trainer.loaders == [1, 1]
    assert [r.epoch for r in link.records] == [1, 2]
    ctx.finish(b"model")
    assert (ctx.epoch, ctx.stopped_early) == (2, True)
