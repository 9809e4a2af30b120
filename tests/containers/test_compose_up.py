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

import udgl
from tests.containers.docker_host import DockerHost, compose_command, docker_host
from udgl.targets import target

pytestmark = pytest.mark.slow

GRAPH = """\
meta
name Hello
version 1
operator Greet
image test/greet:1
replicas 2
batch 8
operator Count
image test/count:1
stateful Yes
memory 256MiB
cpu 1
logical flow
distribute
Greet -> Count
"""

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


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    compose = compose_command()
    folder = tmp_path_factory.mktemp("compose")
    with docker_host(tmp_path_factory.mktemp("docker")) as host:
        host.make_node_image(folder)
        models = Path(__file__).parent / "models.py"
        for image, name in (("test/greet:1", "Greet"), ("test/count:1", "Count")):
            host.make_model_image(folder / name, image, models, name)
        compilation = target("compose").compile_graph(udgl.parse(GRAPH, "hello.udgl"))
        for file in compilation.files:
            (folder / file.name).write_text(file.text)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        token = os.urandom(32).hex()
        secret = folder / "token"
        secret.write_text(token)
        secret.chmod(0o600)
        os.chown(secret, 1000, 1000)
        (folder / ".env").write_text(f"HOGAR_HTTP=127.0.0.1:{port}\n")
        command = [*compose, "-p", "hello", "-f", compilation.files[0].name]
        graph = Up(host, command, folder, f"http://127.0.0.1:{port}", token)
        host.run(*command, "config", cwd=folder)
        try:
            host.run(*command, "up", "-d", cwd=folder)
            graph.wait_until_ready()
            yield graph
        finally:
            host.run(*command, "down", "-t", "1", cwd=folder)


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
