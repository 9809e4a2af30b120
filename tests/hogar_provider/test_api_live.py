"""The API and a graph that runs: what viewers see of it, live, and what they change."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

import udgl
from earg.client import AgentClient, NoAgentError, connect
from earg.config import write_static
from earg.images import Implementation
from tests.hogar_provider.api_server import GRAPHS, SIMPLE, ApiServer, api_server
from udgl.targets.earg import to_static

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DAG = "/api/v1/dags/Shouts"
PATIENCE = 40.0
"""Seconds for what takes one or two; the machine may do much else."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One that runs, and stops its agent at the end."""
    folder = tmp_path_factory.mktemp("live") / "airflow"
    with api_server(folder, SIMPLE, "admin", "editor", "viewer") as made:
        made.start()
        yield made
        assert "Traceback" not in made.log.read_text()
        try:
            with connect(made.earg, start=False) as agent:
                agent.shutdown()
        except NoAgentError:
            pass


def deploy(agent: AgentClient, server: ApiServer, dag_id: str = "Shouts") -> str:
    """Deploy a graph as its DAG would; its URL."""
    graph = udgl.parse(GRAPHS[dag_id])
    config = to_static(graph)
    entrypoint = "small:Counter" if dag_id == "Counts" else "small:Upper"
    implementation = Implementation(entrypoint, str(server.home / "dags"), ())
    for index in range(1, len(config.nodes) + 1):
        agent.deploy_node(dag_id, "1", write_static(config), index, implementation)
    agent.wire(dag_id)
    return agent.serve(dag_id).url


@pytest.fixture
def agent(server: ApiServer) -> Iterator[AgentClient]:
    """The agent, with the graph Shouts deployed as it is declared."""
    with connect(server.earg) as client:
        if "Shouts" in {graph.name for graph in client.graphs()}:
            client.down("Shouts")
        deploy(client, server)
        yield client


@pytest.fixture
def editor(server: ApiServer, agent: AgentClient) -> Iterator[httpx.Client]:
    """Who may change the graph, once the API shows that it serves."""
    with server.client("editor") as client:
        eventually(lambda: client.get(f"{DAG}/graph").json()["state"] == "ready", "it is ready")
        yield client


