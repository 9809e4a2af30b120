"""Airflow as people run it in earnest: PostgreSQL, LocalExecutor, FabAuthManager, an API server of
two workers, and its processes started one by one. The tests go in order."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from earg.client import NoAgentError, connect
from earg.images import implementation_of, read_images
from hogar_provider.plugins.api import agents, asking, listing
from tests.e2e.postgres import postgres
from tests.e2e.workers import Stream, WorkerClient, client_of_each, worker_of, workers
from tests.hogar_provider.airflows import AirflowCommand
from tests.hogar_provider.folders import LOADERS, MODELS, ROOT, chain
from tests.www.conftest import browser, built  # noqa: F401  fixtures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

USER, PASSWORD = "ann", "not-a-secret-of-anybody"
PROCESSES = ("api-server", "scheduler", "dag-processor", "triggerer")

OTHER = "Other"
"""A graph, and the connection of the agent that runs it, and that agent's folder."""

LEARNS = chain("Learns", "test/upper:1").replace(
    "image test/upper:1", "image test/upper:1, batch 8\ntrain small:train, epochs 6"
)
"""A graph that is trained: nothing of it ever runs here."""

SMALL = "/hogar/api/v1/dags/Small"

START_TIMEOUT, PARSE_TIMEOUT, RUN_TIMEOUT, STOP_TIMEOUT = 240.0, 120.0, 180.0, 60.0
"""Seconds for a machine that does much else; alone the whole file takes about two minutes."""

PATIENCE = 90_000
"""Milliseconds for what a page shows within some seconds."""

SLOW = 3.0
"""Seconds that a busy machine may add to an answer."""

LATELY = ("p50_ms", "p95_ms", "p99_ms", "queue_p95_ms", "compute_p95_ms")

LOOKED_AT = """() => {
  const app = document.querySelector("hogar-app");
  return app && app.live && app.live.view ? app.live.view.at : 0;
}"""
"""When the look was, that the page shows."""


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
def service(tmp_path_factory: pytest.TempPathFactory, built: None) -> Iterator[Service]:  # noqa: F811
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
            "API__WORKERS": "2",
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
        for name in ("Small", OTHER):
            text = chain(name, "test/upper:1", "test/backwards:1")
            (airflow.dags / f"{name.lower()}.udgl").write_text(text)
        (airflow.dags / "learns.udgl").write_text(LEARNS)
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
            for home in (airflow.earg, airflow.home / OTHER):
                with suppress(NoAgentError), connect(home, start=False) as client:
                    client.shutdown()
        assert killed == {}


def test_a_triggered_graph_serves(service: Service) -> None:
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


@pytest.fixture
def each(service: Service) -> Iterator[list[WorkerClient]]:
    """A client of each worker of the API server, signed in."""
    server = service.processes["api-server"].pid
    with client_of_each(server, service.url, service.token) as clients:
        assert len(clients) == 2, "two workers accept connections"
        yield list(clients.values())


def steady(view: dict[str, Any]) -> dict[str, Any]:
    """What of a view of a graph is the same a moment later if nothing happens. Of figures of the
    last half minute it is whether there are any."""
    nodes = []
    for node in view["nodes"]:
        lately = {name: node[name] is not None for name in LATELY}
        batch = {name: node["batch"][name] for name in ("limit", "set_by", "declared")}
        moving = dict.fromkeys(("cpu", "memory", "lag_ms"))
        nodes.append(node | lately | moving | {"batch": batch})
    return view | {"at": 0, "nodes": nodes}


def looked_at(page: Page) -> float:
    """When the look was, that the page shows."""
    return float(page.evaluate(LOOKED_AT))


def alike(each: list[WorkerClient], path: str) -> Any:
    """What both workers answer."""
    first, second = (one.call("GET", path) for one in each)
    assert first == second, path
    return first


def test_both_workers_tell_the_same_of_a_graph(service: Service, each: list[WorkerClient]) -> None:
    first, second = each
    sent = [one.call("POST", f"{SMALL}/send", {"body": "hogar"}) for one in each]
    assert [one["body"] for one in sent] == ["RAGOH", "RAGOH"]

    def settled() -> bool:
        # Rates are means of the last seconds.
        return all(
            node["requests"] >= 3 and node["requests_per_second"] == 0
            for node in first.call("GET", f"{SMALL}/graph")["nodes"]
        )

    service.wait(settled, RUN_TIMEOUT, "the requests are counted and some seconds old")
    # The first one has looked for seconds, the second one never.
    one, other = (steady(client.call("GET", f"{SMALL}/graph")) for client in each)
    assert one == other
    summaries = alike(each, "/hogar/api/v1/graphs")["graphs"]
    assert [summary["name"] for summary in summaries] == ["Small"]

    traces = alike(each, f"{SMALL}/traces")["traces"]
    ids = {trace["trace_id"] for trace in traces}
    assert {said["traceparent"].split("-")[1] for said in sent} <= ids
    assert alike(each, f"{SMALL}/events")["events"]
    for index in (1, 2):
        histories = [
            client.call("GET", f"{SMALL}/nodes/{index}/history?seconds=600") for client in each
        ]
        counted = [sum(sample["requests"] for sample in one["samples"]) for one in histories]
        assert counted[0] == counted[1] >= 3
        assert histories[0]["total"] == histories[1]["total"]
        assert alike(each, f"{SMALL}/nodes/{index}/logs")["lines"]
    assert alike(each, f"{SMALL}/source")
    files = [one.send("GET", "/hogar/api/v1/openapi.json").read() for one in each]
    assert files[0] == files[1]

    # Who logs in at one worker is known to the other, and each asks for permissions.
    login = {"username": USER, "password": PASSWORD}
    token = first.call("POST", "/auth/token", login, 201)["access_token"]
    second.headers = {"Authorization": f"Bearer {token}"}
    assert second.call("GET", f"{SMALL}/graph")["name"] == "Small"
    for client in each:
        client.headers = {}
        refused = client.call("GET", f"{SMALL}/graph", status=401)
        assert refused["error"]["code"] == "not_authenticated"


