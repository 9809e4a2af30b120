"""The training context in a plain process."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from earg.training import EarlyStop, LocalLink, TrainingContext, TrainingError, TrainingPlan
from earg.training.batch import BatchChange, decide, read_changes, take_effect
from earg.training.context import local_context
from earg.training.plan import read_plan

LOSS = EarlyStop("loss", 2, less_is_better=True)


def plan(epochs: int = 5, **more: object) -> TrainingPlan:
    return TrainingPlan("A", "m:f", epochs=epochs, **more)  # type: ignore[arg-type]


def change(
    batch: int | None, from_epoch: int, *, only: bool = False, name: str = "a"
) -> BatchChange:
    return BatchChange(name * 8, 0.0, "ann", 8, batch, from_epoch, only)


def quiet(of: TrainingPlan) -> LocalLink:
    return LocalLink(of, say=lambda line: None)


def test_each_epoch_has_the_schedules_batch_size(tmp_path: Path) -> None:
    ctx = local_context(tmp_path, epochs=6, batch=((1, 32), (3, 64), (6, 128)))
    assert [(e, ctx.batch_size, ctx.batch_set_by) for e in ctx.epochs()] == [
        *((1, 32, "schedule"), (2, 32, "schedule"), (3, 64, "schedule"), (4, 64, "schedule")),
        *((5, 64, "schedule"), (6, 128, "schedule")),
    ]


def test_a_change_holds_from_the_next_epoch_on(tmp_path: Path) -> None:
    of = plan(schedule=((1, 8), (4, 16)))
    link = quiet(of)
    ctx = TrainingContext(of, tmp_path, link)
    found = []
    for epoch in ctx.epochs():
        if epoch == 2:
            link.changes.append(change(99, 1))
            assert ctx.batch_size == 8, "an epoch that runs keeps its batch size"
        found.append((ctx.batch_size, ctx.batch_set_by))
    assert found == [(8, "schedule"), (8, "schedule"), (99, "ann"), (99, "ann"), (99, "ann")]
    assert [record.decision.change for record in link.records] == [None, None, *["aaaaaaaa"] * 3]


@pytest.mark.parametrize(
    ("changes", "sizes"),
    [
        ([change(99, 3)], [8, 8, 99, 99, 99]),
        ([change(99, 3, only=True)], [8, 8, 99, 16, 16]),
        ([change(99, 2), change(None, 4, name="b")], [8, 99, 99, 16, 16]),
        ([change(99, 4), change(50, 2, name="b")], [8, 50, 50, 50, 50]),
        ([change(99, 2), change(50, 3, only=True, name="b")], [8, 99, 50, 99, 99]),
    ],
)
def test_the_newest_change_that_holds_in_an_epoch_decides(
    changes: list[BatchChange], sizes: list[int]
) -> None:
    of, effective, found = plan(schedule=((1, 8), (4, 16))), {}, []
    for epoch in range(1, 6):
        effective = take_effect(changes, epoch, effective)
        found.append(decide(of, epoch, changes, effective).batch)
    assert found == sizes


def test_stored_changes_that_are_none_stop_no_training() -> None:
    good = change(3, 1)
    assert read_changes([good.as_json(), {"id": 3}, "x", {**good.as_json(), "to": -1}]) == (good,)
    assert read_changes({"a": 1}) == read_changes(None) == ()


def test_training_ends_early_where_the_metric_gets_no_better(tmp_path: Path) -> None:
    of = plan(10, early_stop=LOSS)
    ctx = TrainingContext(of, tmp_path, quiet(of))
    losses = iter([3.0, 2.0, math.nan, 2.5, 1.0])
    for _ in ctx.epochs():
        ctx.report(loss=next(losses))
    assert (ctx.epoch, ctx.best_epoch, ctx.stopped_early) == (4, 2, True)


def test_more_is_better_of_an_accuracy(tmp_path: Path) -> None:
    of = plan(10, early_stop=EarlyStop("accuracy", 2, less_is_better=False))
    ctx = TrainingContext(of, tmp_path, quiet(of))
    for epoch in ctx.epochs():
        ctx.report(accuracy=min(epoch, 4) / 10)
    assert (ctx.epoch, ctx.best_epoch) == (6, 4)


def test_an_early_stop_without_its_metric_says_what_to_do(tmp_path: Path) -> None:
    of = plan(early_stop=LOSS)
    ctx = TrainingContext(of, tmp_path, quiet(of))
    assert ctx.begin_epoch()
    ctx.report(a=1)
    with pytest.raises(TrainingError, match=r"early-stop watches 'loss', but epoch 1 reported a"):
        ctx.end_epoch()


def test_a_training_goes_on_after_its_last_checkpoint(tmp_path: Path) -> None:
    of = plan(8, early_stop=EarlyStop("loss", 3, less_is_better=True))
    first = TrainingContext(of, tmp_path, quiet(of))
    for epoch in first.epochs():
        first.report(loss={1: 1.0, 2: 2.0}.get(epoch, 3.0))
        if epoch == 2:
            first.checkpoint(b"two")
        if epoch == 3:
            break  # As if it were killed in its third epoch.
    second = TrainingContext(of, tmp_path, link := quiet(of))
    assert second.restore() == b"two"
    seen = []
    for epoch in second.epochs():
        seen.append(epoch)
        second.report(loss=5.0)
    # The best was epoch 1, which the checkpoint of epoch 2 knows.
    assert (seen, second.best_epoch) == ([3, 4], 1)
    assert [record.epoch for record in link.records] == [3, 4]


def test_a_function_that_restores_nothing_begins_at_the_start(tmp_path: Path) -> None:
    ctx = local_context(tmp_path, epochs=3)
    for _ in ctx.epochs():
        ctx.checkpoint(b"x")
    assert list(local_context(tmp_path, epochs=3).epochs()) == [1, 2, 3]


def test_a_checkpoint_counts_once_its_epoch_is_kept(tmp_path: Path) -> None:
    of = plan()

    class Full(LocalLink):
        def ended(self, record: object) -> None:
            raise OSError("cannot be kept")

    ctx = TrainingContext(of, tmp_path, Full(of))
    assert ctx.begin_epoch()
    ctx.checkpoint(b"one")
    with pytest.raises(OSError, match="kept"):
        ctx.end_epoch()
    assert TrainingContext(of, tmp_path).restore() is None


@pytest.mark.parametrize("damage", ["cut", "flip", "no header", "other"])
def test_a_checkpoint_that_is_damaged_or_of_another_training_is_not_gone_on_from(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ctx = TrainingContext(plan(), tmp_path, quiet(plan()), "print")
    for _ in ctx.epochs():
        ctx.checkpoint(b"weights")
    file = tmp_path / "checkpoint"
    data = file.read_bytes()
    file.write_bytes(
        {
            "cut": data[:-1],
            "flip": data[:-1] + b"X",
            "no header": b"\x80\x04pickle\n" + data,
            "other": data,
        }[damage]
    )
    again = TrainingContext(
        plan(), tmp_path, quiet(plan()), "another" if damage == "other" else "print"
    )
    assert again.restore() is None
    assert "train from the start" in capsys.readouterr().err
    assert next(again.epochs()) == 1


def test_batches_are_all_samples_once_and_counted(tmp_path: Path) -> None:
    of = plan(2, schedule=((1, 3), (2, 4)))
    ctx = TrainingContext(of, tmp_path, link := quiet(of))
    orders = []
    for _ in ctx.epochs():
        pairs = list(ctx.batches(list(range(10)), [str(n) for n in range(10)]))
        assert [len(numbers) for numbers, _ in pairs] == [[3, 3, 3, 1], [4, 4, 2]][ctx.epoch - 1]
        assert all([str(n) for n in numbers] == texts for numbers, texts in pairs)
        orders.append([n for numbers, _ in pairs for n in numbers])
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(10))
    assert orders[0] != orders[1]
    assert [record.samples for record in link.records] == [10, 10]
    assert all(record.samples_per_second for record in link.records)


def test_figures_are_kept_as_numbers(tmp_path: Path) -> None:
    class Tensor:
        def item(self) -> float:
            return 0.25

    ctx = local_context(tmp_path, link=(link := quiet(plan())))
    for _ in ctx.epochs():
        ctx.report(loss=math.inf, samples=12)
        ctx.report(accuracy=Tensor())
    (record,) = link.records
    assert record.metrics == {"loss": None, "accuracy": 0.25}
    assert record.memory > 1_000_000
    assert json.loads(json.dumps(record.as_json(), allow_nan=False))["samples"] == 12
    line = record.line(1)
    assert line.startswith("epoch 1/1: loss not a number, accuracy 0.25; batch 1 (schedule), ")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        ({"loss": "low"}, "loss must be a number"),
        ({"loss": [1]}, "one number, not a list"),
        ({"a b": 1}, "cannot be called"),
        ({f"m{n}": 1 for n in range(51)}, "at most 50"),
    ],
)
def test_what_is_no_figure_is_told(tmp_path: Path, metrics: dict[str, object], text: str) -> None:
    ctx = local_context(tmp_path)
    assert ctx.begin_epoch()
    with pytest.raises(TrainingError, match=text):
        ctx.report(**metrics)


def test_what_belongs_to_an_epoch_says_so_outside(tmp_path: Path) -> None:
    ctx = local_context(tmp_path)
    for wrong in (lambda: ctx.report(loss=1), lambda: ctx.checkpoint(b""), lambda: ctx.count(1)):
        with pytest.raises(TrainingError, match=r"for epoch in ctx\.epochs"):
            wrong()
    list(ctx.epochs())
    with pytest.raises(TrainingError, match="before the first epoch"):
        ctx.restore()
    with pytest.raises(TrainingError, match="loop over it once"):
        list(ctx.epochs())


def test_a_model_is_handed_over_as_bytes(tmp_path: Path) -> None:
    ctx = local_context(tmp_path)
    list(ctx.epochs())
    with pytest.raises(TrainingError, match="handed no model over"):
        ctx.finish()
    with pytest.raises(TrainingError, match="returned a dict"):
        ctx.finish({})
    ctx.finish(b"weights")
    assert (ctx.artifact / "model").read_bytes() == b"weights"
    for name in ("../x", "", ".x", "a/b"):
        with pytest.raises(TrainingError, match="cannot be called"):
            ctx.save(b"x", name)
    with pytest.raises(TrainingError, match="takes bytes, not a dict"):
        ctx.save({})  # type: ignore[arg-type]


def test_a_plan_survives_its_json() -> None:
    of = plan(
        3,
        schedule=((1, 8), (3, 9)),
        early_stop=LOSS,
        learning_rate=0.1,
        dataset="x.npz",
        params=(("a", "b"),),
        folder=os.sep,
    )
    assert read_plan(json.loads(json.dumps(of.as_json()))) == of
    for wrong in ({}, {"operator": "A", "function": "no"}, {**of.as_json(), "schedule": [[2, 1]]}):
        with pytest.raises(TrainingError):
            read_plan(wrong)
