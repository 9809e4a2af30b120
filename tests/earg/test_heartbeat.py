"""Processes that live but do not answer are found, told, and replaced; busy ones are let be."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from earg.addresses import AddressPool
from earg.child import Child
from earg.client import AgentClient, connect
from earg.config import NodeSpec, StaticConfig
from earg.heartbeat import LOOK_INTERVAL, Heartbeat, Watched
from earg.images import Implementation
from earg.protos import prediction_pb2, prediction_pb2_grpc
from earg.status import GraphStatus, NodeState
from tests.earg.running import MODELS, serving
from tests.earg.test_agent import deploy_all, kill_agent, pids_of, predict, wait_for

pytestmark = pytest.mark.slow

HOOKS = Path(__file__).parent / "hooks"

SILENCE = re.compile(r"it has not answered for ([\d.]+) s")

ONE_NODE = StaticConfig((NodeSpec("only", "1", "image", False, 8),))
STATEFUL = StaticConfig((NodeSpec("only", "1", "image", True, 8),))


@pytest.fixture(autouse=True)
def _hooked_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent hands PYTHONPATH on, so every process has the hooks."""
    path = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(part for part in (str(HOOKS), path) if part))


@pytest.fixture
def hogs() -> Iterator[None]:
    """Four processes a CPU that compute for ever."""
    count = 4 * (os.cpu_count() or 1)
    started = [subprocess.Popen([sys.executable, "-c", "while 1: pass"]) for _ in range(count)]
    yield
    for hog in started:
        hog.kill()
        hog.wait()


def implementation(entrypoint: str) -> Implementation:
    return Implementation(f"hanging:{entrypoint}", str(MODELS), ())


def deploy(agent: AgentClient, config: StaticConfig = ONE_NODE) -> GraphStatus:
    return deploy_all(agent, "g", config, implementation("Obedient"))


def frontend_pid(agent: AgentClient) -> int:
    (graph,) = json.loads(agent.home.ledger.read_text())["graphs"]
    pid: int = graph["frontend"]["pid"]
    return pid


def pid_of(agent: AgentClient, process: str) -> int:
    if process == "frontend":
        return frontend_pid(agent)
    pair = agent.graph("g").nodes[0].pairs[0]
    return pair.model_pid if process == "model" else pair.proxy_pid


def said(agent: AgentClient) -> list[str]:
    return [event.what for event in agent.events("g")]


def told(agent: AgentClient, words: str) -> Callable[[], bool]:
    return lambda: any(words in event.what for event in agent.events("g"))


def answers(url: str) -> Callable[[], bool]:
    def ask() -> bool:
        try:
            return predict(url, b"x") == b"x"
        except OSError:
            return False

    return ask


def is_ready(agent: AgentClient) -> Callable[[], bool]:
    return lambda: agent.graph("g").nodes[0].state is NodeState.READY


@pytest.mark.parametrize("process", ["proxy", "frontend"])
def test_a_deadlocked_process_is_found_within_a_second(agent: AgentClient, process: str) -> None:
    graph = deploy(agent)
    time.sleep(1.0)
    pid = pid_of(agent, process)
    at = time.monotonic()
    os.kill(pid, signal.SIGUSR1)
    wait_for(told(agent, "uses no CPU: it hangs or cannot be reached"), "the hang is told")
    # A second by its own count, and what a machine with more to do adds to the test's own look.
    assert time.monotonic() - at < 4.0
    # The event of the end, and those of the states that followed from it.
    silences = {float(one[1]) for one in map(SILENCE.search, said(agent)) if one}
    assert max(silences) <= 1.0
    assert any(f"(pid {pid}) was ended by the agent" in e.what for e in agent.events("g"))
    wait_for(answers(graph.url), "the graph answers again")


@pytest.mark.parametrize("process", ["proxy", "frontend"])
def test_a_process_in_a_tight_loop_is_given_time_before_it_is_ended(
    agent: AgentClient, process: str
) -> None:
    graph = deploy(agent)
    at = time.monotonic()
    os.kill(pid_of(agent, process), signal.SIGUSR2)
    wait_for(told(agent, "though it uses CPU: it hangs"), "the loop is told", 30)
    assert time.monotonic() - at > 5.0
    wait_for(answers(graph.url), "the graph answers again")


