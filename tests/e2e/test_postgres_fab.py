"""Airflow as people run it in earnest: PostgreSQL, LocalExecutor, FabAuthManager, and its processes
started one by one."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from earg.client import NoAgentError, connect
from earg.images import implementation_of, read_images
from tests.e2e.postgres import postgres
from tests.hogar_provider.airflows import AirflowCommand
from tests.hogar_provider.folders import LOADERS, MODELS, ROOT, chain

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

USER, PASSWORD = "ann", "not-a-secret-of-anybody"
PROCESSES = ("api-server", "scheduler", "dag-processor", "triggerer")

START_TIMEOUT, PARSE_TIMEOUT, RUN_TIMEOUT, STOP_TIMEOUT = 240.0, 120.0, 180.0, 60.0
"""Seconds for a machine that does much else; alone the whole file takes about one minute."""


@dataclass
class Service:
    """A running Airflow: its command line, its processes, its REST API at ``url``."""

    airflow: AirflowCommand
    url: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    token: str = ""

    def start(self) -> None:
        """Start every process and wait until all of them are healthy."""
        for name in PROCESSES:
            with (self.airflow.home / f"{name}.log").open("wb") as log:
                self.processes[name] = subprocess.Popen(
                    [sys.executable, "-m", "airflow", name],
                    env=self.airflow.variables(),
                    cwd=self.airflow.home,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        self.wait(self._is_healthy, START_TIMEOUT, "Airflow is healthy")
        login = {"username": USER, "password": PASSWORD}
        self.token = self.call("POST", "/auth/token", login)["access_token"]

    def _is_healthy(self) -> bool:
        try:
            health = self.call("GET", "/api/v2/monitor/health")
        except OSError:
            return False
        return {part.get("status") for part in health.values()} == {"healthy"}

    def wait(self, condition: Any, seconds: float, what: str) -> None:
        """Wait until the condition holds, as long as every process runs."""
        deadline = time.monotonic() + seconds
        while not condition():
            for name, process in self.processes.items():
                assert process.poll() is None, f"{name} has ended:\n{self.log(name)}"
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}\n" + "\n".join(
                f"{name}:\n{self.log(name)}" for name in PROCESSES
            )
            time.sleep(0.5)

    def log(self, name: str) -> str:
        """The end of what a process has written."""
        path = self.airflow.home / f"{name}.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON that the API answers; OSError where it does not answer well."""
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        tries = 0
        while True:
            tries += 1
            try:
                with opener.open(request, timeout=60) as reply:
                    return json.load(reply)
            except urllib.error.HTTPError as error:
                if error.code != 500:
                    raise
                told = f"{error.read().decode(errors='replace')}\n{self.log('api-server')}"
                # Four processes write one SQLite file, which waits no longer than 5 s for another.
                if "locked" not in told or tries == 6:
                    error.add_note(f"{method} {path}: 500 {told}")
                    raise
                time.sleep(1)

    def has_dag(self, dag_id: str) -> bool:
        """Whether the DAG is there."""
        try:
            return bool(self.call("GET", f"/api/v2/dags/{dag_id}"))
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return False

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str | None:
        """Run a DAG to its success; the run's note."""
        self.wait(lambda: self.has_dag(dag_id), PARSE_TIMEOUT, f"there is a DAG {dag_id}")
        body = {"logical_date": None, "conf": conf or {}}
        run = self.call("POST", f"/api/v2/dags/{dag_id}/dagRuns", body)
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run['dag_run_id']}"

        def ended() -> bool:
            return self.call("GET", path)["state"] in ("success", "failed")

        self.wait(ended, RUN_TIMEOUT, f"the run of {dag_id} ends")
        tasks = self.call("GET", f"{path}/taskInstances")["task_instances"]
        states = {task["task_id"]: task["state"] for task in tasks}
        assert set(states.values()) == {"success"}, (states, self.log("scheduler"))
        note: str | None = self.call("GET", path)["note"]
        return note

    def stop(self) -> dict[str, int]:
        """End every process as a service manager does; the processes that had to be killed."""
        killed = {}
        for process in self.processes.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT
        for name, process in self.processes.items():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                killed[name] = process.pid
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            process.wait()
        return killed


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An Airflow on a PostgreSQL of its own, with a user of FAB's and a graph of two operators."""
    import socket

    home = tmp_path_factory.mktemp("airflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with postgres() as database:
        settings = {
            "DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2:{database}",
            "CORE__AUTH_MANAGER": "airflow.providers.fab.auth_manager.fab_auth_manager"
            ".FabAuthManager",
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": "2",
            "CORE__TEST_CONNECTION": "Enabled",
            "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
            "API__HOST": "127.0.0.1",
            "API__PORT": str(port),
            "API__BASE_URL": url,
            "API__SECRET_KEY": secrets.token_hex(32),
            "API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "DAG_PROCESSOR__PARSING_PROCESSES": "1",
            "DAG_PROCESSOR__REFRESH_INTERVAL": "10",
            "LOGGING__WORKER_LOG_SERVER_PORT": "0",
            "LOGGING__TRIGGER_LOG_SERVER_PORT": "0",
            "TRIGGERER__DEFAULT_CAPACITY": "10",
            # A task whose API server is slow to answer, as on a machine that does much else, fails.
            "WORKERS__EXECUTION_API_TIMEOUT": "60",
        }
        variables = {f"AIRFLOW__{name}": value for name, value in settings.items()}
        airflow = AirflowCommand(home, variables)
        airflow.dags.mkdir()
        undeploy = ROOT / "dags/hogar_undeploy.py"
        for file in (*LOADERS, undeploy, *MODELS.glob("*.*")):
            shutil.copy(file, airflow.dags)
        text = chain("Small", "test/upper:1", "test/backwards:1")
        (airflow.dags / "small.udgl").write_text(text)
        airflow.run("db", "migrate")
        airflow.run(
            *("users", "create", "-u", USER, "-p", PASSWORD, "-r", "Admin"),
            *("-f", "Ann", "-l", "Other", "-e", "ann@example.org"),
        )
        service = Service(airflow, url)
        try:
            service.start()
            yield service
        finally:
            killed = service.stop()
            try:
                with connect(airflow.earg, start=False) as client:
                    client.shutdown()
            except NoAgentError:
                pass
        assert killed == {}


def test_a_triggered_graph_serves_and_a_triggered_undeploy_takes_it_down(service: Service) -> None:
    assert service.trigger("Small") == "The graph was not deployed before."
    with connect(service.airflow.earg, start=False) as client:
        (graph,) = client.graphs()
    request = urllib.request.Request(
        f"{graph.url}/predict", b"hogar", {"Content-Type": "text/plain"}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        assert reply.read() == b"RAGOH"
    ((row,),) = service.airflow.rows("hogar status")
    assert (row["state"], row["dag_id"], row["orphaned"]) == ("serving", "Small", "False")

    assert service.trigger("hogar_undeploy", {"graph": "Small"}) is None
    images = MODELS / "images.yaml"
    implementation = implementation_of("test/upper:1", read_images(images), images)
    with connect(service.airflow.earg, start=False) as client:
        assert client.graphs() == ()
        client.deploy_node("Stray", "1", "1\n0\nA,1,test/upper:1,false,1\n", 1, implementation)
        ((row,),) = service.airflow.rows("hogar status")
        assert (row["graph"], row["dag_id"], row["orphaned"]) == ("Stray", "", "True")
        client.down("Stray")


def test_nothing_of_the_dags_folder_is_an_import_error(service: Service) -> None:
    service.wait(lambda: service.has_dag("Small"), PARSE_TIMEOUT, "there is a DAG Small")
    assert service.call("GET", "/api/v2/importErrors")["total_entries"] == 0
    assert "No data found" in service.airflow.start("dags", "list-import-errors").stdout


def test_the_connection_form_has_our_fields_and_its_test_tells_of_the_agent(
    service: Service,
) -> None:
    kinds = service.call("GET", "/ui/connections/hook_meta")
    (earg,) = (kind for kind in kinds if kind["connection_type"] == "earg")
    assert earg["hook_name"] == "EARG"
    assert set(earg["extra_fields"]) == {"engine", "home", "start"}
    assert earg["extra_fields"]["start"]["schema"]["type"] == "boolean"
    shown = {name for name, how in earg["standard_fields"].items() if how and not how.get("hidden")}
    assert shown <= {"description", "password", "extra"}
    assert earg["standard_fields"]["password"]["title"] == "Token"

    folder = service.airflow.home / "elsewhere"
    body = {"connection_id": "earg_new", "conn_type": "earg"}
    tested = service.call(
        "POST", "/api/v2/connections/test", body | {"extra": json.dumps({"home": str(folder)})}
    )
    assert tested["status"] is True
    assert f"No agent runs in {folder} yet" in tested["message"]
    tested = service.call(
        "POST", "/api/v2/connections/test", body | {"extra": json.dumps({"home": "here"})}
    )
    assert tested["status"] is False
    assert "'home' must be an absolute path" in tested["message"]