def test_streams_of_both_workers_show_what_was_changed_through_either(
    service: Service, each: list[WorkerClient]
) -> None:
    server = service.processes["api-server"].pid
    pids = workers(server, service.url)
    with ExitStack() as stack:
        clients, landed = [], set()
        # Where a connection lands is the kernel's choice.
        while len(clients) < 6 or landed != pids:
            assert len(clients) < 18, f"all streams are with {landed} of {pids}"
            client = WorkerClient(service.url, service.token)
            stack.callback(client.close)
            clients.append((client, Stream(client, f"{SMALL}/stream")))
            landed.add(worker_of(client.connection, pids))
        followed = [(client, stream.messages()) for client, stream in clients]
        shared = ThreadPoolExecutor(len(followed))
        stack.callback(shared.shutdown)

        def limit_is(limit: int) -> list[str]:
            """Who set it, as each stream tells once it shows the limit."""

            def follow(messages: Iterator[tuple[str, int | None, Any]]) -> str:
                deadline = time.monotonic() + 40
                for event, _, view in messages:
                    if event == "graph" and view["nodes"][1]["batch"]["limit"] == limit:
                        return str(view["nodes"][1]["batch"]["set_by"])
                    assert time.monotonic() < deadline, f"limit {limit} is not shown"
                raise AssertionError("the stream has ended")

            return list(shared.map(follow, [messages for _, messages in followed]))

        changed = []
        for client, limit in zip(each, (4, 7), strict=True):
            before = changed[0] if changed else 1
            client.call("PUT", f"{SMALL}/nodes/2/batching", {"limit": limit})
            changed.insert(0, limit)
            changes = alike(each, f"{SMALL}/batching/changes")["changes"]
            assert [one["to"]["limit"] for one in changes] == changed
            newest = changes[0]
            assert (newest["node"], newest["from"]["limit"]) == ("B", before)
            assert newest["who"]
            assert newest["at"] > time.time() - 60
            (who,) = set(limit_is(limit))
            assert who == f"{newest['who']} in Airflow"
    for client in each:
        kept = client.call("GET", f"{SMALL}/graph")["nodes"][1]["batch"]
        assert (kept["limit"], kept["declared"]) == (7, 1)

    # A stream that goes on at the other worker misses no event and tells none twice.
    numbers = [one["number"] for one in alike(each, f"{SMALL}/events")["events"]]
    assert len(numbers) > 2
    for client in each:
        known = numbers[len(numbers) // 2]
        messages = Stream(client, f"{SMALL}/stream", known).messages()
        event, number, data = next(messages)
        assert (event, number) == ("events", numbers[-1])
        assert [one["number"] for one in data["events"]] == [n for n in numbers if n > known]


def test_a_training_is_controlled_through_either_worker(
    service: Service, each: list[WorkerClient]
) -> None:
    service.wait(lambda: service.has_dag("Learns"), PARSE_TIMEOUT, "there is a DAG")
    service.call("PATCH", "/api/v2/dags/Learns", {"is_paused": True})
    run = service.call("POST", "/api/v2/dags/Learns/dagRuns", {"logical_date": None})
    training = "/hogar/api/v1/dags/Learns/training"
    cursors = [client.call("GET", training)["cursor"] for client in each]
    for client, epoch, batch in zip(each, (2, 4), (16, 64), strict=True):
        order = {"batch": batch, "from_epoch": epoch}
        client.call("PUT", f"{training}/A/batch", order)
    for client, cursor in zip(each, reversed(cursors), strict=True):
        # The cursor is the other worker's.
        for path in (training, f"{training}?since={cursor}"):
            (operator,) = client.call("GET", path)["operators"]
            (waiting,) = operator["runs"]
            assert waiting["run_id"] == run["dag_run_id"]
            assert waiting["state"] == "waiting"
            assert [(one["from_epoch"], one["to"]) for one in waiting["changes"]] == [
                (2, 16),
                (4, 64),
            ]
    service.call("PATCH", f"/api/v2/dags/Learns/dagRuns/{run['dag_run_id']}", {"state": "failed"})


def test_an_agent_that_hangs_keeps_nobody_from_the_graphs_of_others(
    service: Service, each: list[WorkerClient]
) -> None:
    home = service.airflow.home / OTHER
    body = {"connection_id": OTHER, "conn_type": "earg", "extra": json.dumps({"home": str(home)})}
    service.call("POST", "/api/v2/connections", body)
    service.trigger(OTHER, {"earg_conn_id": OTHER})

    def states(client: WorkerClient) -> dict[str, str]:
        found = client.call("GET", "/hogar/api/v1/graphs")["graphs"]
        return {graph["name"]: graph["state"] for graph in found}

    for client in each:
        service.wait(
            lambda client=client: states(client) == {"Small": "ready", OTHER: "ready"},
            RUN_TIMEOUT,
            "both graphs are listed",
        )
    with connect(home, start=False) as agent:
        _, pid = agent.hello()
    os.kill(pid, signal.SIGSTOP)
    try:
        for client in each:
            # What was asked just before is told for two seconds.
            time.sleep(listing.FRESH)
            for patience in (listing.AGENTS_ANSWER, asking.GRACE, asking.GRACE):
                begun = time.monotonic()
                found = client.call("GET", "/hogar/api/v1/graphs")
                assert time.monotonic() - begun < patience + SLOW
                other, small = found["graphs"]
                assert (small["name"], small["state"]) == ("Small", "ready")
                assert small["requests_per_second"] is not None
                assert (other["name"], other["state"]) == (OTHER, "unknown")
                assert (other["dag_id"], other["nodes"]) == (OTHER, 2)
                assert str(home) in other["message"]
                assert found["message"] == other["message"]
                time.sleep(listing.FRESH)

        def told() -> bool:
            views = [client.call("GET", f"/hogar/api/v1/dags/{OTHER}/graph") for client in each]
            return all(view["state"] == "unknown" for view in views)

        service.wait(told, RUN_TIMEOUT, "the graph's own view tells that its agent hangs")
        view = each[0].call("GET", f"/hogar/api/v1/dags/{OTHER}/graph")
        assert (view["deployed"], view["reachable"]) == (False, False)
        assert re.search(r"The agent in \S+ runs, but has not answered for \d+ s", view["message"])
        assert [node["state"] for node in view["nodes"]] == ["unknown", "unknown"]
        # Once it is known to hang, who asks more of it does not wait for long.
        begun = time.monotonic()
        refused = each[0].call("GET", f"/hogar/api/v1/dags/{OTHER}/nodes/1/history", status=503)
        assert refused["error"]["code"] == "agent_hangs"
        assert time.monotonic() - begun < agents.PROBE + SLOW
    finally:
        os.kill(pid, signal.SIGCONT)
    for client in each:
        service.wait(
            lambda client=client: states(client) == {"Small": "ready", OTHER: "ready"},
            RUN_TIMEOUT,
            "both graphs are listed again",
        )


def test_a_killed_worker_costs_an_open_page_nothing_that_stays(
    service: Service,
    browser: Browser,  # noqa: F811
) -> None:
    server = service.processes["api-server"].pid
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        context.set_default_timeout(PATIENCE)
        context.add_cookies([{"name": "_token", "value": service.token, "url": service.url}])
        pages = [context.new_page() for _ in range(2)]
        for page, path in zip(
            pages, ("/dags/Small/plugin/hogar#hogar?node=2", "/plugin/hogar_graphs"), strict=True
        ):
            page.goto(service.url + path)
        graph, graphs = pages
        expect(graph.locator(".node.s-ready")).to_have_count(2, timeout=PATIENCE)
        expect(graph.locator("hogar-chart").first).to_be_visible(timeout=PATIENCE)
        # The page's stream is with one of the two.
        for pid in workers(server, service.url):
            left = workers(server, service.url) - {pid}
            seen = looked_at(graph)
            os.kill(pid, signal.SIGKILL)
            graph.wait_for_function(f"() => ({LOOKED_AT})() > {seen} + 2", timeout=PATIENCE)
            for page in pages:
                expect(page.locator("[role=alert]")).to_have_count(0, timeout=PATIENCE)
                expect(page.get_by_text("No news for")).to_have_count(0, timeout=PATIENCE)
            expect(graph.locator(".node.s-ready")).to_have_count(2)
            expect(graphs.get_by_role("link", name="Small")).to_be_visible()
            service.wait(
                lambda left=left: len(workers(server, service.url) - left) == 1,
                START_TIMEOUT,
                "another worker takes the place of the killed one",
            )
        seen = looked_at(graph)
        for _ in range(8):
            graph.wait_for_timeout(500)
            for page in pages:
                assert page.locator("[role=alert]").count() == 0
        assert looked_at(graph) > seen + 1


def test_a_triggered_undeploy_takes_a_graph_down(service: Service) -> None:
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
