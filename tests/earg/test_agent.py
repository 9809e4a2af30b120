"""The agent with real processes: deploy, wire, probe, serve, fail, stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from earg.addresses import AddressPool, is_free
from earg.client import AgentClient, AgentError, ModelFailed, NoAgentError, connect
from earg.config import Edge, NodeSpec, StaticConfig, write_static
from earg.images import Implementation
from earg.status import GraphStatus, NodeState, Role
from tests.earg.running import MODELS

pytestmark = pytest.mark.slow

SIMPLEDAG = StaticConfig(
    tuple(NodeSpec(f"c{n}", "test", "hogar/named:1", n == 2, 64) for n in range(1, 6)),
    (Edge((1,), (2,)), Edge((2,), (3, 4))),
    (Edge((3, 4), (5,)),),
)


def named(entrypoint: str, **environment: str) -> Implementation:
    return Implementation(f"little:{entrypoint}", str(MODELS), tuple(environment.items()))


def one_node(stateful: bool = False) -> str:
    return write_static(StaticConfig((NodeSpec("only", "1", "image", stateful, 8),)))


def deploy_all(
    agent: AgentClient, name: str, config: StaticConfig, implementation: Implementation
) -> GraphStatus:
    text = write_static(config)
    indexes = range(1, len(config.nodes) + 1)
    with ThreadPoolExecutor(len(config.nodes)) as threads:
        list(
            threads.map(
                lambda index: agent.deploy_node(name, "test", text, index, implementation), indexes
            )
        )
    agent.wire(name)
    for index in indexes:
        agent.probe(name, index)
    return agent.serve(name)


def is_back(now: str, before: str) -> bool:
    """Whether a frontend is there again: at the same address, unless another agent has taken the
    port meanwhile."""
    port = int(before.rpartition(":")[2])
    return now == before or (now != "" and not is_free("127.0.0.1", port))


def predict(url: str, body: bytes, content_type: str = "text/plain") -> bytes:
    request = urllib.request.Request(f"{url}/predict", body, {"Content-Type": content_type})
    with urllib.request.urlopen(request, timeout=30) as reply:
        data: bytes = reply.read()
    return data


def pids_of(graph: GraphStatus) -> list[int]:
    pids = [pid for n in graph.nodes for p in n.pairs for pid in (p.model_pid, p.proxy_pid)]
    return [pid for pid in pids if pid]


def processes_in(home: Path) -> list[psutil.Process]:
    """Every process that was started for this home, found by its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("EARG_HOME") == str(home):
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def _marked_processes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The agent hands EARG_* on, so that this test can tell its processes from all others.
    monkeypatch.setenv("EARG_HOME", str(home))


def test_a_graph_is_deployed_wired_probed_and_serves(agent: AgentClient, home: Path) -> None:
    graph = deploy_all(agent, "simpledag", SIMPLEDAG, named("Named"))
    assert [node.state for node in graph.nodes] == [NodeState.READY] * 5
    assert [len(node.pairs) for node in graph.nodes] == [1, 2, 1, 1, 1]
    assert [pair.role for pair in graph.nodes[1].pairs] == [Role.PRIMARY, Role.BACKUP]
    pids = pids_of(graph)
    assert len(set(pids)) == 12
    assert all(psutil.pid_exists(pid) for pid in pids)
    addresses = [pair.address for node in graph.nodes for pair in node.pairs]
    assert len(set(addresses)) == 6
    assert predict(graph.url, b"x") == b"c5(c3(c2(c1(x)))|c4(c2(c1(x))))"

    agent.down("simpledag")
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []
    assert agent.graphs() == ()
    # What is left is the agent alone.
    (left,) = processes_in(home)
    assert left.pid == agent.hello()[1]


