"""``docker/Dockerfile``, built by a real daemon on a base of this machine's own parts."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.docker_host import DockerHost
from tests.containers.local_images import CERTIFICATES, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PYTHON_IMAGE, BUILT = "test/python:1", "test/node:built"
PATIENCE = 120.0
BUILD_TIMEOUT = 700.0
LARGEST = 75_000_000
"""Bytes that the image may have beyond its base."""

INDEX = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")

UNREACHABLE = re.compile(
    r"Retrying \(|Could not fetch URL|NameResolutionError|NewConnectionError|ReadTimeoutError"
)
"""What pip says where it does not reach its index."""


def certificates() -> Path | None:
    """The authorities that this machine trusts."""
    named = os.environ.get("PIP_CERT") or ssl.get_default_verify_paths().cafile
    return Path(named) if named and Path(named).is_file() else None


def index_arguments(trusted: Path | None) -> list[str]:
    """How pip reaches its index from here, for the build."""
    found = {"PIP_CERT": CERTIFICATES} if trusted else {}
    for name in (*INDEX, "PIP_DEFAULT_TIMEOUT"):
        if os.environ.get(name) and not os.environ[name].startswith("file:"):
            found[name] = os.environ[name]
    return [part for name, text in found.items() for part in ("--build-arg", f"{name}={text}")]


@pytest.fixture
def image(docker: DockerHost, tmp_path: Path) -> Iterator[str]:
    """The image, built; skips where pip does not reach its index."""
    trusted = certificates()
    docker.make_python_image(tmp_path, PYTHON_IMAGE, trusted)
    done = subprocess.run(
        [
            *("docker", "build", "--network=host", "--build-arg", f"PYTHON={PYTHON_IMAGE}"),
            *index_arguments(trusted),
            *("-t", BUILT, "-f", "docker/Dockerfile", "."),
        ],
        env=docker.environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT,
        check=False,
    )
    said = done.stdout + done.stderr
    # Of the last step: pip may have tried twice, and something else have failed later.
    words = UNREACHABLE.search(said.rpartition("\nStep ")[2])
    if done.returncode != 0 and words and "SSLError" not in said:
        pytest.skip(f"no image is built here: pip does not reach its index ({words[0]})")
    assert done.returncode == 0, said[-5000:]
    yield BUILT
    docker.run("docker", "rmi", "-f", BUILT, PYTHON_IMAGE)


def inspected(docker: DockerHost, *what: str) -> dict:
    (found,) = json.loads(docker.run("docker", "inspect", *what))
    return found


def wait_for_status(docker: DockerHost, container: str, text: str) -> None:
    """Until ``docker ps`` shows it."""
    deadline = time.monotonic() + PATIENCE
    look = ("docker", "ps", "-a", "--filter", f"id={container}", "--format", "{{.Status}}")
    while text not in (status := docker.run(*look)):
        health = inspected(docker, container)["State"].get("Health")
        assert time.monotonic() < deadline, f"{status}: {health}"
        time.sleep(0.3)


def test_a_model_is_three_lines_on_the_image_that_the_dockerfile_builds(
    docker: DockerHost, image: str, tmp_path: Path
) -> None:
    # EARG alone, its libraries, and a user without rights.
    told = inspected(docker, image)
    assert told["Config"]["User"] == "10001:10001"
    assert told["Size"] - inspected(docker, PYTHON_IMAGE)["Size"] < LARGEST
    assert "PIP_" not in docker.run("docker", "history", "--no-trunc", image)
    look = "import os, pwd; print(pwd.getpwuid(os.getuid()).pw_name, os.path.expanduser('~'))"
    inside = ("docker", "run", "--rm", "--network=none", image)
    assert docker.run(*inside, "python", "-c", look).split() == ["earg", "/home/earg"]
    assert "No broken requirements" in docker.run(*inside, "pip", "check")
    packages = docker.run(*inside, "pip", "list", "--format=freeze").lower()
    assert "hogar-node==" in packages
    assert not re.search("networkx|lark|airflow|grpcio-tools", packages)

    # A pair of containers, of which Docker's own checks say how they are.
    models = Path(__file__).parent / "models.py"
    docker.make_model_image(tmp_path / "greet", "test/greet:built", models, "Greet", image)
    often = ("--health-interval=500ms", "--health-retries=2")
    confined = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL")
    model = docker.run(
        *("docker", "run", "-d", "--network=none", *often, *confined, "test/greet:built")
    ).strip()
    proxy = docker.run(
        *("docker", "run", "-d", f"--network=container:{model}", *often, *confined),
        *("-e", "PROXY_NAME=127.0.0.1", "-e", "PROXY_PORT=22223"),
        *("--health-cmd", "earg ready --alive", image, "python", "-m", "earg.proxy"),
    ).strip()
    try:
        wait_for_status(docker, model, "(healthy)")
        wait_for_status(docker, proxy, "(healthy)")
        pid = int(inspected(docker, model)["State"]["Pid"])
        os.kill(pid, signal.SIGSTOP)
        wait_for_status(docker, model, "(unhealthy)")
        os.kill(pid, signal.SIGCONT)
        wait_for_status(docker, model, "(healthy)")
    finally:
        logs = [docker.run("sh", "-c", f"docker logs {one} 2>&1") for one in (model, proxy)]
        print(*logs, sep="\n")
        docker.run("docker", "rm", "-f", model, proxy)
        docker.run("docker", "rmi", "-f", "test/greet:built")