def eventually(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """What ``condition`` is once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)
    return found


def ask(url: str, text: str = "hogar") -> str:
    request = urllib.request.Request(
        f"{url}/predict", text.encode(), {"Content-Type": "text/plain"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        return str(reply.read().decode())


def messages(reply: httpx.Response) -> Iterator[tuple[str, Any]]:
    """The messages of a stream of server-sent events."""
    event, data = "", ""
    for line in reply.iter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            event = value
        elif name == "data":
            data = value
        elif not line and event:
            yield event, json.loads(data)
            event, data = "", ""


def test_a_graph_is_shown_with_its_nodes_flows_and_figures(
    editor: httpx.Client, agent: AgentClient
) -> None:
    url = agent.graph("Shouts").url
    for _ in range(30):
        ask(url)

    def counted() -> Any:
        view = editor.get(f"{DAG}/graph").json()
        return view if [node["requests"] for node in view["nodes"]] == [30, 30] else None

    view = eventually(counted, "30 requests are counted at both nodes")
    assert (view["deployed"], view["reachable"], view["url"]) == (True, True, url)
    assert view["message"] == ""
    first, second = view["nodes"]
    assert (first["name"], first["state"], first["drift"]) == ("A", "ready", [])
    assert first["declared"] == {
        "version": "1",
        "image": "test/upper:1",
        "batch": 1,
        "more": "",
    }
    assert abs(first["since"] - time.time()) < 300
    assert 0 < first["p50_ms"] <= first["p95_ms"] <= first["p99_ms"]
    assert first["memory"] > 1_000_000
    (pair,) = second["pairs"]
    assert (pair["role"], pair["state"]) == ("primary", "ready")
    assert pair["host"].startswith("127.")
    assert Path(f"/proc/{pair['model_pids'][0]}").exists()
    (flow,) = view["flows"]
    assert (flow["source"], flow["target"], flow["kind"]) == (1, 2, "distribute")

    def sampled() -> Any:
        history = editor.get(f"{DAG}/nodes/1/history?seconds=60").json()
        # The second that is under way has no sample yet.
        return history if sum(one["requests"] for one in history["samples"]) == 30 else None

    history = eventually(sampled, "the samples have 30 requests")
    assert sum(history["total"]["counts"]) == 30
    assert len(history["total"]["counts"]) == len(history["total"]["bounds_ms"]) + 1
    assert sum(history["batches"]["counts"]) > 0


def test_the_list_shows_graphs_of_dags_and_orphans(
    server: ApiServer, editor: httpx.Client, agent: AgentClient
) -> None:
    config = write_static(to_static(udgl.parse(GRAPHS["Idle"])))
    agent.deploy_node(
        "Forgotten", "1", config, 1, Implementation("small:Upper", str(server.home / "dags"), ())
    )
    try:

        def both() -> Any:
            found = editor.get("/api/v1/graphs").json()
            return found if len(found["graphs"]) == 2 else None

        found = eventually(both, "both graphs are listed")
        assert [(one["dag_id"], one["name"], one["orphaned"]) for one in found["graphs"]] == [
            ("Shouts", "Shouts", False),
            ("", "Forgotten", True),
        ]
        assert found["graphs"][0]["state"] == "ready"
        assert found["agent"]["pid"] == agent.hello()[1]
    finally:
        agent.down("Forgotten")


def test_viewers_of_a_graph_share_one_poll(
    server: ApiServer, editor: httpx.Client, agent: AgentClient
) -> None:
    """A look is known by its time: 8 streams see the same ones."""
    seen: list[list[float]] = [[] for _ in range(8)]
    together = threading.Barrier(8)

    def view(place: int) -> None:
        with server.client("viewer") as client, client.stream("GET", f"{DAG}/stream") as reply:
            together.wait(60)
            for event, data in messages(reply):
                if event == "graph":
                    seen[place].append(data["at"])
                    if len(seen[place]) == 5:
                        return

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(view, range(8)))
    times = sorted({at for one in seen for at in one})
    # Who comes later has up to one look more; each for itself would have made 40.
    assert len(times) <= 10, times
    # About one a second, for all of them together.
    assert all(later - earlier > 0.5 for earlier, later in pairwise(times))


def test_a_killed_model_is_seen_dying_and_coming_back(
    editor: httpx.Client, agent: AgentClient
) -> None:
    with editor.stream("GET", f"{DAG}/stream") as reply:
        killed = 0.0
        states: list[str] = []
        events: list[dict[str, Any]] = []
        for event, data in messages(reply):
            if event == "events":
                events += [one for one in data["events"] if killed and one["at"] >= killed]
                continue
            node = data["nodes"][0]
            if not killed and node["state"] not in ("ready", "busy"):
                # An earlier test's end may still go on.
                continue
            if not killed:
                killed = time.time()
                os.kill(node["pairs"][0]["model_pids"][0], signal.SIGKILL)
                continue
            if node["state"] != "ready" and not states:
                assert data["at"] - killed < 5
            states.append(node["state"])
            if node["state"] == "ready" and any(one["after"] == "ready" for one in events):
                break
    changes = [(one["before"], one["after"]) for one in events if one["node"] == "A"]
    changes = [change for change in changes if change[1]]
    # The log looks now and then: it may have missed how the node became ready before.
    assert changes[0][1] == "recovering"
    assert changes[-1][1] == "ready"
    numbers = [one["number"] for one in events]
    assert numbers == sorted(set(numbers))
    assert node["since"] >= killed - 1
    listed = editor.get(f"{DAG}/events?after={numbers[0] - 1}").json()["events"]
    assert [one["number"] for one in listed][: len(numbers)] == numbers


@pytest.fixture
def counts(server: ApiServer, agent: AgentClient) -> Iterator[str]:
    """The URL of a graph whose one node is stateful, once its backup holds the state."""
    yield deploy(agent, server, "Counts")
    agent.down("Counts")


def test_a_killed_stateful_primary_is_told_dead_and_its_backup_promoted_within_2_s(
    editor: httpx.Client, agent: AgentClient, counts: str
) -> None:
    """Three times, since other processes may hold up this test for a second: what is told is the
    same each time, and at least once it is told in time."""
    took = []
    with editor.stream("GET", "/api/v1/dags/Counts/stream") as reply:
        killed, whole = 0.0, False
        for event, data in messages(reply):
            if event != "graph":
                continue
            (node,) = data["nodes"]
            trouble = node["trouble"]
            if not killed:
                # Its backup holds the state, and the trouble before is over.
                if node["state"] == "ready" and (trouble is None or trouble["ended"]):
                    (primary,) = (one for one in node["pairs"] if one["role"] == "primary")
                    killed, whole = time.time(), False
                    os.kill(primary["model_pids"][0], signal.SIGKILL)
                continue
            if trouble is None or trouble["began"] < killed:
                assert time.time() - killed < PATIENCE
                continue
            steps = [one["what"] for one in trouble["steps"]]
            if not whole and any("its backup took over in" in what for what in steps):
                whole = True
                took.append(time.time() - killed)
                assert trouble["worst"] == "recovering"
                assert "was killed by SIGKILL" in trouble["why"]
                assert 0 <= trouble["began"] - killed < PATIENCE
            if whole and trouble["ended"]:
                assert "has a new backup" in steps
                assert ask(counts) != ""
                killed = 0.0
                if len(took) == 3:
                    break
    assert min(took) < 2, took


def test_a_nodes_history_tells_what_its_processes_use_and_outlives_its_primary(
    editor: httpx.Client, agent: AgentClient, counts: str
) -> None:
    for _ in range(10):
        ask(counts)
    history = "/api/v1/dags/Counts/nodes/1/history"

    def told(requests: int) -> Any:
        found = editor.get(history).json()
        return found if sum(one["requests"] for one in found["samples"]) == requests else None

    found = eventually(lambda: told(10), "ten requests are in the history")
    served = [one for one in found["samples"] if one["batches"]]
    assert all(sum(one["sizes"]) == one["batches"] for one in served)
    assert any(one["compute_p95_ms"] > 0 for one in served)
    # The agent has asked since, so that it knows what the primary did.
    time.sleep(5)
    (pair, _) = agent.graph("Counts").nodes[0].pairs
    os.kill(pair.proxy_pid, signal.SIGKILL)

    def failed_over() -> Any:
        view = editor.get("/api/v1/dags/Counts/graph").json()
        node = view["nodes"][0]
        return node["state"] == "ready" and node["trouble"] is not None

    eventually(failed_over, "its backup serves")
    after = eventually(lambda: told(10), "the ten requests are still there")
    assert len(after["samples"]) > len(found["samples"])
    usage = after["usage"]
    kinds = [(one["kind"], one["role"]) for one in usage["series"]]
    assert kinds == [(kind, role) for kind in ("model", "proxy") for role in ("backup", "primary")]
    assert len(usage["times"]) > 2
    for series in usage["series"]:
        assert len(series["cpu"]) == len(series["memory"]) == len(usage["times"])
        assert any(size and size > 2**20 for size in series["memory"])
        assert any(share is not None for share in series["cpu"])


def test_a_graph_is_shown_where_its_last_run_has_deployed_it(
    server: ApiServer, editor: httpx.Client
) -> None:
    """A run may name another connection than the DAG's default."""
    elsewhere = server.home / "elsewhere"
    extra = json.dumps({"home": str(elsewhere)})
    server.airflow(
        *("connections", "add", "elsewhere", "--conn-type", "earg", "--conn-extra", extra)
    )
    idle = "/api/v1/dags/Idle"

    def shown() -> Any:
        view = editor.get(f"{idle}/graph").json()
        return view if view["deployed"] else None

    try:
        assert shown() is None
        server.airflow("dags", "test", "Idle", "--conf", '{"earg_conn_id": "elsewhere"}')
        view = eventually(shown, "the graph is found where the run has deployed it")
        with connect(elsewhere, start=False) as other:
            (graph,) = other.graphs()
        assert (view["url"], view["state"]) == (graph.url, "ready")
        # All that belongs to the graph is asked for there.
        assert editor.get(f"{idle}/nodes/1/history").status_code == 200
        reply = editor.put(f"{idle}/nodes/1/batching", json={"limit": 7})
        assert reply.json()["limit"] == 7
        with connect(elsewhere, start=False) as other:
            statistics = other.statistics("Idle").nodes[0].statistics
        assert statistics is not None
        assert statistics.batch_limit == 7
        # The next run names none: it is the default one's again.
        server.airflow("dags", "test", "Idle")

        def moved() -> bool:
            found = shown()
            return found is not None and found["url"] != graph.url

        eventually(moved, "the graph is shown where the last run has deployed it")
    finally:
        for home in (elsewhere, server.earg):
            try:
                with connect(home, start=False) as other:
                    if "Idle" in {one.name for one in other.graphs()}:
                        other.down("Idle")
                    if home == elsewhere:
                        other.shutdown()
            except NoAgentError:
                pass


def test_a_stream_goes_on_where_the_one_before_ended(
    editor: httpx.Client, agent: AgentClient
) -> None:
    known = editor.get(f"{DAG}/events").json()["events"]
    assert known
    header = {"Last-Event-ID": str(known[0]["number"])}
    with editor.stream("GET", f"{DAG}/stream", headers=header) as reply:
        numbers: list[int] = []
        for event, data in messages(reply):
            if event == "events":
                numbers += [one["number"] for one in data["events"]]
                # The newest may come with the next look.
                if numbers[-1] >= known[-1]["number"]:
                    break
    assert numbers[: len(known) - 1] == [one["number"] for one in known[1:]]


def test_a_change_of_batching_takes_effect_and_is_recorded(
    server: ApiServer, editor: httpx.Client, agent: AgentClient
) -> None:
    reply = editor.put(
        f"{DAG}/nodes/2/batching", json={"limit": 16, "wait_ms": 5, "dynamic": False}
    )
    assert reply.status_code == 200, reply.text
    batch = reply.json()
    assert (batch["limit"], batch["wait_ms"], batch["declared"]) == (16, 5, 1)
    assert batch["set_by"] == "editor in Airflow"
    statistics = agent.statistics("Shouts").nodes[1].statistics
    assert statistics is not None
    assert (statistics.batch_limit, statistics.batch_wait) == (16, 0.005)

    def drifts() -> Any:
        return editor.get(f"{DAG}/graph").json()["nodes"][1]["drift"]

    assert eventually(drifts, "the drift shows") == [
        "batch 1 is declared, 16 is set by editor in Airflow",
        "wait 0 is declared, 5ms is set by editor in Airflow",
    ]

    reply = editor.put(f"{DAG}/nodes/2/batching", json={"reset": True})
    assert (reply.json()["limit"], reply.json()["wait_ms"]) == (1, 0)
    eventually(lambda: not drifts(), "there is no drift any more")

    changes = editor.get(f"{DAG}/batching/changes").json()["changes"]
    assert [(one["who"], one["node"], one["from"]["limit"], one["to"]["limit"]) for one in changes][
        :2
    ] == [("editor", "B", 16, 1), ("editor", "B", 1, 16)]
    logs = httpx.get(
        f"{server.url}/api/v2/eventLogs",
        params={"dag_id": "Shouts", "event": "hogar_batch", "order_by": "-when"},
        headers={"Authorization": f"Bearer {server.token('admin')}"},
        timeout=60,
    ).json()["event_logs"]
    assert logs[0]["owner"] == "editor"
    assert json.loads(logs[0]["extra"])["to"]["limit"] == 1


def test_a_limit_that_the_node_refuses_is_told_and_not_recorded(
    editor: httpx.Client, agent: AgentClient
) -> None:
    before = editor.get(f"{DAG}/batching/changes").json()
    reply = editor.put(f"{DAG}/nodes/1/batching", json={"limit": 2**31 - 1})
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "refused")
    reply = editor.put(f"{DAG}/nodes/7/batching", json={"limit": 2})
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "no_such_node")
    assert editor.get(f"{DAG}/batching/changes").json() == before


