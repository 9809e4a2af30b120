"""The command line, as a person runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.earg.running import MODELS

pytestmark = pytest.mark.slow

CONFIG = """\
2
1
first,1,hogar/named:1,false,8
second,1,hogar/named:1,true,8
dist[1->2]
"""


def earg(home: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "earg.cli", "--home", str(home), *arguments],
        input=stdin,
        capture_output=True,
        timeout=90,
        check=False,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "two-1.earg"
    path.write_text(CONFIG)
    return path


def test_up_nodes_send_down(home: Path, config: Path) -> None:
    images = str(MODELS / "images.yaml")
    up = earg(home, "up", str(config), "--images", images)
    assert up.returncode == 0, up.stderr
    assert up.stdout.startswith("two serves at http://127.0.0.1:")
    assert "second is ready" in up.stderr

    table = earg(home, "nodes").stdout
    assert [line.split()[0] for line in table.splitlines()] == [
        "two",
        "NODE",
        "first",
        "second",
        "backup",
    ]
    (graph,) = json.loads(earg(home, "nodes", "--json").stdout)
    assert (graph["name"], graph["version"]) == ("two", "1")
    assert [node["state"] for node in graph["nodes"]] == ["ready", "ready"]
    assert graph["url"] in up.stdout

    sent = earg(home, "send", "two", "--text", "x")
    assert sent.stdout == "second(first(x))\n"
    from_stdin = earg(home, "send", "two", "--file", "-", stdin=b"y")
    assert "b'y'" in from_stdin.stdout

    assert earg(home, "send", "two", "--value", '"z"').stdout == "second(first(z))\n"

    down = earg(home, "down", "two")
    assert down.stdout == "two is down\n"
    assert earg(home, "nodes").stdout == "nothing is deployed\n"
    assert earg(home, "agent", "stop").stdout == "the agent has stopped\n"


def test_an_image_without_a_mapping_is_told(home: Path, config: Path, tmp_path: Path) -> None:
    images = tmp_path / "images.yaml"
    images.write_text("other:1: {entrypoint: 'a:B'}\n")
    up = earg(home, "up", str(config), "--images", str(images))
    assert up.returncode == 1
    assert f"{images} maps no entrypoint for image 'hogar/named:1'" in up.stderr
    assert "hogar/named:1:\n  entrypoint: package.module:Class" in up.stderr
    assert not home.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 3\n", "expected 'entrypoint: package.module:Class'"),
        ("a: {entrypoint: nothing}\n", "not of the form module:Class"),
        ("a: {entrypoint: 'os:system', extra: 1}\n", "unknown key extra"),
        ("- a\n", "must map image references"),
        ("a: [\n", "is not YAML"),
        ("!!python/object/apply:os.system ['true']\n", "is not YAML"),
    ],
)
def test_a_damaged_images_file_is_told(
    home: Path, config: Path, tmp_path: Path, text: str, words: str
) -> None:
    images = tmp_path / "images.yaml"
    images.write_text(text)
    up = earg(home, "up", str(config), "--images", str(images))
    assert up.returncode == 1
    assert words in up.stderr
    assert "Traceback" not in up.stderr


def test_a_damaged_config_is_told_with_line_and_column(home: Path, tmp_path: Path) -> None:
    config = tmp_path / "broken-1.earg"
    config.write_text(CONFIG.replace("true", "True"))
    up = earg(home, "up", str(config), "--images", str(MODELS / "images.yaml"))
    assert up.returncode == 1
    assert f"{config}:4:24: stateful must be true or false" in up.stderr


def test_commands_without_an_agent_start_none(home: Path) -> None:
    assert earg(home, "nodes").stdout == "nothing is deployed\n"
    assert earg(home, "down", "--all").returncode == 0
    assert "no agent runs" in earg(home, "send", "g", "--text", "x").stderr
    assert earg(home, "agent", "stop").stdout == "no agent runs\n"
    assert not home.exists()


def test_a_wrong_command_line_exits_with_2(home: Path) -> None:
    assert earg(home, "send", "g").returncode == 2
    assert earg(home).returncode == 2


def test_every_command_speaks_json(home: Path, config: Path) -> None:
    def ask(*arguments: str) -> Any:
        done = earg(home, *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert ask("agent", "status") == {"running": False, "home": str(home)}
    assert ask("nodes") == ask("stats") == ask("events") == []
    started = ask("agent", "start")
    assert started["running"]
    assert started["home"] == str(home)

    images = str(MODELS / "images.yaml")
    up = ask("up", str(config), "--images", images)
    assert [node["state"] for node in up["nodes"]] == ["ready", "ready"]
    assert ask("nodes", "two") == [up]
    assert ask("agent", "status") == started | {"graphs": ["two"]}
    sent = ask("send", "two", "--text", "x")
    assert (sent["reply"], sent["content_type"]) == ("second(first(x))", "text/plain")
    assert 0 < sent["seconds"] < 60
    assert ask("batch", "two", "first", "3")["before"] == 8
    assert ask("stats", "two")[0]["nodes"][0]["statistics"]["batch_limit"] == 3
    events = ask("events", "two")
    changes = [(e["before"], e["after"]) for e in events if e["node"] == "second" and e["after"]]
    assert changes[0] == ("", "starting")
    assert any("constructed" in line for line in ask("logs", "two", "first"))
    assert ask("drain", "two", "--timeout", "30") == {"graph": "two", "stopped": True, "left": 0}
    assert ask("down", "--all") == {"stopped": []}
    assert ask("agent", "stop") == {"stopped": True}
    assert ask("agent", "stop") == {"stopped": False}


def test_up_again_replaces_what_has_changed(home: Path, config: Path) -> None:
    images = str(MODELS / "images.yaml")

    def up() -> dict[str, list[int]]:
        done = earg(home, "up", str(config), "--images", images, "--json")
        assert done.returncode == 0, done.stderr
        return {
            node["name"]: [pair["model_pid"] for pair in node["pairs"]]
            for node in json.loads(done.stdout)["nodes"]
        }

    first = up()
    config.write_text(CONFIG.replace("second,1", "second,2"))
    second = up()
    assert second["first"] == first["first"]
    assert not set(second["second"]) & set(first["second"])
    told = earg(home, "events", "two").stdout
    assert "second version 2 takes the place of version 1" in told
    rows = earg(home, "nodes").stdout.splitlines()
    assert rows[1].split()[:4] == ["NODE", "VERSION", "STATE", "ROLE"]
    assert rows[3].split()[:5] == ["second", "2", "ready", "primary", "ready"]
    assert earg(home, "drain", "two").stdout == "two is drained and down\n"


def test_logs_of_every_process(home: Path, config: Path) -> None:
    done = earg(home, "up", str(config), "--images", str(MODELS / "images.yaml"))
    assert done.returncode == 0, done.stderr
    # What the processes write themselves differs, so a line is put into each log.
    for name in ("first.model", "first.proxy", "second.backup.proxy", "frontend"):
        with (home / "graphs" / "two" / "logs" / f"{name}.log").open("a") as log:
            print(f"this is {name}", file=log)
    for arguments, name in (
        (["first"], "first.model"),
        (["first", "--proxy"], "first.proxy"),
        (["second", "--proxy", "--backup"], "second.backup.proxy"),
        (["frontend"], "frontend"),
    ):
        said = earg(home, "logs", "two", *arguments, "--lines", "1")
        assert said.stdout == f"this is {name}\n", said.stderr
    assert "first of graph two has no backup" in earg(home, "logs", "two", "1", "--backup").stderr
    refused = earg(home, "logs", "two", "frontend", "--proxy")
    assert (refused.returncode, "neither a proxy" in refused.stderr) == (1, True)


def test_events_are_followed_until_interrupted(home: Path, config: Path) -> None:
    done = earg(home, "up", str(config), "--images", str(MODELS / "images.yaml"))
    assert done.returncode == 0, done.stderr
    command = [sys.executable, "-m", "earg.cli", "--home", str(home), "events", "--follow"]
    with subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        first = json.loads(follower.stdout.readline())
        assert (first["graph"], first["after"]) == ("two", "starting")
        earg(home, "down", "two")
        numbers = [first["number"]]
        while True:
            event = json.loads(follower.stdout.readline())
            numbers.append(event["number"])
            if event["what"] == "was taken down":
                break
        # Each once, in order.
        assert numbers == sorted(set(numbers))
        follower.send_signal(signal.SIGINT)
        assert follower.wait(timeout=20) == 0


def test_a_drain_that_takes_too_long_exits_with_1(home: Path, tmp_path: Path) -> None:
    config = tmp_path / "slow-1.earg"
    config.write_text("1\n0\nonly,1,slow:1,false,1\n")
    images = tmp_path / "images.yaml"
    images.write_text("slow:1: {entrypoint: 'little:Slow'}\n")
    (tmp_path / "little.py").write_text((MODELS / "little.py").read_text())
    done = earg(home, "up", str(config), "--images", str(images))
    assert done.returncode == 0, done.stderr
    send = [sys.executable, "-m", "earg.cli", "--home", str(home), "send", "slow", "--text", "x"]
    senders = [subprocess.Popen(send, stdout=subprocess.PIPE) for _ in range(12)]
    deadline = time.monotonic() + 60
    while (
        json.loads(earg(home, "stats", "slow", "--json").stdout)[0]["nodes"][0]["statistics"][
            "queued"
        ]
        < 3
    ):
        assert time.monotonic() < deadline
    drained = earg(home, "drain", "slow", "--timeout", "0.1", "--json")
    assert drained.returncode == 1
    assert "left after 0.1 s; it serves again; --force stops it" in drained.stderr
    answer = json.loads(drained.stdout)
    assert (answer["stopped"], answer["left"] > 0) == (False, True)
    for sender in senders:
        assert sender.communicate(timeout=60)[0] == b"x\n"
    assert earg(home, "drain", "slow", "--timeout", "-1").returncode == 1
