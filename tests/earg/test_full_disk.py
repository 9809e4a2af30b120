"""A disk that is full or read-only costs no request, and is told plainly, once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from earg.client import AgentClient, AgentError, ModelFailed, NoAgentError, connect
from earg.config import Edge, NodeSpec, StaticConfig
from earg.images import Implementation
from earg.ledger import read
from earg.status import NodeState
from tests.earg.running import MODELS
from tests.earg.test_agent import deploy_all, one_node, pids_of, predict, wait_for
from tests.earg.test_cli import earg

pytestmark = pytest.mark.slow

GRAPH = StaticConfig(
    (NodeSpec("first", "1", "i", False, 8), NodeSpec("counts", "1", "i", True, 8)),
    (Edge((1,), (2,)),),
)
OBEDIENT = Implementation("hanging:Obedient", str(MODELS), ())


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB, without what was started there when the test ends."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        while folder.is_mount():
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def home(disk: Path) -> Iterator[Path]:
    """The home of an agent on the small disk."""
    folder = disk / "earg"
    yield folder
    try:
        with connect(folder, start=False) as client:
            client.shutdown()
    except NoAgentError:
        pass


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 1024):
                pass
        except OSError:
            pass
    return filler


def make_read_only(folder: Path) -> None:
    """A second mount at the same place, through which nothing can be written."""
    mount("--bind", str(folder), str(folder))
    mount("-o", "remount,ro,bind", str(folder))


def make_writable(folder: Path) -> None:
    # Not unmounted: processes have their working folder there.
    mount("-o", "remount,rw,bind", str(folder))


def is_ready(agent: AgentClient) -> bool:
    return all(node.state is NodeState.READY for node in agent.graph("g").nodes)


def kill_and_wait(agent: AgentClient, node: int, process: str) -> None:
    pair = agent.graph("g").nodes[node].pairs[0]
    pid = pair.model_pid if process == "model" else pair.proxy_pid
    os.kill(pid, signal.SIGKILL)
    wait_for(
        lambda: pid not in pids_of(agent.graph("g")) and is_ready(agent), "every node is ready"
    )


def told(agent: AgentClient, words: str) -> int:
    return sum(words in event.what for event in agent.events("g"))


def test_a_full_disk_costs_no_request_and_is_told_once(
    agent: AgentClient, home: Path, disk: Path
) -> None:
    graph = deploy_all(agent, "g", GRAPH, OBEDIENT)
    assert agent.graph("g").warnings == ()
    filler = fill(disk)
    wait_for(lambda: told(agent, "its disk is full") == 1, "the full disk is told")

    # A stateful node's takeover writes the ledger and the runtime config.
    for node, process in ((1, "proxy"), (1, "model"), (0, "proxy"), (0, "model")):
        kill_and_wait(agent, node, process)
        assert predict(graph.url, b"x") == b"x"
    warnings = agent.graph("g").warnings
    assert any(f"{home} cannot be written: its disk is full" in one for one in warnings)
    assert any(
        one.startswith(f"{home / 'ledger.json'} cannot be written: No space left on device")
        and "a new agent could not adopt what runs" in one
        for one in warnings
    )
    assert any("runtime.earg cannot be written: No space left on device" in w for w in warnings)
    for words in ("its disk is full", "ledger.json cannot be", "runtime.earg cannot be"):
        assert told(agent, words) == 1
    assert "  warning: " + warnings[0] in earg(home, "nodes").stdout.splitlines()
    (shown,) = json.loads(earg(home, "nodes", "--json").stdout)
    assert tuple(shown["warnings"]) == warnings
    # What could be read before can still be read: nothing is left half-written.
    assert [record.name for record in read(home / "ledger.json")] == ["g"]

    filler.unlink()
    wait_for(lambda: agent.graph("g").warnings == (), "nothing is wrong any more")
    for words in (
        f"{home} can be written again",
        "ledger.json is written again",
        "runtime.earg is written again",
    ):
        assert told(agent, words) == 1
    (record,) = read(home / "ledger.json")
    known = {p.pid for n in record.nodes for q in n.pairs for p in (q.model, q.proxy) if p}
    assert known == set(pids_of(agent.graph("g")))


def test_a_model_that_fills_the_disk_with_its_output_serves_on(
    agent: AgentClient, disk: Path
) -> None:
    config = StaticConfig((NodeSpec("only", "1", "image", False, 8),))
    graph = deploy_all(agent, "g", config, OBEDIENT)
    before = pids_of(agent.graph("g"))
    for _ in range(3):
        assert predict(graph.url, b"talk") == b"talk"
    # On tmpfs a byte or two may be left.
    assert os.statvfs(disk).f_bavail == 0
    assert predict(graph.url, b"x") == b"x"
    assert pids_of(agent.graph("g")) == before
    wait_for(lambda: told(agent, "its disk is full") == 1, "the full disk is told")


def test_on_a_read_only_disk_what_died_comes_back_without_a_log(
    agent: AgentClient, home: Path, disk: Path
) -> None:
    graph = deploy_all(agent, "g", GRAPH, OBEDIENT)
    make_read_only(disk)
    try:
        wait_for(lambda: told(agent, "its file system is read-only") == 1, "it is told")
        for process in ("model", "proxy"):
            kill_and_wait(agent, 0, process)
            assert predict(graph.url, b"x") == b"x"
        kill_and_wait(agent, 1, "model")
        assert predict(graph.url, b"x") == b"x"
        log = home / "graphs" / "g" / "logs" / "first.model.log"
        sentence = f"{log} cannot be opened: Read-only file system"
        wait_for(lambda: told(agent, sentence) == 1, "the log is told")
        assert any(one.startswith(sentence) for one in agent.graph("g").warnings)
        with pytest.raises(
            AgentError, match=f"the agent cannot write {home}.*: Read-only file system"
        ):
            agent.deploy_node("other", "1", one_node(), 1, OBEDIENT)
    finally:
        make_writable(disk)
    wait_for(lambda: told(agent, f"{home} can be written again") == 1, "it is told")
    kill_and_wait(agent, 0, "model")
    wait_for(lambda: told(agent, f"{log} is written again") == 1, "the log is told")
    assert told(agent, sentence) == 1


def test_a_home_that_cannot_be_written_is_told_by_who_would_start_an_agent(
    disk: Path, tmp_path: Path
) -> None:
    home = disk / "home"
    home.mkdir(mode=0o700)
    config = tmp_path / "g-1.earg"
    config.write_text(one_node().replace("image", "hogar/named:1"))
    images = str(MODELS / "images.yaml")

    def check(cause: str) -> None:
        sentence = f"the agent's folder {home} cannot be written: {cause}"
        with pytest.raises(AgentError, match=sentence), connect(home):
            pass
        for command in (
            ("agent", "start"),
            ("agent", "run"),
            ("up", str(config), "--images", images),
        ):
            done = earg(home, *command)
            assert done.returncode == 1
            assert sentence in done.stderr
            assert "Traceback" not in done.stderr
        # To look is still possible.
        assert earg(home, "nodes").stdout == "nothing is deployed\n"

    filler = fill(disk)
    check("No space left on device")
    filler.unlink()
    make_read_only(disk)
    try:
        check("Read-only file system")
    finally:
        make_writable(disk)


def test_a_deploy_whose_log_cannot_be_opened_fails_with_path_and_cause(
    agent: AgentClient, home: Path
) -> None:
    logs = home / "graphs" / "g" / "logs"
    logs.parent.mkdir(parents=True)
    logs.write_text("a file where a folder should be")
    with pytest.raises(ModelFailed) as failed:
        agent.deploy_node("g", "1", one_node(), 1, OBEDIENT)
    assert failed.value.sentence == (
        "the model of g.only is not started: its log "
        f"{logs / 'only.model.log'} cannot be opened: File exists"
    )