def test_a_test_request_reaches_the_graph_and_its_way_is_recorded(
    editor: httpx.Client, agent: AgentClient
) -> None:
    reply = editor.post(f"{DAG}/send", json={"body": "hogar"}).json()
    assert (reply["status"], reply["body"], reply["body_base64"]) == (200, "HOGAR", None)
    assert reply["ms"] > 0
    trace_id = reply["traceparent"].split("-")[1]

    def recorded() -> Any:
        traces = editor.get(f"{DAG}/traces").json()["traces"]
        return next((one for one in traces if one["trace_id"] == trace_id), None)

    trace = eventually(recorded, "the request's way is recorded")
    assert [hop["node"] for hop in trace["hops"]] == ["A", "B"]
    assert all(hop["compute_ms"] > 0 for hop in trace["hops"])
    assert editor.get(f"{DAG}/requests").json() == {"total": 0, "requests": []}


def test_the_texts_are_those_that_run(editor: httpx.Client, agent: AgentClient) -> None:
    source = editor.get(f"{DAG}/source").json()
    assert source["udgl"] == GRAPHS["Shouts"]
    assert (source["earg"], source["extras"]) == agent.plan("Shouts")
    assert source["deployed"] is True
    coloured = source["udgl_lines"]
    assert "\n".join("".join(p["text"] for p in line) for line in coloured) == source["udgl"]
    assert coloured[0] == [{"kind": "key", "text": "meta"}]