def test_a_stopped_process_is_found_within_a_second(agent: AgentClient) -> None:
    graph = deploy(agent)
    for process in ("model", "proxy", "frontend"):
        pid = pid_of(agent, process)
        at = time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        wait_for(told(agent, f"(pid {pid}) was ended by the agent"), "it is told")
        assert time.monotonic() - at < 4.0
        assert any(str(pid) in one and "a signal holds it" in one for one in said(agent))
        wait_for(answers(graph.url), "the graph answers again")
        wait_for(is_ready(agent), "the node is ready again")


@pytest.mark.parametrize("request_text", [b"shut", b"block"])
def test_a_model_that_cannot_be_reached_is_replaced(
    agent: AgentClient, tmp_path: Path, request_text: bytes
) -> None:
    model = Implementation("hanging:Obedient", str(MODELS), (("MARK", str(tmp_path / "mark")),))
    graph = deploy_all(agent, "g", ONE_NODE, model)
    before = pid_of(agent, "model")
    # Its batch is tried again with the next model.
    assert predict(graph.url, request_text) == request_text
    assert any(
        f"(pid {before}) was ended by the agent: it has not answered" in event.what
        for event in agent.events("g")
    )
    assert pid_of(agent, "model") != before


@pytest.mark.parametrize("request_text", [b"compute", b"wait"])
def test_a_model_that_takes_long_is_let_be(agent: AgentClient, request_text: bytes) -> None:
    graph = deploy(agent)
    before = pids_of(agent.graph("g"))
    assert predict(graph.url, request_text) == request_text
    assert pids_of(agent.graph("g")) == before
    assert [one for one in said(agent) if "ended" in one or "died" in one] == []


def test_an_adopted_process_that_hangs_is_found(home: Path) -> None:
    with connect(home) as agent:
        graph = deploy(agent)
        pid = pid_of(agent, "proxy")
        kill_agent(agent)
    with connect(home, start=False) as agent:
        os.kill(pid, signal.SIGUSR1)
        wait_for(told(agent, f"(pid {pid}) was ended by the agent"), "the hang is told")
        wait_for(answers(graph.url), "the graph answers again")


def test_a_process_that_hung_before_it_was_adopted_is_found(home: Path) -> None:
    with connect(home) as agent:
        graph = deploy(agent)
        pid = pid_of(agent, "proxy")
        kill_agent(agent)
    os.kill(pid, signal.SIGUSR1)
    with connect(home, start=False) as agent:
        wait_for(told(agent, f"(pid {pid}) was ended by the agent"), "the hang is told", 30)
        wait_for(answers(graph.url), "the graph answers again")


def test_a_machine_with_too_much_to_do_costs_no_healthy_process(
    agent: AgentClient, hogs: None
) -> None:
    graph = deploy(agent, STATEFUL)
    before = pids_of(agent.graph("g")), frontend_pid(agent)
    until = time.monotonic() + 8
    while time.monotonic() < until:
        assert predict(graph.url, b"x") == b"x"
    assert (pids_of(agent.graph("g")), frontend_pid(agent)) == before
    assert [event.what for event in agent.events("g") if "ended" in event.what] == []


class Original(prediction_pb2_grpc.ProxyServerServicer):
    """A proxy without a lane, which answers EARG's ``ping``."""

    async def ping(
        self, request: prediction_pb2.ping_req, context: Any
    ) -> prediction_pb2.ping_reply:
        return prediction_pb2.ping_reply()


def test_an_original_without_a_lane_is_pinged(pool: AddressPool, tmp_path: Path) -> None:
    ip = pool.take()
    port = pool.ports.proxy

    async def scenario() -> None:
        child = await Child.start(
            ["sleep", "600"], os.environ, tmp_path, tmp_path / "log", lambda child: None
        )
        child.has_answered = True
        heartbeat = Heartbeat()

        async def look(seconds: float) -> None:
            until = time.monotonic() + seconds
            while time.monotonic() < until and child.running:
                await asyncio.sleep(LOOK_INTERVAL)
                await heartbeat.look([Watched(child, ip, port, False)])

        try:
            registration = prediction_pb2_grpc.add_ProxyServerServicer_to_server, Original()
            async with serving(f"{ip}:{port}", registration):
                await look(5.0)
                assert child.running
            await look(15.0)
            assert "uses no CPU: it hangs or cannot be reached" in child.describe_exit()
        finally:
            await heartbeat.close()
            await child.stop()

    asyncio.run(scenario())
