"""Statistics, batch limits and logs on the command line, as a person uses them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.earg.running import MODELS
from tests.earg.test_cli import earg

pytestmark = pytest.mark.slow

CONFIG = """\
2
1
first,1,hogar/named:1,false,8
second,1,hogar/named:1,true,8
dist[1->2]
"""


@pytest.fixture
def up(home: Path, tmp_path: Path) -> Path:
    """The home of an agent in which graph ``two`` serves."""
    config = tmp_path / "two-1.earg"
    config.write_text(CONFIG)
    done = earg(home, "up", str(config), "--images", str(MODELS / "images.yaml"))
    assert done.returncode == 0, done.stderr
    return home


def stats(home: Path, *arguments: str) -> list[dict[str, Any]]:
    done = earg(home, "stats", "two", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    (seen,) = json.loads(done.stdout)
    assert (seen["name"], seen["version"]) == ("two", "1")
    nodes: list[dict[str, Any]] = seen["nodes"]
    return nodes


def test_stats_batch_and_logs(up: Path) -> None:
    for text in ("a", "b", "c"):
        assert earg(up, "send", "two", "--text", text).stdout == f"second(first({text}))\n"
    nodes = stats(up)
    assert [node["name"] for node in nodes] == ["first", "second"]
    for node in nodes:
        counted = node["statistics"]
        assert (counted["requests"], counted["errors"]) == (3, 0)
        assert (counted["queued"], counted["running"], counted["leaving"]) == (0, 0, 0)
        assert counted["total"]["count"] == 3
        assert 0 < counted["compute"]["p50"] <= counted["compute"]["p99"] < 10
        assert counted["history"] == []
        assert (node["state"], node["exits"]) == ("ready", 0)
    # The second is stateful: its backup's processes are counted, too.
    assert [len(node["processes"]) for node in nodes] == [2, 4]
    assert all(one["memory"] > 2**20 for node in nodes for one in node["processes"])
    assert {one["role"] for one in nodes[1]["processes"]} == {"primary", "backup"}

    deadline = time.monotonic() + 20
    while True:
        node = stats(up, "--history", "900")[0]
        history = node["statistics"]["history"]
        if sum(sample["requests"] for sample in history) == 3 and len(node["usage"]["times"]) > 1:
            break
        assert time.monotonic() < deadline, history

    assert sum(sum(sample["sizes"]) for sample in history) > 0
    assert any(sample["compute_p95"] > 0 for sample in history)
    assert {(one["kind"], one["role"]) for one in node["usage"]["series"]} == {
        ("model", "primary"),
        ("proxy", "primary"),
    }

    rows = earg(up, "stats").stdout.splitlines()
    assert rows[0] == "two 1"
    assert rows[1].split()[:3] == ["NODE", "STATE", "REQUESTS"]
    assert [row.split()[:3] for row in rows[2:]] == [
        ["first", "ready", "3"],
        ["second", "ready", "3"],
    ]
    assert "8 (config)" in rows[2]

    set_live = earg(up, "batch", "two", "first", "2")
    assert set_live.stdout == (
        "first of two takes at most 2 requests at once; before: at most 8 requests at once, "
        "set by config\n"
    )
    again = json.loads(earg(up, "batch", "two", "1", "3", "--json").stdout)
    assert again == {
        "graph": "two",
        "node": "first",
        "limit": 3,
        "wait": 0.0,
        "objective": 0.0,
        "dynamic": False,
        "before": 2,
        "before_set_by": "earg batch",
        "before_wait": 0.0,
        "before_objective": 0.0,
        "before_dynamic": False,
    }
    limits = [node["statistics"]["batch_limit"] for node in stats(up)]
    assert limits == [3, 8]
    assert "3 (earg batch)" in earg(up, "stats", "two").stdout

    for wrong in ("0", "-4", "99999999999"):
        refused = earg(up, "batch", "two", "first", wrong)
        assert refused.returncode == 1
        assert "first: a batch limit must be from 1 to 999999999" in refused.stderr
    unknown = earg(up, "batch", "two", "third", "4")
    assert unknown.returncode == 1
    assert "graph two has no node 'third' (nodes: first, second)" in unknown.stderr

    log = earg(up, "logs", "two", "second")
    assert log.returncode == 0
    lines = json.loads(earg(up, "logs", "two", "second", "--json").stdout)
    assert lines == log.stdout.splitlines()
    assert lines
    last = earg(up, "logs", "two", "second", "--lines", "1").stdout
    assert last == lines[-1] + "\n"
    assert earg(up, "logs", "two", "second", "--lines", "0").returncode == 1


def test_a_process_that_died_is_counted_and_its_node_told(up: Path) -> None:
    (model,) = (one for one in stats(up)[0]["processes"] if one["kind"] == "model")
    os.kill(model["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 30
    while True:
        node = stats(up)[0]
        pids = {one["pid"] for one in node["processes"]}
        if node["state"] == "ready" and model["pid"] not in pids and len(pids) == 2:
            break
        assert time.monotonic() < deadline, node
    assert node["exits"] == 1
    assert node["statistics"] is not None


def watch(home: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "earg.cli", "--home", str(home), "stats", "--watch", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_watcher_sees_what_changes_until_ctrl_c(up: Path) -> None:
    process = watch(up, "two", "--json")
    try:
        assert process.stdout is not None
        seen = [json.loads(process.stdout.readline()) for _ in range(2)]
        earg(up, "send", "two", "--text", "a")
        deadline = time.monotonic() + 20
        while seen[-1][0]["nodes"][1]["statistics"]["requests"] == 0:
            assert time.monotonic() < deadline
            seen.append(json.loads(process.stdout.readline()))
        assert seen[0][0]["nodes"][1]["statistics"]["requests"] == 0
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (0, "")
    finally:
        process.kill()
        process.wait()


def test_a_watcher_whose_graph_is_taken_down_is_told(up: Path) -> None:
    process = watch(up, "two")
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "two 1\n"
        assert earg(up, "down", "two").returncode == 0
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 1
        assert "no graph 'two' is deployed here" in errors
        assert "Traceback" not in errors
    finally:
        process.kill()
        process.wait()


def test_without_an_agent_none_is_started(home: Path) -> None:
    assert earg(home, "stats").stdout == "nothing is deployed\n"
    assert json.loads(earg(home, "stats", "--json").stdout) == []
    for command in (
        ("stats", "two"),
        ("stats", "--watch"),
        ("batch", "two", "first", "4"),
        ("logs", "two", "first"),
    ):
        done = earg(home, *command)
        assert done.returncode == 1
        assert "no agent runs" in done.stderr
    assert not home.exists()
