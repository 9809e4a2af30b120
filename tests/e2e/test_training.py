"""A training in a real Airflow: watched, changed while it runs, killed, and kept."""

from __future__ import annotations

import json
import os
import shutil
import signal
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import psutil
import pytest

from earg.client import connect
from tests.e2e.sqlite_service import airflow_on_sqlite, started
from tests.e2e.test_airflow_tasks import finish, log, xcom
from tests.e2e.test_postgres_fab import PARSE_TIMEOUT, RUN_TIMEOUT, USER, Service
from tests.hogar_provider.folders import LOADERS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

GRAPH = """\
meta
name Learns
version 1

operator Ear
version 1, image test/ear:1
operator Learner
version 1, image test/learner:1, batch 8
train learner:train, epochs 6
param gate={gate}

flow
distribute
Ear -> Learner
"""

IMAGES = """\
test/ear:1: {entrypoint: "learner:Ear"}
test/learner:1: {entrypoint: "learner:Learner"}
"""

LEARNER = '''\
"""A model that is the batch sizes of its epochs. An epoch lasts until its number is admitted."""

import json
import os
import time
from pathlib import Path


def train(ctx):
    sizes = json.loads(ctx.restore() or b"[]")
    print("the function says so itself")
    for epoch in ctx.epochs():
        while int(Path(ctx.params["gate"]).read_text() or 0) < epoch:
            time.sleep(0.05)
        sizes.append(ctx.batch_size)
        ctx.report(loss=1 / epoch, samples=100, pid=os.getpid(), task=os.getppid())
        ctx.checkpoint(json.dumps(sizes).encode())
    return json.dumps(sizes).encode()


class Ear:
    def predict(self, request):
        return request


class Learner:
    def __init__(self):
        self.sizes = json.loads(Path(os.environ["HOGAR_ARTIFACT"], "model").read_bytes())

    def predict(self, request):
        return self.sizes
'''

