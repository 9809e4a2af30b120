"""The whole engine on two Docker hosts: its agent's process, a graph that serves, and what it does
when one host dies with all that runs there."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import udgl
from earg.client import AgentClient, AgentError
from earg.home import Home
from earg.images import Implementation
from earg.statistics import NodeReport
from earg.status import GraphStatus, NodeState
from hogar_provider.engines.agent_start import connect_to
from hogar_provider.engines.docker_settings import DockerSettings
from tests.containers.docker_host import GRAPH
from tests.engines.docker_machines import Machine
from udgl.targets._pairs import METRICS_PORT
from udgl.targets.earg import lower

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TOKEN = "fedcba9876543210" * 4
PATIENCE = 90.0


class Client(threading.Thread):
    """Asks one request after the other, until told to end; what was answered, in order."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.answers: list[str] = []
        self.failures: list[str] = []
        self._end = threading.Event()

    def run(self) -> None:
        while not self._end.is_set():
            try:
                self.answers.append(ask(self.url, "you"))
            except OSError as error:
                self.failures.append(str(error))
            time.sleep(0.05)

    def end(self) -> None:
        self._end.set()
        self.join(PATIENCE)
        assert not self.is_alive()


def ask(url: str, text: str) -> str:
    headers = {"Content-Type": "text/plain", "Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(f"{url}/predict", text.encode(), headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
        return str(reply.read().decode())


def scraped(address: str) -> str:
    """A proxy's metrics."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(f"http://{address}:{METRICS_PORT}/metrics", headers=headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
        return str(reply.read().decode())


def eventually(look: Callable[[], Any], done: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not done(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.3)
    return found


@pytest.fixture
def agent(machines: list[Machine]) -> Iterator[AgentClient]:
    """A client of the engine's agent, which runs as a process of its own."""
    hosts = tuple(machine.host for machine in machines)
    settings = DockerSettings("serves", hosts, dead_after=3.0, stop_grace=2, token=TOKEN)
    # A socket's path is short.
    home = Home(Path(tempfile.mkdtemp(prefix="hogar-agent-")))
    client = connect_to(home, "docker", settings.to_json(), start=True)
    try:
        yield client
    finally:
        client.shutdown()
        client.close()
        print(home.log.read_text()[-20_000:])
        shutil.rmtree(home.path, ignore_errors=True)


def hello(agent: AgentClient) -> int:
    """The agent's pid; 0 while it does not answer."""
    try:
        return agent.hello(2.0)[1]
    except AgentError:
        return 0


def is_ready(graph: GraphStatus) -> bool:
    return all(node.state is NodeState.READY for node in graph.nodes)


def has_figures(nodes: Sequence[NodeReport]) -> bool:
    """Whether what all containers of both nodes use is told."""
    kinds = {node.name: sorted((one.kind, one.role) for one in node.processes) for node in nodes}
    pairs = [(kind, role) for kind in ("model", "proxy") for role in ("backup", "primary")]
    greet = [("model", "primary"), ("model", "primary"), ("proxy", "primary")]
    return kinds == {"Greet": greet, "Count": pairs}


def hosts_of(graph: GraphStatus, name: str) -> list[str]:
    (node,) = (node for node in graph.nodes if node.name == name)
    return [pair.host for pair in node.pairs]


def models_of_greet(machines: list[Machine]) -> set[str]:
    """The trained models that the containers of the first operator have, each replica."""
    code = "import os; print(open(os.environ['HOGAR_ARTIFACT'] + '/model').read())"
    return {
        machine.docker.run("docker", "exec", name, "python", "-c", code).strip()
        for machine in machines
        for name in machine.docker.run("docker", "ps", "--format", "{{.Names}}").split()
        if "-greet-" in name and "-model" in name
    }


def test_a_host_that_dies_costs_no_reply_and_no_state(
    agent: AgentClient, machines: list[Machine], tmp_path: Path
) -> None:
    made = lower(udgl.parse(GRAPH, "hello.udgl"))

    def deploy(index: int, training: str = "") -> None:
        runs = Implementation("", "")
        if training:
            folder = tmp_path / training
            folder.mkdir(mode=0o700)
            (folder / "model").write_text(training)
            runs = Implementation("", "", (("HOGAR_ARTIFACT", str(folder)),))
        agent.deploy_node(
            *("Hello", "1", made.text, index, runs), extras=made.extras_text, timeout=PATIENCE
        )

    # The stateful one first: its primary is on the first host then.
    deploy(2)
    deploy(1, "first")
    agent.wire("Hello", timeout=PATIENCE)
    for index in (1, 2):
        agent.probe("Hello", index, timeout=PATIENCE)
    graph = agent.serve("Hello", timeout=PATIENCE)
    assert hosts_of(graph, "Count") == ["one", "two"]
    assert [(host.name, host.dead) for host in graph.hosts] == [("one", False), ("two", False)]
    # What waits in a frontend is lost with it: the test lets the other host die.
    assert graph.frontend_host == "two"
    assert "on host" not in agent.node_log("Hello", 1, 5)
    eventually(lambda: agent.graph("Hello"), is_ready)

    nodes = eventually(lambda: agent.statistics("Hello", 60).nodes, has_figures)
    count = next(node for node in nodes if node.name == "Count")
    assert len({one.container for one in count.processes}) == 4
    assert all(one.memory > 2**20 and one.age > 0 for one in count.processes)
    assert [(one.kind, one.role) for one in count.usage.series] == [
        *(("model", "backup"), ("model", "primary"), ("proxy", "backup"), ("proxy", "primary"))
    ]
    # Prometheus finds it where it finds the rest.
    address = agent.graph("Hello").nodes[1].pairs[0].address.partition(":")[0]
    eventually(
        lambda: scraped(address),
        lambda text: (
            'earg_model_cpu_seconds_total{graph="Hello",node="Count",role="primary"}' in text
            and 'earg_model_resident_memory_bytes{graph="Hello",node="Count"' in text
        ),
    )
    before_death = {one.container: one for one in count.processes if one.role == "backup"}

    client = Client(graph.url)
    client.start()
    try:
        eventually(lambda: len(client.answers), lambda count: count >= 20)
        # An agent that is killed comes back, and finds everything as it was.
        there = [machine.docker.run("docker", "ps", "-q") for machine in machines]
        _, pid = agent.hello()
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: hello(agent), lambda found: found not in (0, pid))
        eventually(lambda: agent.graph("Hello"), is_ready)
        assert [machine.docker.run("docker", "ps", "-q") for machine in machines] == there

        assert models_of_greet(machines[:1]) == {"first"}
        machines[0].kill()
        graph = eventually(lambda: agent.graph("Hello"), lambda graph: graph.hosts[0].dead)
        assert "does not answer" in graph.hosts[0].reason
        graph = eventually(
            lambda: agent.graph("Hello"),
            lambda graph: (
                is_ready(graph)
                and hosts_of(graph, "Greet") == ["two"]
                and hosts_of(graph, "Count") == ["two", "two"]
            ),
        )
        # It was started elsewhere with its trained model.
        assert models_of_greet(machines[1:]) == {"first"}
        before = len(client.answers)
        eventually(lambda: len(client.answers), lambda count: count >= before + 20)

        # The dead host keeps nobody from telling what the other one's containers use.
        nodes = eventually(lambda: agent.statistics("Hello", 60).nodes, has_figures)
        count = next(node for node in nodes if node.name == "Count")
        for one in count.processes:
            known = before_death.get(one.container)
            if known is not None:
                # It leads now.
                assert one.role == "primary"
                assert one.cpu_seconds > known.cpu_seconds
                assert one.age > known.age
        assert before_death.keys() <= {one.container for one in count.processes}

        machines[0].start()
        eventually(lambda: agent.graph("Hello"), lambda graph: not graph.hosts[0].dead)
        # What was replaced comes up with its host, and is taken away.
        eventually(lambda: machines[0].docker.run("docker", "ps", "-aq"), lambda text: not text)
        before = len(client.answers)
        eventually(lambda: len(client.answers), lambda count: count >= before + 20)
    finally:
        client.end()
        if machines[0].daemon is None:
            machines[0].start()
    assert client.failures == []
    # Every request was counted once, on one state.
    assert client.answers == [f"{n}: hello you" for n in range(1, len(client.answers) + 1)]

    # With both hosts there its pairs are parted again, and the state goes with them.
    eventually(
        lambda: agent.graph("Hello"),
        lambda graph: sorted(hosts_of(graph, "Count")) == ["one", "two"],
    )
    # What is told of its state may be a moment old.
    time.sleep(2)
    eventually(
        lambda: agent.graph("Hello"),
        lambda graph: is_ready(graph) and sorted(hosts_of(graph, "Count")) == ["one", "two"],
    )
    counted = len(client.answers) + 1
    assert ask(graph.url, "all") == f"{counted}: hello all"

    # The next training's model takes the place of the one that serves.
    deploy(1, "second")
    assert models_of_greet(machines) == {"second"}
    # The frontend dies with its host: another one serves elsewhere, under another URL.
    machines[1].kill()
    try:
        graph = eventually(
            lambda: agent.graph("Hello"),
            lambda graph: graph.frontend_host == "one" and is_ready(graph),
        )
        graph = agent.serve("Hello", timeout=PATIENCE)
        assert ask(graph.url, "elsewhere") == f"{counted + 1}: hello elsewhere"
    finally:
        machines[1].start()
    agent.down("Hello")
    for machine in machines:
        eventually(lambda m=machine: m.docker.run("docker", "ps", "-aq"), lambda text: not text)  # type: ignore[misc]