def test_logs_are_a_nodes_or_the_frontends(editor: httpx.Client, agent: AgentClient) -> None:
    for query in ("1/logs", "1/logs?proxy=true", "0/logs"):
        reply = editor.get(f"{DAG}/nodes/{query}")
        assert reply.status_code == 200, reply.text
    assert editor.get(f"{DAG}/nodes/1/logs").json()["path"].endswith(".log")
    assert editor.get(f"{DAG}/nodes/9/logs").status_code in (404, 409)


def test_a_graph_that_is_drained_or_down_is_shown_as_not_deployed(
    server: ApiServer, editor: httpx.Client, agent: AgentClient
) -> None:
    for order in (("drain", {"timeout_s": 20}, {"stopped": True, "left": 0}), ("down", {}, {})):
        path, body, answer = order
        reply = editor.post(f"{DAG}/{path}", json=body)
        assert (reply.status_code, reply.json()) == (200, answer)
        eventually(lambda: not editor.get(f"{DAG}/graph").json()["deployed"], "it is gone")
        view = editor.get(f"{DAG}/graph").json()
        assert (view["reachable"], view["state"], view["message"]) == (True, "undeployed", "")
        assert [node["state"] for node in view["nodes"]] == ["undeployed", "undeployed"]
        reply = editor.get(f"{DAG}/nodes/1/history")
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_deployed")
        reply = editor.post(f"{DAG}/down", json={})
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_deployed")
        deploy(agent, server)