TRAINING = "/hogar/api/v1/dags/Learns/training"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An Airflow on SQLite with a graph of two operators, one of which is trained."""
    service = airflow_on_sqlite(tmp_path_factory.mktemp("airflow"))
    airflow = service.airflow
    airflow.dags.mkdir()
    for file in LOADERS:
        shutil.copy(file, airflow.dags)
    (airflow.home / "gate").write_text("2")
    (airflow.dags / "learner.py").write_text(LEARNER)
    (airflow.dags / "images.yaml").write_text(IMAGES)
    (airflow.dags / "learns.udgl").write_text(GRAPH.format(gate=airflow.home / "gate"))
    with started(service, lambda: admit(service, 1000)):
        yield service


def admit(service: Service, epoch: int) -> None:
    """Let all epochs up to this one end."""
    new = service.airflow.home / "gate.new"
    new.write_text(str(epoch))
    new.replace(service.airflow.home / "gate")


def begin(service: Service, conf: dict[str, Any] | None = None) -> str:
    service.wait(lambda: service.has_dag("Learns"), PARSE_TIMEOUT, "there is a DAG")
    body = {"logical_date": None, "conf": conf or {}}
    run = service.call("POST", "/api/v2/dags/Learns/dagRuns", body)
    return f"/api/v2/dags/Learns/dagRuns/{run['dag_run_id']}"


def trainings(service: Service, query: str = "") -> list[dict[str, Any]]:
    """The runs of the one trained operator, the newest first."""
    (operator,) = service.call("GET", TRAINING + query)["operators"]
    assert operator["operator"] == "Learner"
    runs: list[dict[str, Any]] = operator["runs"]
    return runs


def wait_for_epoch(service: Service, epoch: int) -> dict[str, Any]:
    """Wait until that epoch runs; the newest run then."""

    def reached() -> bool:
        runs = trainings(service)
        return bool(runs) and runs[0]["state"] == "training" and runs[0]["epoch"] == epoch

    service.wait(reached, RUN_TIMEOUT, f"epoch {epoch} runs")
    return trainings(service)[0]


def refusal(service: Service, body: dict[str, Any]) -> tuple[int, str]:
    with pytest.raises(HTTPError) as refused:
        service.call("PUT", f"{TRAINING}/Learner/batch", body)
    return refused.value.code, json.load(refused.value)["error"]["code"]


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def replies(service: Service) -> Any:
    with connect(service.airflow.earg, start=False) as client:
        (graph,) = client.graphs()
    request = urllib.request.Request(
        f"{graph.url}/predict", b"{}", {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def sizes_of(run: dict[str, Any]) -> list[int]:
    return [epoch["batch"] for epoch in run["epochs"]]


def test_a_training_is_changed_while_it_runs_and_goes_on_after_its_task_was_killed(
    service: Service,
) -> None:
    path = begin(service)
    run = wait_for_epoch(service, 3)
    assert [epoch["metrics"]["loss"] for epoch in run["epochs"]] == [1, 1 / 2]
    assert sizes_of(run) == [8, 8]
    assert (run["next_batch"], run["last_epoch"]) == (
        {"epoch": 4, "batch": 8, "set_by": "schedule"},
        2,
    )
    cursor = service.call("GET", TRAINING)["cursor"]

    # In the middle: by the API for the next epoch, by the command line for a later one.
    change = service.call("PUT", f"{TRAINING}/Learner/batch", {"batch": 64})
    assert (change["from"], change["to"], change["from_epoch"]) == (8, 64, 4)
    assert (change["who"], change["effective_epoch"]) == (USER, None)
    ((row,),) = service.airflow.rows(
        "hogar training Learns --operator Learner --batch 96 --from-epoch 5"
    )
    assert (row["from"], row["to"], row["from_epoch"]) == ("64", "96", "5")
    assert refusal(service, {"batch": 64, "from_epoch": 3}) == (409, "epoch_has_begun")
    assert refusal(service, {"batch": 64, "from_epoch": 7}) == (422, "invalid_request")
    assert trainings(service)[0]["next_batch"] == {"epoch": 4, "batch": 64, "set_by": USER}

    # Killed as by the kernel: the function's process ends with its task, and the retry goes on.
    own, task = (int(run["epochs"][-1]["metrics"][name]) for name in ("pid", "task"))
    assert psutil.Process(own).ppid() == task
    os.kill(task, signal.SIGKILL)
    service.wait(lambda: not alive(own), 30, "the end of the function's process")
    service.wait(
        lambda: trainings(service)[0]["try_number"] == 2 and trainings(service)[0]["epoch"] == 3,
        RUN_TIMEOUT,
        "the retry",
    )
    assert wait_for_epoch(service, 3)["attempt"] == run["attempt"]
    admit(service, 6)
    assert set(finish(service, path).values()) == {"success"}

    (run,) = trainings(service)
    assert (run["state"], run["ended_by"], run["last_epoch"]) == ("trained", "epochs", 6)
    assert sizes_of(run) == [8, 8, 8, 64, 96, 96]
    assert [epoch["try_number"] for epoch in run["epochs"]] == [1, 1, 2, 2, 2, 2]
    assert [(one["epoch"], one["try_number"]) for one in run["resumed"]] == [(2, 2)]
    assert [change["effective_epoch"] for change in run["changes"]] == [4, 5]
    by_api, by_command = run["changes"]
    assert [epoch["change"] for epoch in run["epochs"]] == [
        *(None, None, None, by_api["id"], by_command["id"], by_command["id"]),
    ]
    assert run["epochs"][3]["batch_set_by"] == USER
    assert "airflow hogar training" in run["epochs"][4]["batch_set_by"]
    assert all(epoch["samples_per_s"] and epoch["memory_bytes"] for epoch in run["epochs"])
    assert run["next_batch"] is None
    # What is asked for since then is what has happened since then.
    (newer,) = trainings(service, f"?since={cursor}")
    assert {epoch["epoch"] for epoch in newer["epochs"]} >= {3, 4, 5, 6}
    assert newer["last_epoch"] == 6
    assert refusal(service, {"batch": 64}) == (409, "not_training")

    assert replies(service) == [8, 8, 8, 64, 96, 96]
    text = service.call("GET", f"{path}/taskInstances/train.Learner/logs/2?full_content=true")[
        "content"
    ]
    lines = [str(line.get("event", "")) for line in text]
    assert sum(line.startswith("epoch ") for line in lines) == 4
    assert "the function says so itself" in lines
    assert any(line.startswith("epoch 4/6: loss 0.25") and "batch 64 (" in line for line in lines)
    entries = service.call("GET", "/api/v2/eventLogs?event=hogar_training_batch")["event_logs"]
    said = [json.loads(entry["extra"]) for entry in sorted(entries, key=lambda e: e["when"])]
    assert [(entry["from"], entry["to"], entry["from_epoch"]) for entry in said] == [
        *((8, 64, 4), (64, 96, 5)),
    ]
    assert {entry["dag_id"] for entry in entries} == {"Learns"}


def test_figures_outlive_airflow_and_a_model_is_not_trained_twice(service: Service) -> None:
    before = trainings(service)
    assert service.stop() == {}
    service.token = ""
    service.start()
    assert trainings(service) == before

    path = begin(service)
    found = finish(service, path)
    assert found.pop("train.Learner") == "skipped"
    assert set(found.values()) == {"success"}
    unchanged, first = trainings(service)
    assert (unchanged["state"], unchanged["epochs"]) == ("unchanged", [])
    assert "retrain" in unchanged["message"]
    assert first == before[0]
    assert "unchanged" in log(service, path, "deploy.Learner")

    path = begin(service, {"retrain": ["Learner"]})
    assert set(finish(service, path).values()) == {"success"}
    assert xcom(service, path, "wire", "changes")["Learner"] != "unchanged"
    assert [sizes_of(run) for run in trainings(service)] == [[8] * 6, [], sizes_of(first)]
    assert replies(service) == [8] * 6

    newest, _, oldest = service.airflow.rows("hogar training Learns")[0]
    assert (newest["epoch"], newest["batch"], oldest["batch"]) == ("6/6", "8", "96")
    (epochs,) = service.airflow.rows("hogar training Learns --operator Learner --epochs")
    assert [row["epoch"] for row in epochs] == list("123456")
    (refused,) = service.airflow.refusals("hogar training Learns --operator Ear")
    assert "it trains Learner" in refused


def test_a_training_that_is_stopped_leaves_what_serves_alone_and_cleared_it_goes_on(
    service: Service,
) -> None:
    served = replies(service)
    admit(service, 1)
    path = begin(service, {"retrain": ["Learner"]})
    run = wait_for_epoch(service, 2)
    own = int(run["epochs"][0]["metrics"]["pid"])
    task = f"{path}/taskInstances/train.Learner"
    service.call("PATCH", task, {"new_state": "failed"})
    service.wait(lambda: not alive(own), 60, "the end of the function's process")
    found = finish(service, path)
    assert found["deploy.Ear"] == found["deploy.Learner"] == "upstream_failed"
    assert replies(service) == served
    assert trainings(service)[0]["state"] == "failed"

    admit(service, 6)
    body = {
        "dag_run_id": path.rpartition("/")[2],
        "task_ids": ["train.Learner"],
        "include_downstream": True,
        "only_failed": False,
        "dry_run": False,
    }
    service.call("POST", "/api/v2/dags/Learns/clearTaskInstances", body)
    service.wait(
        lambda: trainings(service)[0]["state"] == "trained", RUN_TIMEOUT, "the cleared training"
    )
    assert set(finish(service, path).values()) == {"success"}
    run = trainings(service)[0]
    assert [one["epoch"] for one in run["resumed"]] == [1]
    assert [epoch["epoch"] for epoch in run["epochs"]] == [1, 2, 3, 4, 5, 6]
