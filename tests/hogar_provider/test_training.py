"""Trainings in Airflow, without a server: the tasks of the DAG, and what a task keeps."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import udgl
from earg.training import EarlyStop, TrainingPlan
from earg.training.batch import BatchChange, BatchDecision
from earg.training.record import EpochRecord
from hogar_provider.dag_builder import GraphDag, build_dag
from hogar_provider.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from hogar_provider.operators.train import TrainOperator, training_environment
from hogar_provider.training import link as links
from hogar_provider.training.link import TaskStateLink
from hogar_provider.training.mlflow_mirror import mlflow_mirror
from hogar_provider.training.plans import training_plan
from hogar_provider.training.runs import TrainingRun
from hogar_provider.training.state import (
    CHANGES,
    MOST_EPOCHS,
    SUMMARY,
    Summary,
    epoch_key,
    is_kept,
    read_summary,
)
from tests.hogar_provider.folders import KEEPS_TASK_STATE, ROOT, stored

with_task_state = pytest.mark.skipif(not KEEPS_TASK_STATE, reason="Airflow 3.3 and later")

GRAPH = """\
meta
name G
version 1
operator A
version 1, image a:1
operator B
version 2, image b:1, batch 8, 16 from epoch 3
train functions:count, epochs 4, learning-rate 0.5, early-stop accuracy 2, dataset data.npz
param layers=2
operator C
version 1, image c:1
train functions:count
flow
distribute
A -> B
B -> C
"""

FUNCTIONS = """\
import json


def count(ctx):
    sizes = json.loads(ctx.restore() or b"[]")
    for epoch in ctx.epochs():
        sizes.append(ctx.batch_size)
        ctx.report(accuracy=epoch / 10)
        ctx.checkpoint(json.dumps(sizes).encode())
        if ctx.params.get("fail") == str(epoch):
            raise OSError("the disk is away")
    return json.dumps(sizes).encode()
"""


def build(text: str = GRAPH) -> GraphDag:
    return build_dag(udgl.parse(text), Path("/dags/graph.udgl"), text)


# --- the DAG --------------------------------------------------------------------------------------


def test_everything_is_trained_before_anything_is_deployed() -> None:
    dag = build()
    trained = dag.get_task("trained")
    assert trained.upstream_task_ids == {"train.B", "train.C"}
    assert trained.trigger_rule == "none_failed"
    for name in "ABC":
        task = dag.get_task(f"deploy.{name}")
        assert task.upstream_task_ids == {"trained"}
        assert task.trigger_rule == "none_failed"
    assert dag.get_task("wire").trigger_rule == "all_success"
    assert dag.get_task("deploy.A").artifact is None
    assert dag.get_task("deploy.B").artifact == (
        "{{ ti.xcom_pull(task_ids='train.B', key='artifact') or '' }}"
    )
    assert dag.params.get_param("retrain").schema["items"]["enum"] == ["B", "C"]


def test_one_training_needs_no_task_between() -> None:
    dag = build(GRAPH.replace("train functions:count\nflow", "flow"))
    assert dag.get_task("deploy.C").upstream_task_ids == {"train.B"}
    assert dag.get_task("deploy.C").trigger_rule == "none_failed"
    assert "trained" not in dag.task_ids


def test_a_graph_that_trains_nothing_is_as_it_was() -> None:
    dag = build("meta\nname G\nversion 1\noperator A\nversion 1, image a:1\n")
    assert not any(task.task_id.startswith("train") for task in dag.tasks)
    assert dag.get_task("deploy.A").trigger_rule == "all_success"
    assert "retrain" not in dag.params


def test_the_plan_says_what_the_graph_does_and_survives_airflows_database() -> None:
    task = build().get_task("train.B")
    plan = training_plan(udgl.parse(GRAPH).operator("B"))
    assert plan == TrainingPlan(
        "B",
        "functions:count",
        epochs=4,
        schedule=((1, 8), (3, 16)),
        learning_rate=0.5,
        early_stop=EarlyStop("accuracy", 2, less_is_better=False),
        dataset="data.npz",
        params=(("layers", "2"),),
    )
    assert task.plan == plan.as_json()
    json.dumps(stored(build()))


# --- what a task keeps ----------------------------------------------------------------------------


class State(dict[str, Any]):
    """Airflow's task state; what is set has to be JSON."""

    def set(self, key: str, value: Any, retention: object = None) -> None:
        self[key] = json.loads(json.dumps(value, allow_nan=False))

    def delete(self, key: str) -> None:
        self.pop(key, None)


def record(epoch: int, batch: int = 8) -> EpochRecord:
    return EpochRecord(epoch, float(epoch), 0.5, BatchDecision(batch), {"loss": 1 / epoch})