def test_everything_listens_on_loopback_alone(agent: AgentClient, home: Path) -> None:
    deploy_all(agent, "simpledag", SIMPLEDAG, named("Named"))
    listening = [
        connection.laddr.ip
        for process in processes_in(home)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 13
    # gRPC binds IPv4 addresses in their IPv6 form.
    plain = [ip.removeprefix("::ffff:") for ip in listening]
    assert [ip for ip in plain if not ip.startswith("127.")] == []


def test_deploying_again_keeps_what_runs(agent: AgentClient) -> None:
    first = deploy_all(agent, "simpledag", SIMPLEDAG, named("Named"))
    again = deploy_all(agent, "simpledag", SIMPLEDAG, named("Named"))
    assert pids_of(again) == pids_of(first)
    assert again.url == first.url


def test_a_changed_graph_replaces_the_deployed_one(agent: AgentClient) -> None:
    first = deploy_all(agent, "g", SIMPLEDAG, named("Named"))
    changed = StaticConfig(SIMPLEDAG.nodes[:2], (Edge((1,), (2,)),))
    again = deploy_all(agent, "g", changed, named("Named"))
    assert predict(again.url, b"x") == b"c2(c1(x))"
    assert [pid for pid in pids_of(first) if psutil.pid_exists(pid)] == []


def test_a_model_that_raises_fails_its_deploy_with_its_own_traceback(
    agent: AgentClient, home: Path
) -> None:
    with pytest.raises(ModelFailed) as failed:
        agent.deploy_node("g", "1", one_node(stateful=True), 1, named("RaisesOnConstruction"))
    assert "the model of g.only" in failed.value.sentence
    assert "ended with exit code 1" in failed.value.sentence
    assert 'raise FileNotFoundError("weights.bin is missing")' in failed.value.traceback
    assert failed.value.traceback.endswith("FileNotFoundError: weights.bin is missing")
    assert [process.pid for process in processes_in(home)] == [agent.hello()[1]]


def test_an_entrypoint_that_does_not_exist_is_told(agent: AgentClient) -> None:
    with pytest.raises(ModelFailed, match="module little has no class Missing"):
        agent.deploy_node("g", "1", one_node(), 1, named("Missing"))
    with pytest.raises(ModelFailed, match="No module named 'nowhere'"):
        agent.deploy_node("g", "1", one_node(), 1, Implementation("nowhere:Class", str(MODELS)))


def test_a_model_that_takes_too_long_is_stopped(agent: AgentClient, home: Path) -> None:
    with pytest.raises(ModelFailed, match="did not answer within"):
        agent.deploy_node("g", "1", one_node(), 1, named("Hangs"), timeout=4)
    assert [process.pid for process in processes_in(home)] == [agent.hello()[1]]


def test_taking_a_graph_down_ends_a_deploy_that_is_under_way(
    agent: AgentClient, home: Path
) -> None:
    with ThreadPoolExecutor(1) as threads:
        deploying = threads.submit(
            agent.deploy_node, "g", "1", one_node(), 1, named("Hangs"), timeout=60
        )
        wait_for(lambda: len(processes_in(home)) == 3, "model and proxy run")
        agent.down("g")
        with pytest.raises(AgentError):
            deploying.result(timeout=10)
    assert [process.pid for process in processes_in(home)] == [agent.hello()[1]]


def test_a_graph_with_a_missing_node_is_not_wired(agent: AgentClient) -> None:
    text = write_static(SIMPLEDAG)
    agent.deploy_node("simpledag", "test", text, 1, named("Named"))
    with pytest.raises(AgentError, match="c2, c3, c4, c5 not running; deploy every node first"):
        agent.wire("simpledag")
    with pytest.raises(AgentError, match="c2 of graph simpledag is not deployed"):
        agent.probe("simpledag", 2)
    with pytest.raises(AgentError, match="no graph 'other' is deployed here"):
        agent.wire("other")
    with pytest.raises(AgentError, match="there is no node 6"):
        agent.deploy_node("simpledag", "test", text, 6, named("Named"))


@pytest.mark.parametrize("name", ["", "a-b", "../up", "a/b", "a,b", ".hidden"])
def test_a_graph_name_that_is_no_name_is_refused(agent: AgentClient, name: str) -> None:
    with pytest.raises(AgentError, match="graph name"):
        agent.deploy_node(name, "1", one_node(), 1, named("Echo"))


def test_a_config_that_earg_would_misread_is_refused(agent: AgentClient) -> None:
    with pytest.raises(AgentError, match="lower case"):
        agent.deploy_node("g", "1", one_node().replace("false", "False"), 1, named("Echo"))


def test_a_taken_address_is_left_to_its_owner(agent: AgentClient) -> None:
    # Somebody listens where the graph's frontend and first node would go: other addresses.
    pool = AddressPool("crowded")
    taken = [pool.take() for _ in range(3)]
    ports = pool.ports
    pool.close()
    listeners = [
        socket.create_server((ip, port))
        for ip, port in zip(taken, [ports.model, ports.model, ports.proxy], strict=True)
    ]
    try:
        config = StaticConfig((NodeSpec("only", "1", "image", False, 8),))
        graph = deploy_all(agent, "crowded", config, named("Named"))
        assert graph.nodes[0].pairs[0].address not in taken
        assert predict(graph.url, b"x") == b"only(x)"
    finally:
        for listener in listeners:
            listener.close()


def test_a_model_sees_its_own_environment_and_no_secret(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "secret")
    monkeypatch.setenv("DATABASE_PASSWORD", "secret")
    config = StaticConfig((NodeSpec("only", "1", "image", False, 8),))
    with connect(home) as agent:
        graph = deploy_all(agent, "g", config, named("Environment", GREETING="hello"))
    assert predict(graph.url, b"GREETING") == b"hello"
    assert predict(graph.url, b"AIRFLOW__CORE__FERNET_KEY") == b"null"
    assert predict(graph.url, b"DATABASE_PASSWORD") == b"null"


def test_two_agents_serve_graphs_of_the_same_name_apart(agent: AgentClient, tmp_path: Path) -> None:
    config = StaticConfig((NodeSpec("only", "1", "image", False, 8),))
    with connect(tmp_path / "other") as other:
        try:
            first = deploy_all(agent, "g", config, named("Named"))
            second = deploy_all(other, "g", config, named("Echo"))
            assert first.url != second.url
            assert first.nodes[0].pairs[0].address != second.nodes[0].pairs[0].address
            assert predict(first.url, b"x") == b"only(x)"
            assert predict(second.url, b"x") == b"x"
        finally:
            other.shutdown()


def test_many_clients_start_one_agent(home: Path) -> None:
    with ThreadPoolExecutor(6) as threads:
        clients = list(threads.map(lambda _: connect(home), range(6)))
    assert len({client.hello()[1] for client in clients}) == 1
    for client in clients:
        client.close()


def test_the_agents_folder_belongs_to_its_user(agent: AgentClient, home: Path) -> None:
    assert home.stat().st_mode & 0o077 == 0
    assert agent.home.socket.stat().st_mode & 0o077 == 0


def test_a_home_with_a_long_path_works(tmp_path: Path) -> None:
    home = tmp_path / ("long" * 30)
    with connect(home) as client:
        try:
            assert len(str(client.home.socket)) < 108
        finally:
            client.shutdown()
    assert not client.home.socket.exists()


def test_an_agent_that_is_stopped_takes_its_processes_along(agent: AgentClient, home: Path) -> None:
    deploy_all(agent, "simpledag", SIMPLEDAG, named("Named"))
    agent.shutdown()
    assert processes_in(home) == []
    with pytest.raises(NoAgentError):
        connect(home, start=False)


def kill_agent(agent: AgentClient) -> None:
    pid = agent.hello()[1]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(pid), "the agent is gone")


