"""The tasks of a graph in a real Airflow: its scheduler, triggerer, assets and REST API."""

from __future__ import annotations

import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import psutil
import pytest

from earg.client import AgentClient, connect
from tests.e2e.sqlite_service import airflow_on_sqlite, started
from tests.e2e.test_postgres_fab import PARSE_TIMEOUT, RUN_TIMEOUT, Service
from tests.hogar_provider.folders import LOADERS, MODELS, chain

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

GRAPH = "Small"

CONSUMER = '''\
"""A DAG of somebody's own that runs whenever the graph serves anew."""

from airflow.sdk import DAG, Asset

from hogar_provider.operators.send import SendRequestOperator
from hogar_provider.sensors.graph import GraphHealthySensor

with DAG("consumer", schedule=[Asset("earg://Small")], is_paused_upon_creation=False):
    healthy = GraphHealthySensor(task_id="healthy", graph="Small", deferrable=True, timeout=120)
    smoke = SendRequestOperator(task_id="smoke", graph="Small", text="up", equals="warm up")
    healthy >> smoke
'''


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An Airflow on SQLite, with a graph whose model warms up until it is told to be warm, and a
    DAG that is scheduled on the graph."""
    service = airflow_on_sqlite(tmp_path_factory.mktemp("airflow"))
    airflow = service.airflow
    airflow.dags.mkdir()
    for file in (*LOADERS, *MODELS.glob("*.*")):
        shutil.copy(file, airflow.dags)
    (airflow.dags / "small.udgl").write_text(chain(GRAPH, "test/warmsup:1"))
    (airflow.dags / "consumer.py").write_text(CONSUMER)
    with started(service, lambda: warm(service)):
        yield service


def warm(service: Service) -> None:
    """The model is warm from now on."""
    (service.airflow.dags / "warm").write_text("yes")


def begin(service: Service, conf: dict[str, Any] | None = None) -> str:
    """Trigger the graph's DAG; the path of the run."""
    for dag_id in (GRAPH, "consumer"):
        service.wait(lambda d=dag_id: service.has_dag(d), PARSE_TIMEOUT, f"there is a DAG {dag_id}")
    body = {"logical_date": None, "conf": conf or {}}
    run = service.call("POST", f"/api/v2/dags/{GRAPH}/dagRuns", body)
    return f"/api/v2/dags/{GRAPH}/dagRuns/{run['dag_run_id']}"


def states(service: Service, path: str) -> dict[str, str]:
    tasks = service.call("GET", f"{path}/taskInstances")["task_instances"]
    return {task["task_id"]: task["state"] for task in tasks}


def finish(service: Service, path: str) -> dict[str, str]:
    """Wait until the run has ended; the states of its tasks."""

    def ended() -> bool:
        return service.call("GET", path)["state"] in ("success", "failed")

    service.wait(ended, RUN_TIMEOUT, f"{path} ends")
    return states(service, path)


def log(service: Service, path: str, task_id: str) -> str:
    """A task's log."""
    found = service.call("GET", f"{path}/taskInstances/{task_id}/logs/1?full_content=true")
    return "\n".join(str(line.get("event", "")) for line in found["content"])


def xcom(service: Service, path: str, task_id: str, key: str) -> Any:
    return service.call("GET", f"{path}/taskInstances/{task_id}/xcomEntries/{key}")["value"]


def children(client: AgentClient) -> list[psutil.Process]:
    return psutil.Process(client.hello()[1]).children(recursive=True)


def events(service: Service) -> list[dict[str, Any]]:
    """The events of assets."""
    found: list[dict[str, Any]] = []

    def answers() -> bool:
        try:
            found[:] = service.call("GET", "/api/v2/assets/events")["asset_events"]
        except HTTPError as error:
            # Airflow 3.3 does so while a run that an event has created has not started.
            if error.code != 500:
                raise
            return False
        return True

    service.wait(answers, RUN_TIMEOUT, "the assets' events")
    return found


