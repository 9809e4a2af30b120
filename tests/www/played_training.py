"""Trainings that play a part: epochs that go by, batch sizes that can be changed meanwhile."""

from __future__ import annotations

import math
import random
import threading
import time
import uuid
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

SAMPLES = 1437
METRIC = {"metric": "accuracy", "patience": 3, "less_is_better": False}


class RefusedError(Exception):
    """What the API refuses: status, code and sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass
class PlayedTrainingRun:
    """One run. ``begun`` is when its first epoch began; an epoch lasts ``seconds``."""

    run_id: str
    run_at: float
    state: str
    planned: int
    schedule: list[dict[str, int]]
    seconds: float = 1.0
    seed: int = 1
    learning_rate: float = 0.08
    params: dict[str, str] = field(default_factory=lambda: {"hidden": "64"})
    message: str = ""
    ended_by: str | None = None
    best_epoch: int | None = None
    resumed: list[dict[str, Any]] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    ended: float | None = None
    epoch_began: float = 0.0

    def __post_init__(self) -> None:
        self.begun = self.run_at + 2
        self.epoch_began = self.begun

    @property
    def following(self) -> int:
        """The epoch whose batch size can be changed next."""
        return len(self.epochs) + (2 if self.state == "training" else 1)

    def scheduled(self, epoch: int) -> int:
        return [step["batch"] for step in self.schedule if step["epoch"] <= epoch][-1]

    def decide(self, epoch: int, soon: bool = False) -> tuple[int, str, str | None]:
        """The batch size of an epoch; ``soon`` counts what has not taken effect yet."""
        found: tuple[int, str, str | None] = (self.scheduled(epoch), "schedule", None)
        for change in self.changes:
            since = change["effective_epoch"] or (change["from_epoch"] if soon else None)
            if since is None or since > epoch or (change["only"] and since != epoch):
                continue
            batch = self.scheduled(epoch) if change["to"] is None else change["to"]
            found = (batch, change["who"], change["id"])
        return found

    def begin(self, epoch: int) -> None:
        for change in self.changes:
            if change["effective_epoch"] is None and change["from_epoch"] <= epoch:
                change["effective_epoch"] = epoch

    def end_epoch(self) -> None:
        """The epoch that runs ends, with figures of its own."""
        epoch = len(self.epochs) + 1
        batch, set_by, change = self.decide(epoch)
        pick = random.Random(self.seed * 1000 + epoch)
        slow = 1 + math.log2(batch / 32) * 0.06
        loss = 1.9 * math.exp(-0.33 * epoch / slow) + 0.09 + pick.uniform(-0.02, 0.03)
        accuracy = 0.975 - 0.30 * math.exp(-0.42 * epoch / slow) + pick.uniform(-0.008, 0.006)
        speed = 2100 * (batch / 32) ** 0.55 * pick.uniform(0.93, 1.05)
        self.epochs.append(
            {
                "epoch": epoch,
                "at": self.epoch_began + self.seconds,
                "duration_s": round(SAMPLES / speed, 3),
                "metrics": {"loss": round(loss, 5), "accuracy": round(accuracy, 5)},
                "samples": SAMPLES,
                "samples_per_s": round(speed, 1),
                "batch": batch,
                "batch_set_by": set_by,
                "change": change,
                "cpu_s": round(SAMPLES / speed * 1.9, 3),
                "cpu_cores": round(pick.uniform(1.7, 1.95), 3),
                "memory_bytes": 181_403_648 + 400_000 * epoch,
                "checkpoint": True,
                "try_number": 1 + sum(one["epoch"] < epoch for one in self.resumed),
            }
        )
        self.epoch_began += self.seconds
        self.begin(epoch + 1)
        if self.state == "training" and epoch == self.planned:
            self.state, self.ended, self.ended_by = "trained", self.epoch_began, "epochs"
            self.best_epoch = max(self.epochs, key=lambda e: e["metrics"]["accuracy"])["epoch"]

    def play(self, epochs: int) -> PlayedTrainingRun:
        """So many epochs have ended already."""
        self.begin(1)
        for _ in range(epochs):
            self.end_epoch()
        if self.state != "training":
            self.ended = self.epoch_began
        return self

    def advance(self, now: float) -> None:
        while self.state == "training" and now >= self.epoch_began + self.seconds:
            self.end_epoch()

    def view(self, since: float | None) -> dict[str, Any]:
        live = self.state in ("waiting", "training") and self.following <= self.planned
        batch, set_by, _ = self.decide(self.following, soon=True)
        last = len(self.epochs)
        return {
            "run_id": self.run_id,
            "run_at": self.run_at,
            "state": self.state,
            "task_state": {"training": "running", "trained": "success", "failed": "failed"}.get(
                self.state
            ),
            "try_number": 1 + len(self.resumed),
            "attempt": f"{self.seed:08x}",
            "begun": self.begun if last or self.state == "training" else None,
            "ended": self.ended,
            "epoch": last + 1 if self.state == "training" else last or None,
            "epochs_planned": self.planned,
            "last_epoch": last or None,
            "schedule": self.schedule,
            "learning_rate": self.learning_rate,
            "params": self.params,
            "resumed": self.resumed,
            "ended_by": self.ended_by,
            "best_epoch": self.best_epoch,
            "message": self.message,
            "next_batch": {"epoch": self.following, "batch": batch, "set_by": set_by}
            if live
            else None,
            "changes": self.changes,
            "epochs": [one for one in self.epochs if since is None or one["at"] > since],
        }


class PlayedTraining:
    """The trainings of one graph: runs by operator, the newest first."""

    def __init__(self, operators: dict[str, list[PlayedTrainingRun]], planned: int = 12) -> None:
        self.operators, self.planned = operators, planned
        self.schedule = steps()
        self.read_only = False
        self.lock = threading.RLock()

    def view(self, operator: str | None, query: dict[str, str]) -> dict[str, Any]:
        since = float(query["since"]) if "since" in query else None
        most = int(query.get("runs", 10))
        with self.lock:
            now = time.time()
            for runs in self.operators.values():
                for run in runs:
                    run.advance(now)
            live = any(run.state == "training" for runs in self.operators.values() for run in runs)
            return {
                "cursor": f"{now - 5:.6f}",
                "poll_ms": 500 if live else 10_000,
                "operators": [
                    self._operator(name, since, most)
                    for name in self.operators
                    if operator in (None, name)
                ],
            }

    def _operator(self, name: str, since: float | None, most: int) -> dict[str, Any]:
        runs = self.operators[name][:most]
        fresh = [
            run
            for run in runs
            if since is None or run.state == "training" or (run.ended or 0) > since
        ]
        views = [run.view(since) for run in fresh]
        return {
            "operator": name,
            "task_id": f"train.{name}",
            "function": "models.digits:train",
            "epochs": self.planned,
            "schedule": self.schedule,
            "learning_rate": 0.08,
            "early_stop": METRIC,
            "dataset": "data/digits.npz",
            "params": {"hidden": "64"},
            "metrics": ["loss", "accuracy"] if any(view["epochs"] for view in views) else [],
            "runs": views,
        }

    def change(self, operator: str, body: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            if self.read_only:
                raise RefusedError(
                    HTTPStatus.FORBIDDEN,
                    "forbidden",
                    "You may see this graph, not change it. Ask for can_edit on HOGAR.",
                )
            run = next((r for r in self.operators[operator] if r.state == "training"), None)
            if run is None:
                raise RefusedError(
                    HTTPStatus.CONFLICT, "not_training", f"No run of {operator} trains."
                )
            run.advance(time.time())
            epoch = body.get("from_epoch") or run.following
            if epoch < run.following:
                raise RefusedError(
                    HTTPStatus.CONFLICT,
                    "epoch_has_begun",
                    f"Epoch {epoch} has begun already; the next is {run.following}.",
                )
            change = made("maria", run.decide(epoch, soon=True)[0], body.get("batch"), epoch)
            change["only"] = bool(body.get("only"))
            run.changes.append(change)
            return change


def made(who: str, before: int, after: int | None, epoch: int, at: float = 0.0) -> dict[str, Any]:
    """A change of the batch size."""
    return {
        "id": uuid.uuid4().hex[:16],
        "at": at or time.time(),
        "who": who,
        "from": before,
        "to": after,
        "from_epoch": epoch,
        "only": False,
        "effective_epoch": None,
    }


def steps(*more: tuple[int, int]) -> list[dict[str, int]]:
    """A schedule; the usual one without arguments."""
    return [{"epoch": e, "batch": b} for e, b in more or ((1, 32), (5, 64))]


def training(seconds: float = 6.0) -> PlayedTraining:
    """One operator in its fifth epoch, after two earlier runs; another one whose training failed,
    after one that was stopped early. ``seconds`` is what an epoch of the live one lasts."""
    now = time.time()
    day = 86_400.0

    def run(at: float, state: str, **more: Any) -> PlayedTrainingRun:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(at))
        settings = {"planned": 12, "schedule": steps()} | more
        return PlayedTrainingRun(f"manual__{moment}", at, state, **settings)

    live = run(now - 4.4 * seconds - 2, "training", seconds=seconds, seed=3)
    live.changes = [made("maria", 32, 48, 3, now - 2.6 * seconds)]
    live.play(4)
    before = run(now - day, "trained", seed=2, ended_by="epochs", best_epoch=11, seconds=0.7)
    before.resumed = [{"epoch": 6, "at": now - day + 9, "try_number": 2}]
    before.changes = [made("ann (airflow hogar training)", 64, 128, 7, now - day + 8)]
    before.play(12)
    first = run(
        now - 3 * day,
        "trained",
        seed=1,
        ended_by="early-stop",
        best_epoch=6,
        schedule=steps((1, 16)),
        learning_rate=0.2,
        seconds=0.9,
    ).play(9)
    failed = run(
        now - 7200,
        "failed",
        seed=4,
        message="The function raised MemoryError: 2.1 GiB could not be allocated.",
    ).play(3)
    whole = run(now - 2 * day, "trained", seed=5, ended_by="early-stop", best_epoch=7).play(10)
    return PlayedTraining({"Classifier": [live, before, first], "Encoder": [failed, whole]})


def trained() -> PlayedTraining:
    """Trainings that are over: one skipped after one that was resumed; one that never was."""
    played = training()
    live, before, first = played.operators["Classifier"]
    live.state, live.epochs, live.changes = "unchanged", [], []
    live.message = (
        "Nothing that the training depends on has changed, so the model that there is is used; "
        "the run's parameter 'retrain' trains it all the same."
    )
    return PlayedTraining({"Classifier": [live, before, first], "Ranker": []})
