"""A compiled Compose file, brought up by a real Docker daemon."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

import udgl
from tests.containers.docker_host import GRAPH, DockerHost, compose_command
from udgl.targets import target

pytestmark = pytest.mark.slow

PATIENCE = 60.0
"""Seconds for the graph to become ready, and for what died to be back."""


@dataclass(frozen=True)
class Up:
    """The graph, up."""

    host: DockerHost
    compose: list[str]
    folder: Path
    url: str
    token: str

    def ask(self, text: str, token: str | None = None) -> str:
        headers = {
            "Content-Type": "text/plain",
            "Authorization": f"Bearer {self.token if token is None else token}",
        }
        request = urllib.request.Request(f"{self.url}/predict", text.encode(), headers)
        with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
            return str(reply.read().decode())

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/v2/health/ready", timeout=5):
                    return
            except OSError:
                if time.monotonic() > deadline:
                    raise AssertionError(self.logs()) from None
            time.sleep(0.3)

    def container(self, service: str) -> str:
        found = self.host.run(*self.compose, "ps", "-q", service, cwd=self.folder).split()
        assert found, f"no container of {service}"
        return found[0]

    def pid(self, service: str) -> int:
        said = self.host.run("docker", "inspect", self.container(service))
        return int(json.loads(said)[0]["State"]["Pid"])

    def kill(self, service: str) -> None:
        """From outside: what Docker itself is told to kill it does not start again."""
        before = self.pid(service)
        os.kill(before, signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE
        while self.pid(service) in (0, before):
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.1)

    def wait_for_log(self, service: str, text: str, times: int = 1) -> None:
        deadline = time.monotonic() + PATIENCE
        container = self.container(service)
        while (logs := self.log(container)).count(text) < times:
            assert time.monotonic() < deadline, logs
            time.sleep(0.3)

    def log(self, container: str) -> str:
        return self.host.run("sh", "-c", f"docker logs {container} 2>&1")

    def logs(self) -> str:
        return self.host.run(*self.compose, "logs", "--tail", "30", cwd=self.folder)


@pytest.fixture
def up(docker: DockerHost, tmp_path: Path) -> Iterator[Up]:
    compose = compose_command()
    compilation = target("compose").compile_graph(udgl.parse(GRAPH, "hello.udgl"))
    for file in compilation.files:
        (tmp_path / file.name).write_text(file.text)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    token = os.urandom(32).hex()
    secret = tmp_path / "token"
    secret.write_text(token)
    secret.chmod(0o600)
    os.chown(secret, 1000, 1000)
    (tmp_path / ".env").write_text(f"HOGAR_HTTP=127.0.0.1:{port}\n")
    command = [*compose, "-p", "hello", "-f", compilation.files[0].name]
    graph = Up(docker, command, tmp_path, f"http://127.0.0.1:{port}", token)
    try:
        docker.run(*command, "up", "-d", cwd=tmp_path)
        graph.wait_until_ready()
        yield graph
    finally:
        docker.run(*command, "down", "-t", "1", cwd=tmp_path)


def test_the_graph_answers_and_outlives_a_container_of_each_kind(up: Up) -> None:
    assert up.ask("you") == "1: hello you"
    with pytest.raises(urllib.error.HTTPError) as refused:
        up.ask("you", token="x" * 64)
    assert refused.value.code == 401

    wiring = "wiring"
    up.wait_for_log(wiring, "is the backup of")
    # As the containers' checks ask, which come too seldom to wait for.
    up.host.run("docker", "exec", up.container("greet-proxy"), "earg", "ready")
    up.host.run("docker", "exec", up.container("greet"), "earg", "ready", "--model")
    up.kill("greet")
    assert up.ask("a") == "2: hello a"

    # The state goes on at the backup, which gets a backup of its own.
    up.kill("count")
    assert up.ask("b") == "3: hello b"
    up.wait_for_log(wiring, "took the place of")
    up.wait_for_log(wiring, "is the backup of", times=2)
    assert up.ask("c") == "4: hello c"

    up.kill("greet-proxy")
    assert up.ask("d") == "5: hello d"

    # Who wires keeps nothing: another one goes on, and a failure after it costs no state either.
    up.kill("wiring")
    up.wait_for_log(wiring, "is the backup of", times=3)
    up.kill("count-backup-proxy")
    assert up.ask("e") == "6: hello e"

    up.kill("frontend")
    up.wait_until_ready()
    assert up.ask("f") == "7: hello f"


def test_compose_itself_takes_what_says_everything(tmp_path: Path) -> None:
    compose = compose_command()
    text = GRAPH.replace("replicas 2", "replicas 2\ngpu 1\nenv A=$B\ncpu 0.5\nmemory 1GiB")
    compilation = target("compose").compile_graph(udgl.parse(text, "hello.udgl"))
    for file in compilation.files:
        (tmp_path / file.name).write_text(file.text)
    read = DockerHost(tmp_path / "none").run(
        *compose, "-f", compilation.files[0].name, "config", cwd=tmp_path
    )
    service = yaml.safe_load(read)["services"]["greet"]
    # As it is written out again, where a single $ would be a variable.
    assert service["environment"]["A"] in ("$B", "$$B")
    assert float(service["cpus"]) == 0.5
