"""A graph whose processes a platform starts, on two hosts, behind the agent's calls."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from earg.addresses import AddressPool
from earg.client import AgentClient, AgentError, ModelFailed
from earg.home import Home
from earg.images import Implementation
from earg.status import SERVING, GraphStatus, NodeState
from tests.earg.process_platform import Hosts, make_hosts, pids_on
from tests.earg.test_wiring import CONFIG, MODELS

pytestmark = pytest.mark.slow

FIRST, SECOND = 1, 2


class Engine:
    """Two hosts, and an agent over them."""

    def __init__(self, folder: Path, pool: AddressPool) -> None:
        self.folder = folder
        (folder / "wired_models.py").write_text(MODELS)
        make_hosts(folder / "platform", pool, "east", "west")
        self.hosts = Hosts(folder / "platform")
        self.hosts.start("east")
        self.hosts.start("west")
        self.home = Home(folder / "home")
        self.client = AgentClient(self.home)
        self._agent: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.earg.process_platform"]
        command += [str(self.folder / "platform"), str(self.home.path)]
        self._agent = subprocess.Popen(command)
        self.until(self.answers, "the agent answers")

    def answers(self) -> bool:
        try:
            self.client.hello()
        except AgentError:
            return False
        return True

    def end(self, number: signal.Signals) -> None:
        assert self._agent is not None
        self._agent.send_signal(number)
        self._agent.wait()

    def close(self) -> None:
        if self._agent is not None:
            self._agent.terminate()
            self._agent.wait()
        self.client.close()
        self.hosts.close()

    @staticmethod
    def until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
            time.sleep(0.1)

    def model(self, name: str) -> Implementation:
        return Implementation(f"wired_models:{name}", str(self.folder))

    def deploy(self, version: str, config: str) -> GraphStatus:
        for index, name in ((FIRST, "First"), (SECOND, "Count")):
            self.client.deploy_node("g", version, config, index, self.model(name), timeout=60)
        self.client.wire("g")
        for index in (FIRST, SECOND):
            self.client.probe("g", index)
        return self.client.serve("g")

    def graph(self) -> GraphStatus:
        return self.client.graph("g")

    def is_ready(self) -> bool:
        return all(node.state is NodeState.READY for node in self.graph().nodes)

    def told(self) -> str:
        return "\n".join(f"{event.node} {event.what}" for event in self.client.events("g"))


@pytest.fixture
def engine(tmp_path: Path, pool: AddressPool) -> Iterator[Engine]:
    one = Engine(tmp_path, pool)
    try:
        yield one
    finally:
        one.close()


def ask(url: str, text: str) -> str:
    request = urllib.request.Request(
        f"{url}/predict", text.encode(), {"Content-Type": "text/plain"}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return str(reply.read().decode())


class Client:
    """Asks without a pause, as long as it lasts; the second node counts what it has seen."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ending = threading.Event()
        self.replies: list[str] = []
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self.replies.append(ask(self._url, "x"))
            except (OSError, urllib.error.URLError) as error:
                self.replies.append(repr(error))
            time.sleep(0.01)

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._ending.set()
        self._thread.join()

    def check(self, before: int) -> int:
        """Each request was counted once, and none was lost; the last count."""
        counted = [f"{before + number}: hello x" for number in range(1, len(self.replies) + 1)]
        assert self.replies == counted
        return before + len(self.replies)