def test_no_user_has_more_than_some_streams_at_most(
    server: ApiServer, editor: httpx.Client
) -> None:
    with server.client("admin") as client:
        opened = []
        try:
            for _ in range(21):
                reply = client.send(client.build_request("GET", f"{DAG}/stream"), stream=True)
                opened.append(reply)
            assert [reply.status_code for reply in opened] == [200] * 20 + [429]
            assert json.loads(opened[-1].read())["error"]["code"] == "too_many_streams"
        finally:
            for reply in opened:
                reply.close()

        def free() -> bool:
            with client.stream("GET", f"{DAG}/stream") as reply:
                return reply.status_code == 200

        # Those that were closed are counted no more.
        eventually(free, "another stream is let in")


def test_a_stream_ends_within_a_minute(editor: httpx.Client) -> None:
    begun = time.monotonic()
    with editor.stream("GET", f"{DAG}/stream") as reply:
        looks = sum(event == "graph" for event, _ in messages(reply))
    assert 30 < time.monotonic() - begun < 60
    assert looks >= 15


def test_an_agent_that_is_gone_is_told_and_its_successor_found(
    server: ApiServer, editor: httpx.Client, agent: AgentClient
) -> None:
    os.kill(agent.hello()[1], signal.SIGKILL)

    def gone() -> Any:
        view = editor.get(f"{DAG}/graph").json()
        return None if view["reachable"] else view

    view = eventually(gone, "the agent's end is seen")
    assert "does not answer" in view["message"] or "no agent" in view["message"]
    # What it has started serves on, perhaps.
    assert [(node["name"], node["state"]) for node in view["nodes"]] == [
        ("A", "unknown"),
        ("B", "unknown"),
    ]
    assert (view["state"], view["deployed"]) == ("unknown", False)
    with connect(server.earg):
        eventually(
            lambda: editor.get(f"{DAG}/graph").json()["state"] == "ready",
            "the next agent has adopted the graph",
        )