def followed(state: State, plan: TrainingPlan, attempt: str, after: int, to: int) -> TaskStateLink:
    """A link through the epochs above ``after``, the last of which does not end."""
    link = TaskStateLink(plan, state, 1, lambda line: None)
    link.started(attempt, after)
    for epoch in range(after + 1, to + 1):
        decision = link.begin(epoch)
        if epoch < to:
            link.ended(record(epoch, decision.batch))
    return link


def epochs_of(state: State) -> list[int]:
    return sorted(state[key]["epoch"] for key in state if key.startswith("epoch."))


PLAN = TrainingPlan("B", "m:f", epochs=6, schedule=((1, 8),))


def test_a_resumed_training_forgets_what_its_checkpoint_does_not_hold() -> None:
    state = State()
    followed(state, PLAN, "one", 0, 5)
    assert epochs_of(state) == [1, 2, 3, 4]
    link = TaskStateLink(PLAN, state, 2, lambda line: None)
    link.started("one", 2)
    assert epochs_of(state) == [1, 2]
    summary = read_summary(state[SUMMARY])
    assert summary is not None
    assert (summary.attempt, summary.last_epoch) == ("one", 2)
    assert [(one["epoch"], one["try_number"]) for one in summary.resumed] == [(2, 2)]


def test_a_training_that_begins_anew_forgets_all_but_peoples_changes() -> None:
    state = State()
    state[CHANGES] = [BatchChange("a" * 8, 0.0, "ann", 8, 50, 3).as_json()]
    followed(state, PLAN, "one", 0, 5)
    assert read_summary(state[SUMMARY]).effective == {"a" * 8: 3}  # type: ignore[union-attr]
    followed(state, PLAN, "two", 0, 4)
    assert epochs_of(state) == [1, 2, 3]
    assert [state[epoch_key(n)]["batch"] for n in (1, 2, 3)] == [8, 8, 50]
    assert read_summary(state[SUMMARY]).attempt == "two"  # type: ignore[union-attr]


def test_what_is_kept_of_a_long_training_is_bounded() -> None:
    for epochs in (1, MOST_EPOCHS, MOST_EPOCHS + 1, 1_000_000):
        kept = [epoch for epoch in range(1, epochs + 1) if is_kept(epoch, epochs)]
        assert len(kept) <= MOST_EPOCHS + 2
        assert (kept[0], kept[-1]) == (1, epochs)


def test_a_mirror_that_is_gone_costs_the_training_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls: list[tuple[str, Any]] = []

    class Client:
        """Records what an MlflowClient is asked, by its names and arguments."""

        def get_experiment_by_name(self, name: str) -> None:
            calls.append(("experiment", name))

        def create_experiment(self, name: str) -> str:
            return "7"

        def create_run(self, experiment_id: str, *, run_name: str, tags: dict[str, str]) -> Any:
            assert experiment_id == "7"
            return SimpleNamespace(info=SimpleNamespace(run_id="abc"))

        def log_param(self, run: str, key: str, value: Any) -> None:
            calls.append((key, value))

        def log_metric(self, run: str, key: str, value: float, at: int, step: int) -> None:
            if step == 2:
                raise ConnectionError("no tracking server")
            calls.append((key, (value, at, step)))

        def set_terminated(self, run: str, status: str) -> None:
            calls.append(("end", status))

    mirror = mlflow_mirror(PLAN, "G", "run", "", Client())
    assert mirror is not None
    assert mirror.run == "abc"
    mirror.ended(record(1))
    assert ("loss", (1.0, 1000, 1)) in calls
    assert ("batch_size", (8.0, 1000, 1)) in calls
    with caplog.at_level(logging.WARNING):
        mirror.ended(record(2))
        mirror.ended(record(3))
        mirror.close("trained")
    assert len([one for one in caplog.records if "MLflow" in one.message]) == 1
    assert calls[-1][0] != "end"


def test_mlflow_is_left_alone_where_it_is_not_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert mlflow_mirror(PLAN, "G", "run", "") is None


def test_the_batch_size_to_come_is_told_as_things_stand() -> None:
    changes = (
        BatchChange("a" * 8, 0.0, "ann", 8, 50, 4),
        BatchChange("b" * 8, 0.0, "bob", 50, 60, 5, only=True),
    )
    run = TrainingRun(
        "r", 0.0, "training", "running", 1, PLAN, Summary("training", epoch=3), 2, changes, ()
    )
    assert run.live
    assert [run.decision(epoch).batch for epoch in (4, 5, 6)] == [50, 60, 50]


# --- the task -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    monkeypatch.setenv("AIRFLOW__HOGAR__TRAINING_FOLDER", str(tmp_path / "kept"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


