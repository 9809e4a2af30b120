"""A training function in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from earg.training import LocalLink, TrainingPlan
from earg.training.batch import BatchChange
from earg.training.fingerprint import fingerprint
from earg.training.record import EpochRecord
from earg.training.runner import TrainingFailedError, TrainingProcess
from earg.training.store import TrainingStore

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def plan(function: str, epochs: int = 3, **more: object) -> TrainingPlan:
    return TrainingPlan(
        "A",
        f"functions:{function}",
        str(HERE),
        epochs,
        **more,  # type: ignore[arg-type]
    )


def process(of: TrainingPlan, folder: Path, link: LocalLink | None = None) -> TrainingProcess:
    link = link or LocalLink(of, say=lambda line: None)
    return TrainingProcess(of, folder, link, "print", ENVIRONMENT)


def wait_until(holds: object, seconds: float = 30.0) -> None:
    ends = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_its_epochs_are_told_and_its_model_is_handed_over(tmp_path: Path) -> None:
    of = plan("count", schedule=((1, 8), (2, 16)))
    link = LocalLink(of, say=lambda line: None)
    trained = process(of, tmp_path, link).run()
    assert (trained.epoch, trained.early) == (3, False)
    assert json.loads((tmp_path / "artifact/model").read_bytes()) == [8, 16, 16]
    assert [record.metrics["loss"] for record in link.records] == [1, 1 / 2, 1 / 3]
    assert all(record.metrics["pid"] != os.getpid() for record in link.records)


def test_a_change_while_it_runs_holds_in_the_next_epoch(tmp_path: Path) -> None:
    of = plan("count", schedule=((1, 8),))

    class Person(LocalLink):
        def ended(self, record: EpochRecord) -> None:
            super().ended(record)
            if record.epoch == 1:
                self.changes.append(BatchChange("a" * 8, 0.0, "ann", 8, 50, 2))

    link = Person(of, say=lambda line: None)
    process(of, tmp_path, link).run()
    assert [(r.decision.batch, r.decision.set_by) for r in link.records] == [
        *((8, "schedule"), (50, "ann"), (50, "ann")),
    ]


def test_a_training_that_is_killed_goes_on_after_its_checkpoint(tmp_path: Path) -> None:
    of = plan("count", 4, params=(("kill", "3"),))
    link = LocalLink(of, say=lambda line: None)
    with pytest.raises(TrainingFailedError, match=r"SIGKILL.*memory") as failed:
        process(of, tmp_path, link).run()
    assert failed.value.killed
    process(of, tmp_path, link).run()
    assert [record.epoch for record in link.records] == [1, 2, 3, 4]
    assert len({record.metrics["pid"] for record in link.records}) == 2
    assert json.loads((tmp_path / "artifact/model").read_bytes()) == [1, 1, 1, 1]


def test_a_function_that_raises_is_told_with_its_own_traceback(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailedError, match="ValueError: the data is gone") as failed:
        process(plan("fail"), tmp_path).run()
    assert "in fail" in failed.value.traceback
    assert "child.py" not in failed.value.traceback.partition("in fail")[0].rpartition("File")[2]


@pytest.mark.parametrize(
    ("function", "text"),
    [
        ("functions:absent", "module functions has no function absent"),
        ("absent.module:f", "there is no module absent: it is looked for in "),
        ("functions:nothing", "handed no model over"),
    ],
)
def test_what_cannot_be_trained_is_told_in_a_sentence(
    tmp_path: Path, function: str, text: str
) -> None:
    with pytest.raises(TrainingFailedError, match=text) as failed:
        process(TrainingPlan("A", function, str(HERE)), tmp_path).run()
    assert failed.value.traceback == ""


def test_stopping_it_ends_its_whole_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    running = process(plan("leave_children", params=(("pids", str(pids)),)), tmp_path)

    def run() -> None:
        with pytest.raises(TrainingFailedError):
            running.run()

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    running.stop()
    thread.join(20)
    assert not thread.is_alive()
    wait_until(lambda: not any(map(alive, pids.read_text().split())))


def test_it_ends_with_all_it_started_when_the_other_side_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = f"""
from pathlib import Path
from earg.training import LocalLink, TrainingPlan
from earg.training.runner import TrainingProcess
params = (("pids", {str(pids)!r}),)
plan = TrainingPlan("A", "functions:leave_children", {str(HERE)!r}, params=params)
TrainingProcess(plan, Path({str(tmp_path)!r}), LocalLink(plan), "").run()
"""
    parent = subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT)
    try:
        wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
        assert all(map(alive, pids.read_text().split()))
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
    wait_until(lambda: not any(map(alive, pids.read_text().split())))


def alive(pid: str) -> bool:
    try:
        return psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_function_can_be_tried_from_the_command_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "earg.training", "functions:count", "--folder", str(HERE)),
            *("--out", str(tmp_path / "out"), "--epochs", "2", "--batch", "5"),
        ],
        env=ENVIRONMENT,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "epoch 2/2: loss 0.5" in done.stderr
    assert json.loads((tmp_path / "out/artifact/model").read_bytes()) == [5, 5]


def test_the_fingerprint_changes_with_what_the_training_depends_on(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text("def f(ctx): ...\n")
    data = tmp_path / "data"
    data.mkdir()
    (data / "a").write_text("1")
    (tmp_path / "one.csv").write_text("1")
    base = TrainingPlan("A", "f:f", str(tmp_path), dataset="one.csv")
    seen = {fingerprint(base, "1")}
    assert fingerprint(base, "1") in seen

    def differs(of: TrainingPlan, version: str = "1") -> bool:
        now = fingerprint(of, version)
        fresh = now not in seen
        seen.add(now)
        return fresh

    assert differs(base, "2")
    assert differs(TrainingPlan("A", "f:f", str(tmp_path), 2, dataset="one.csv"))
    assert differs(TrainingPlan("A", "f:f", str(tmp_path), dataset="data"))
    (data / "a").write_text("22")
    assert differs(TrainingPlan("A", "f:f", str(tmp_path), dataset="data"))
    (tmp_path / "one.csv").write_text("2")
    assert differs(base)
    (tmp_path / "f.py").write_text("def f(ctx): return b''\n")
    assert differs(base)


def test_the_store_keeps_the_newest_models(tmp_path: Path) -> None:
    store = TrainingStore(tmp_path / "A")
    for number in range(7):
        work = store.work(f"run {number}")
        (work / "artifact").mkdir(exist_ok=True)
        (work / "artifact/model").write_text(str(number))
        made = store.commit(work, {"fingerprint": str(number)})
        assert (made.folder / "model").read_text() == str(number)
        assert not work.exists()
    assert [one.about["fingerprint"] for one in store.artifacts()] == list("65432")
    assert store.find("1") is None
    found = store.find("4")
    assert found is not None
    assert (found.folder / "model").read_text() == "4"