def consumed(service: Service) -> list[str]:
    """The states of the runs of the DAG that is scheduled on the graph."""
    runs = service.call("GET", "/api/v2/dags/consumer/dagRuns")["dag_runs"]
    return [run["state"] for run in runs]


def wait_until_deferred(service: Service, path: str) -> None:
    service.wait(
        lambda: states(service, path)["deploy.A"] == "deferred", RUN_TIMEOUT, "a deferred deploy"
    )


def test_a_task_that_is_marked_failed_while_it_waits_ends_what_was_starting(
    service: Service,
) -> None:
    path = begin(service)
    wait_until_deferred(service, path)
    with connect(service.airflow.earg, start=False) as client:
        assert children(client)
        task = f"{path}/taskInstances/deploy.A"
        service.call("PATCH", task, {"new_state": "failed"})
        service.wait(lambda: not children(client), 120, "end of the processes")
    assert finish(service, path)["serve"] == "upstream_failed"
    assert events(service) == []


def test_a_warm_up_holds_no_worker_and_a_dag_scheduled_on_the_graph_runs_when_it_serves(
    service: Service,
) -> None:
    path = begin(service)
    wait_until_deferred(service, path)
    # Nothing runs meanwhile: neither this task nor any other.
    assert "running" not in states(service, path).values()
    warm(service)
    assert set(finish(service, path).values()) == {"success"}

    with connect(service.airflow.earg, start=False) as client:
        (graph,) = client.graphs()
    (event,) = events(service)
    assert event["uri"].rstrip("/") == "earg://Small"
    wanted = {"graph": "Small", "version": "1", "url": graph.url}
    assert wanted.items() <= event["extra"].items()
    service.wait(lambda: consumed(service) == ["success"], RUN_TIMEOUT, "the consumer's run")

    assert "started as version 1" in log(service, path, "deploy.A")
    assert "A | " in log(service, path, "deploy.A")
    links = service.call("GET", f"{path}/taskInstances/probe.A/links")["extra_links"]
    assert set(links) == {"Live view", "Node log", "Metrics"}
    assert links["Node log"] == f"{service.url}/dags/Small/plugin/hogar#hogar?node=1&part=log"
    for name in ("Live view", "Metrics"):
        with urllib.request.urlopen(links[name], timeout=20) as page:
            assert page.status == 200


def test_another_run_says_that_nothing_has_changed_and_a_dry_run_updates_nothing(
    service: Service,
) -> None:
    with connect(service.airflow.earg, start=False) as client:
        before = children(client)
        path = begin(service)
        assert set(finish(service, path).values()) == {"success"}
        assert "unchanged" in log(service, path, "deploy.A")
        assert "the one that was deployed before" in log(service, path, "wire")
        assert xcom(service, path, "wire", "changes") == {"A": "unchanged"}
        assert {child.pid for child in children(client)} == {child.pid for child in before}
        updates = len(events(service))

        path = begin(service, {"dry_run": True, "redeploy": ["A"]})
        found = finish(service, path)
        assert found.pop("serve") == "skipped"
        assert set(found.values()) == {"success"}
        assert "Dry run: would replace A 1" in log(service, path, "deploy.A")
        assert len(events(service)) == updates
        assert {child.pid for child in children(client)} == {child.pid for child in before}


def test_a_run_with_params_that_make_no_sense_is_refused_at_once(service: Service) -> None:
    with pytest.raises(HTTPError, match="400"):
        begin(service, {"redeploy": ["B"]})


def test_a_changed_file_is_shown_as_a_difference(service: Service) -> None:
    file = Path(service.airflow.dags / "small.udgl")
    changed = file.read_text().replace("version 1, image", "version 2, batch 4, image")
    (service.airflow.dags / "new").write_text(changed)
    (service.airflow.dags / "new").replace(file)
    service.airflow.run("dags", "reserialize")
    path = begin(service)
    assert set(finish(service, path).values()) == {"success"}
    assert "replaced because version 1 -> 2" in log(service, path, "deploy.A")
    difference = "~ operator A: version 1 -> 2, batch 1 -> 4"
    assert difference in log(service, path, "wire")
    assert xcom(service, path, "wire", "difference") == difference