class Ti:
    def __init__(self, try_number: int) -> None:
        self.try_number = try_number
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def execute(
    folder: Path, state: State, run: str = "r1", tried: int = 1, force: bool = False, **plan: Any
) -> tuple[Any, dict[str, Any]]:
    """The task's result, or its exception, and the XComs."""
    made = TrainingPlan("B", "functions:count", str(folder), **{"epochs": 3, **plan})
    task = TrainOperator(task_id="B", plan=made.as_json(), version="1", force=force)
    ti = Ti(tried)
    context: Any = {
        "dag": SimpleNamespace(dag_id="G"),
        "run_id": run,
        "ti": ti,
        "task_state_store": state,
    }
    try:
        return task.execute(context), ti.pushed
    except (AirflowException, AirflowFailException, AirflowSkipException) as error:
        return error, ti.pushed


@with_task_state
def test_what_is_trained_is_not_trained_again_unless_asked_for(folder: Path) -> None:
    found, pushed = execute(folder, first := State())
    artifact = Path(pushed["artifact"])
    assert json.loads((artifact / "model").read_bytes()) == [1, 1, 1]
    assert (found["epochs"], found["ended_by"], found["artifact"]) == (3, "epochs", str(artifact))
    assert epochs_of(first) == [1, 2, 3]
    assert read_summary(first[SUMMARY]).state == "trained"  # type: ignore[union-attr]

    skipped, pushed = execute(folder, second := State(), "r2")
    assert isinstance(skipped, AirflowSkipException)
    assert pushed == {"artifact": str(artifact)}
    assert read_summary(second[SUMMARY]).state == "unchanged"  # type: ignore[union-attr]

    _, pushed = execute(folder, State(), "r3", force=True)
    assert pushed["artifact"] != str(artifact)
    _, pushed = execute(folder, State(), "r4", params=(("layers", "3"),))
    assert Path(pushed["artifact"]).is_dir()


@with_task_state
def test_clearing_a_run_that_has_trained_keeps_its_figures(folder: Path) -> None:
    execute(folder, state := State())
    again, _ = execute(folder, state)
    assert isinstance(again, AirflowSkipException)
    assert epochs_of(state) == [1, 2, 3]
    assert read_summary(state[SUMMARY]).state == "trained"  # type: ignore[union-attr]


@with_task_state
def test_a_failed_training_may_be_retried_and_goes_on(folder: Path) -> None:
    plan = {"params": (("fail", "3"),), "epochs": 4}
    failed, _ = execute(folder, state := State(), **plan)
    assert isinstance(failed, AirflowException)
    assert not isinstance(failed, AirflowFailException)
    assert str(failed) == "OSError: the disk is away"
    summary = read_summary(state[SUMMARY])
    assert summary is not None
    assert (summary.state, summary.message) == ("failed", "OSError: the disk is away")
    # Its third epoch has not ended, so it is trained again, and fails again.
    execute(folder, state, tried=2, **plan)
    summary = read_summary(state[SUMMARY])
    assert summary is not None
    assert [one["epoch"] for one in summary.resumed] == [2]


@with_task_state
def test_what_cannot_get_better_is_not_retried(folder: Path) -> None:
    (folder / "functions.py").write_text("def count(ctx):\n    return None\n")
    failed, _ = execute(folder, State())
    assert isinstance(failed, AirflowFailException)
    assert "handed no model over" in str(failed)


def test_an_airflow_without_task_state_trains_and_tells_what_is_missing(
    folder: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO):
        found, pushed = execute(folder, None)  # type: ignore[arg-type]
    told = caplog.text + capsys.readouterr().out
    assert found["epochs"] == 3
    assert (Path(pushed["artifact"]) / "model").exists()
    assert "Airflow keeps such figures from 3.3 on" in told
    assert "epoch 3/3" in told.lower()


def test_the_function_gets_no_setting_of_airflows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "secret")
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    monkeypatch.setenv("AWS_PROFILE", "data")
    found = training_environment()
    assert found["AWS_PROFILE"] == "data"
    assert not any("AIRFLOW" in name for name in found)


def test_the_mirror_is_told_of_each_epoch_and_of_the_end() -> None:
    told: list[Any] = []

    class Mirror:
        run = "abc"

        def ended(self, record: EpochRecord) -> None:
            told.append(record.epoch)

        def close(self, state: str) -> None:
            told.append(state)

    asked: list[str] = []

    def make(run: str) -> links.Mirror:
        asked.append(run)
        return Mirror()

    state = State()
    for after in (0, 1):
        link = TaskStateLink(PLAN, state, 1, lambda line: None, make)
        link.started("one", after)
        link.begin(after + 1)
        link.ended(record(after + 1))
    link.trained(early=False, best_epoch=None)
    assert (told, asked) == ([1, 2, "trained"], ["", "abc"])
