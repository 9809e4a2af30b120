"""Processes that an agent has started and could not write down."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from earg import orphans
from earg.client import AgentError, connect
from earg.config import NodeSpec, StaticConfig
from earg.images import Implementation
from earg.ledger import ProcessRecord, started_at
from earg.start_mark import VARIABLE, StartMark, identity, new_mark, read_mark
from tests.earg.running import MODELS
from tests.earg.test_agent import deploy_all, is_back, named, one_node, pids_of, predict, wait_for

ROOT = Path(__file__).parents[2]

ONE_NODE = StaticConfig((NodeSpec("only", "1", "image", False, 8),))


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that are ended with the test."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for one in processes:
        one.kill()
        one.wait()


def test_a_home_is_known_from_all_others(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    link = tmp_path / "link"
    link.symlink_to(first)
    assert identity(link) == identity(first) != identity(second)
    before = identity(first)
    # Another folder of the same path, as two containers may have.
    first.rename(tmp_path / "moved")
    first.mkdir()
    assert identity(first) != before


def test_a_mark_is_read_as_it_was_written() -> None:
    mark = new_mark("home")
    assert read_mark(str(mark)) == mark
    assert new_mark("home") != mark
    for text in ("", "home", "home.1", "home..x", ".1.x", "home.-1.x", "home.x.y", "home.٣.x"):
        assert read_mark(text) is None


def test_only_what_is_surely_an_orphan_of_the_home_is_found(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    home, other = identity(tmp_path), identity(Path("/"))

    def start(mark: StartMark | str | None, *, apart: bool = True, user: int | None = None) -> int:
        environment = {"PATH": os.environ["PATH"]} | ({} if mark is None else {VARIABLE: str(mark)})
        process = subprocess.Popen(
            ["sleep", "600"], env=environment, start_new_session=apart, user=user
        )
        started.append(process)
        return process.pid

    def record(pid: int) -> ProcessRecord:
        start = started_at(pid)
        assert start is not None
        return ProcessRecord(pid, start, "")

    adopted = new_mark(home)
    known = record(start(adopted))
    # Its pid is in the ledger, but as that of a process that had it long before.
    reused = start(new_mark(home))
    # Of the adopted one's own, in a session apart.
    start(adopted)
    # Of one that is gone by now.
    old = new_mark(home)
    start(dataclasses.replace(old, ticks=old.ticks - 1000))
    start(new_mark(home), apart=False)
    start(new_mark(other))
    start(f"{home}.damaged")
    start(None)
    if os.getuid() == 0:
        start(new_mark(home), user=65534)
    orphan = start(new_mark(home))
    found = orphans.find(home, [known, ProcessRecord(reused, 1, "")])
    assert {one.pid for one in found} == {orphan, reused}
    assert {one.command for one in found} == {"sleep 600"}


def test_an_orphan_that_does_not_heed_is_killed_with_all_of_its_group(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    home = identity(tmp_path)
    ready = tmp_path / "ready"
    for name, script in (
        ("deaf", f"trap '' TERM; sleep 600 & echo $! > {ready}.new; mv {ready}.new {ready}; wait"),
        ("obedient", "exec sleep 600"),
    ):
        environment = {"PATH": os.environ["PATH"], VARIABLE: str(new_mark(home))}
        command = ["sh", "-c", script, name]
        started.append(subprocess.Popen(command, env=environment, start_new_session=True))
    deaf, obedient = started
    wait_for(ready.exists, "it is deaf by now")
    child = int(ready.read_text())
    found = orphans.find(home, [])
    assert {one.pid for one in found} == {deaf.pid, obedient.pid}
    began = time.monotonic()
    asyncio.run(orphans.end(found))
    assert time.monotonic() - began >= orphans.GRACE
    assert not any(one.runs for one in found)
    assert (deaf.wait(), obedient.wait()) == (-signal.SIGKILL, -signal.SIGTERM)
    wait_for(lambda: started_at(child) is None, "its child is gone, too")


@contextlib.contextmanager
def held_agent(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An agent that can be held; it is killed at the end."""
    home.mkdir(mode=0o700)
    with (home / "agent.log").open("ab") as log:
        agent = subprocess.Popen(
            [sys.executable, "-m", "tests.earg.held_agent", str(home)],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_for((home / "agent.sock").exists, "the agent serves", 30)
        yield agent
    finally:
        agent.kill()
        agent.wait()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["model", "proxy", "frontend"])
def test_what_an_agent_could_not_write_down_is_ended_by_the_next_one_and_nothing_else(
    home: Path, kind: str
) -> None:
    model = Implementation("starting:StartsOthers", str(MODELS))
    held = home / "held"
    with held_agent(home) as process, ThreadPoolExecutor(1) as threads, connect(home) as agent:
        assert agent.hello()[1] == process.pid
        before = deploy_all(agent, "g", ONE_NODE, model)
        beside, apart = json.loads(predict(before.url, b"x"))
        (home / "hold").write_text(f"earg.{kind}")
        if kind == "frontend":
            (known,) = json.loads(agent.home.ledger.read_text())["graphs"]
            os.kill(known["frontend"]["pid"], signal.SIGKILL)
            deploying = None
        else:
            deploying = threads.submit(
                agent.deploy_node, "h", "1", one_node(), 1, named("Echo"), timeout=60
            )
        wait_for(held.exists, f"the {kind} runs, and nobody has written it down")
        orphan = int(held.read_text())
        assert f'"pid": {orphan},' not in agent.home.ledger.read_text()
        process.kill()
        process.wait()
        if deploying is not None:
            with pytest.raises(AgentError):
                deploying.result(timeout=10)
    try:
        assert psutil.pid_exists(orphan)
        with connect(home) as agent:
            # Before it answers at all.
            assert started_at(orphan) is None
            said = [one.what for one in agent.events("g") if one.node == "agent"]
            name = "g.frontend" if kind == "frontend" else "h.only"
            assert any(f"process {orphan} (earg.{kind} {name}) was ended" in one for one in said)
            assert sum("was ended" in one for one in said) == 1
            wait_for(lambda: is_back(agent.graph("g").url, before.url), "it serves")
            assert json.loads(predict(agent.graph("g").url, b"x")) == [beside, apart]
            assert pids_of(agent.graph("g")) == pids_of(before)
            assert started_at(beside) is not None
            assert started_at(apart) is not None
    finally:
        os.kill(apart, signal.SIGKILL)