def test_a_graph_outlives_its_agent_and_the_next_one_adopts_it(home: Path) -> None:
    with connect(home) as agent:
        before = deploy_all(agent, "simpledag", SIMPLEDAG, named("Named"))
        kill_agent(agent)
    assert predict(before.url, b"x") == b"c5(c3(c2(c1(x)))|c4(c2(c1(x))))"
    # Looking is enough to get a new agent: what serves must not be without one.
    with connect(home, start=False) as agent:
        after = agent.graph("simpledag")
        assert after == before
        (pair,) = after.nodes[2].pairs
        os.kill(pair.model_pid, signal.SIGKILL)
        assert predict(before.url, b"x") == b"c5(c3(c2(c1(x)))|c4(c2(c1(x))))"
        wait_for(lambda: agent.graph("simpledag").nodes[2].state is NodeState.READY, "c3 is back")
        again = deploy_all(agent, "simpledag", SIMPLEDAG, named("Named"))
        assert pids_of(again)[:4] == pids_of(before)[:4]
        agent.down("simpledag")
        (left,) = processes_in(home)
        assert left.pid == agent.hello()[1]


def test_what_died_without_an_agent_is_brought_back_by_the_next(home: Path) -> None:
    config = StaticConfig(
        (NodeSpec("first", "1", "i", False, 8), NodeSpec("counts", "1", "i", True, 8)),
        (Edge((1,), (2,)),),
    )
    with connect(home) as agent:
        graph = deploy_all(agent, "g", config, named("Named"))
        kill_agent(agent)
    counted = graph.nodes[1].pairs[0]
    for pid in (graph.nodes[0].pairs[0].proxy_pid, counted.model_pid, counted.proxy_pid):
        os.kill(pid, signal.SIGKILL)
    with connect(home, start=False) as agent:
        wait_for(
            lambda: all(one.state is NodeState.READY for one in agent.graph("g").nodes),
            "both nodes are ready",
        )
        assert predict(graph.url, b"x") == b"counts(first(x))"
        said = [event.what for event in agent.events("g") if event.node == "counts"]
        assert any("its backup took over" in what for what in said)