def test_a_graph_on_a_platform_is_changed_adopted_and_drained(engine: Engine) -> None:
    client = engine.client
    with pytest.raises(ModelFailed, match="does not run: model exited with code 1") as failed:
        client.deploy_node("g", "1", CONFIG, FIRST, engine.model("Nothing"), timeout=60)
    assert "module wired_models has no class Nothing" in failed.value.traceback
    graph = engine.deploy("1", CONFIG)
    assert [node.state for node in graph.nodes] == [NodeState.READY] * 2
    assert {pair.host for pair in graph.nodes[1].pairs} == {"east", "west"}
    assert [(host.name, host.dead) for host in graph.hosts] == [("east", False), ("west", False)]
    assert graph.frontend_host == "east"
    running = pids_on(engine.hosts.folder, "east") | pids_on(engine.hosts.folder, "west")
    assert len(running) == 7

    # The same again starts nothing.
    assert engine.deploy("1", CONFIG).url == graph.url
    again = pids_on(engine.hosts.folder, "east") | pids_on(engine.hosts.folder, "west")
    assert again == running

    def limits() -> list[int]:
        nodes = client.statistics("g").nodes
        return [node.statistics.batch_limit for node in nodes if node.statistics is not None]

    with Client(graph.url) as asking:
        changed = CONFIG.replace("first,1,", "first,2,").replace("second,1,", "second,2,")
        assert engine.deploy("2", changed).version == "2"
        assert [node.version for node in engine.graph().nodes] == ["2", "2"]
        engine.until(engine.is_ready, "the new version has a backup")

        # One that does not start, and one that does not take the state over.
        broken = changed.replace("first,2,", "first,3,").replace("second,2,", "second,3,")
        with pytest.raises(ModelFailed, match="does not run"):
            client.deploy_node("g", "3", broken, FIRST, engine.model("Nothing"), timeout=60)
        with pytest.raises(ModelFailed, match="does not take its state over"):
            client.deploy_node("g", "3", broken, SECOND, engine.model("First"), timeout=60)
        engine.until(engine.is_ready, "what served has a backup again")
        assert [node.version for node in engine.graph().nodes] == ["2", "2"]

        # Another batch is told to what runs.
        before = pids_on(engine.hosts.folder, "west") | pids_on(engine.hosts.folder, "east")
        batched = changed.replace("second,2,image,true,8", "second,2,image,true,4")
        engine.deploy("2", batched)
        client.set_batch_limit("g", FIRST, 16, who="a test")
        now = pids_on(engine.hosts.folder, "west") | pids_on(engine.hosts.folder, "east")
        assert now == before

        # A proxy that the platform starts again gets the graph, and the limit that was set.
        (proxy,) = [pid for name, pid in now.items() if name.startswith("g.1.") and "proxy" in name]
        os.kill(proxy, signal.SIGKILL)
        engine.until(lambda: "has come back" in engine.told(), "the proxy is back")
        engine.until(lambda: limits() == [16, 4], "its limit is set")

        engine.end(signal.SIGKILL)
        engine.start()
        engine.until(engine.is_ready, "the graph is adopted")
    assert engine.graph().url == graph.url
    assert asking.check(0) > 50

    nodes = client.statistics("g").nodes
    assert limits() == [16, 4]
    assert all(node.state in SERVING and not node.processes for node in nodes)

    def seen() -> int:
        return sum(one.requests for one in client.statistics("g", 60).nodes[0].history)

    # A second counts when it is over.
    engine.until(seen, "the history has requests", 15)
    assert client.plan("g") == (batched, "")
    assert client.requests("g") == (0, ())
    assert "wired_models:Count is constructed" in client.node_log("g", SECOND)
    targets = json.loads((engine.home.path / "prometheus" / "targets.json").read_text())
    assert [one["labels"]["role"] for one in targets] == [
        *("primary", "primary", "backup", "frontend")
    ]
    assert client.drain("g") == 0
    assert client.graphs() == ()
    left = pids_on(engine.hosts.folder, "west") | pids_on(engine.hosts.folder, "east")
    assert left == {}


