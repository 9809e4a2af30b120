"""The command line, as a person runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.earg.running import MODELS

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