@pytest.mark.parametrize("recorded", [True, False])
def test_a_frontend_that_died_with_its_agent_is_brought_back_by_the_next(
    home: Path, recorded: bool
) -> None:
    config = StaticConfig((NodeSpec("only", "1", "image", False, 8),))
    with connect(home) as agent:
        graph = deploy_all(agent, "g", config, named("Named"))
        kill_agent(agent)
    ledger = home / "ledger.json"
    known = json.loads(ledger.read_text())
    os.kill(known["graphs"][0]["frontend"]["pid"], signal.SIGKILL)
    if not recorded:
        # As it is written while a frontend is being replaced.
        known["graphs"][0]["frontend"] = None
        ledger.write_text(json.dumps(known))
    with connect(home, start=False) as agent:
        wait_for(lambda: is_back(agent.graph("g").url, graph.url), "the frontend is back")
        assert predict(agent.graph("g").url, b"x") == b"only(x)"


def test_a_node_that_was_being_deployed_does_not_outlive_its_agent(home: Path) -> None:
    with connect(home) as agent, ThreadPoolExecutor(1) as threads:
        deploying = threads.submit(
            agent.deploy_node, "g", "1", one_node(), 1, named("Hangs"), timeout=60
        )
        wait_for(lambda: len(processes_in(home)) == 3, "model and proxy run")
        kill_agent(agent)
        with pytest.raises(NoAgentError):
            deploying.result(timeout=10)
    with connect(home) as agent:
        wait_for(
            lambda: [p.pid for p in processes_in(home)] == [agent.hello()[1]],
            "only the new agent runs",
        )


@pytest.mark.parametrize("text", ["", "{", '{"format": 99}', '{"format": 1, "graphs": [{}]}'])
def test_a_damaged_ledger_does_not_keep_an_agent_from_starting(home: Path, text: str) -> None:
    home.mkdir(mode=0o700)
    (home / "ledger.json").write_text(text)
    with connect(home) as agent:
        assert agent.graphs() == ()
    assert "cannot be adopted" in (home / "agent.log").read_text()


def test_an_idle_agent_ends_by_itself(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "earg.agent", "--home", str(home), "--idle-end", "0.5"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert "nothing was deployed" in done.stderr