def test_what_a_dead_host_had_goes_on_elsewhere(engine: Engine) -> None:
    graph = engine.deploy("1", CONFIG)
    # The frontend is on the first host.
    assert [pair.host for pair in graph.nodes[1].pairs] == ["west", "east"]

    def roles(host: str) -> list[str]:
        pairs = engine.graph().nodes[1].pairs
        return [pair.role.value for pair in pairs if pair.host == host]

    def dead_on(host: str) -> bool:
        pairs = [pair for pair in engine.graph().nodes[1].pairs if pair.host == host]
        sentence = f"host {host} is dead: the daemon of {host} does not answer"
        return [(one.state, one.reason) for one in pairs] == [(NodeState.DEAD, sentence)]

    with Client(graph.url) as asking:
        # All of it is held still, as a host that is cut off; the agent sees no difference.
        engine.hosts.signal("west", signal.SIGSTOP)
        engine.until(lambda: engine.graph().hosts[1].dead, "the host is dead")
        engine.until(lambda: roles("east") == ["primary"], "the backup has taken over")
        engine.until(lambda: dead_on("west"), "what the host had is shown dead")
        engine.until(lambda: roles("east") == ["primary", "backup"], "it has another backup")
        engine.until(engine.is_ready, "the backup has its state")
        count = len(asking.replies)
        engine.until(lambda: len(asking.replies) > count + 10, "it answers")

        # What comes back is told that it was replaced, and is taken away.
        engine.hosts.signal("west", signal.SIGCONT)
        engine.until(lambda: not engine.graph().hosts[1].dead, "the host is back")
        engine.until(lambda: pids_on(engine.hosts.folder, "west") == {}, "it is empty")
        assert engine.is_ready()
    asking.check(0)
    assert "is lost: host west is dead: the daemon of west does not answer" in engine.told()
    assert "its backup was started again on host east" in engine.told()

    # An agent that is told to end leaves the graph running.
    engine.end(signal.SIGTERM)
    assert ask(graph.url, "x").endswith(": hello x")
    engine.start()
    engine.until(engine.is_ready, "the graph is adopted")
    engine.client.down("g")
    assert pids_on(engine.hosts.folder, "west") | pids_on(engine.hosts.folder, "east") == {}


def test_what_fits_nowhere_is_started_when_its_host_is_back_or_there_is_room(
    engine: Engine,
) -> None:
    graph = engine.deploy("1", CONFIG)
    hosts = engine.hosts
    # The frontend is there, and the other pair of the second node.
    hosts.fill("east")

    def pair_on(host: str) -> str:
        pairs = [pair for pair in engine.graph().nodes[1].pairs if pair.host == host]
        return "; ".join(f"{pair.role.value} {pair.state.value}: {pair.reason}" for pair in pairs)

    def told() -> int:
        return engine.told().count("a pair of second cannot be started again yet: no host fits")

    with Client(graph.url) as asking:
        hosts.signal("west", signal.SIGSTOP)
        engine.until(lambda: hosts.refusals > 1, "nothing fits, which is tried again")
        found = pair_on("west")
        assert found.startswith("backup dead: host west is dead: ")
        assert "it cannot be started again: no host fits at" in found
        assert engine.graph().nodes[1].state is NodeState.DEGRADED
        assert len(engine.graph().warnings) == told() == 1
        hosts.signal("west", signal.SIGCONT)
        engine.until(lambda: engine.is_ready() and not engine.graph().warnings, "all is back")
        assert {pair.host for pair in engine.graph().nodes[1].pairs} == {"east", "west"}

        before = hosts.refusals
        hosts.kill("west")
        engine.until(lambda: hosts.refusals > before, "nothing fits")
        hosts.make_room("east")
        engine.until(lambda: engine.is_ready() and not engine.graph().warnings, "there is room")
        assert {pair.host for pair in engine.graph().nodes[1].pairs} == {"east"}

        # A new version that leaves no room for its backup serves without, and gets it later.
        hosts.fill("east", left=1)
        newer = CONFIG.replace("second,1", "second,2")
        node = engine.client.deploy_node("g", "2", newer, SECOND, engine.model("Count"), timeout=60)
        assert node.version == "2"
        engine.until(
            lambda: engine.graph().nodes[1].state is NodeState.DEGRADED, "it lacks its backup"
        )
        assert "its backup did not come back: no host fits at" in engine.told()
        hosts.make_room("east")
        engine.until(lambda: engine.is_ready() and not engine.graph().warnings, "it has a backup")
    asking.check(0)
    assert 2 <= told() <= 3
