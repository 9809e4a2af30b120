"""The pods of compiled Kubernetes objects, run on Docker by a stand-in for a cluster."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import udgl
from tests.containers.docker_host import GRAPH, DockerHost
from tests.containers.kubelet import Kubelet, Pod
from udgl.targets import target

pytestmark = pytest.mark.slow

TOKEN = "0123456789abcdef" * 4
PATIENCE = 60.0


@pytest.fixture
def cluster(docker: DockerHost, tmp_path: Path) -> Iterator[Kubelet]:
    compilation = target("kubernetes").compile_graph(udgl.parse(GRAPH, "hello.udgl"))
    kubelet = Kubelet(docker, tmp_path, {"hello-token": {"token": TOKEN}})
    try:
        kubelet.apply(compilation.files[0].text)
        yield kubelet
    finally:
        kubelet.close()


def pod_of(cluster: Kubelet, node: str) -> Pod:
    """The one pod of a Deployment."""
    (found,) = (pod for pod in cluster.pods.values() if pod.labels["hogar/node"] == node)
    return found


def frontend(cluster: Kubelet) -> Pod:
    return pod_of(cluster, "hello-frontend")


def ask(cluster: Kubelet, text: str) -> str:
    headers = {"Content-Type": "text/plain", "Authorization": f"Bearer {TOKEN}"}
    url = f"http://{frontend(cluster).ip}:8500/predict"
    request = urllib.request.Request(url, text.encode(), headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
        return str(reply.read().decode())


def eventually(done: Callable[[], bool], explain: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.3)


def passes(docker: DockerHost, pod: Pod, name: str) -> bool:
    """Whether a container's readiness probe does."""
    (container,) = (one for one in pod.spec["containers"] if one["name"] == name)
    probe = container["readinessProbe"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    try:
        if "exec" in probe:
            docker.run("docker", "exec", pod.containers[name], *probe["exec"]["command"])
        elif "tcpSocket" in probe:
            socket.create_connection((pod.ip, ports[probe["tcpSocket"]["port"]]), 5).close()
        else:
            asked = probe["httpGet"]
            url = f"http://{pod.ip}:{ports[asked['port']]}{asked['path']}"
            with urllib.request.urlopen(url, timeout=5):
                pass
    except (OSError, AssertionError):
        return False
    return True


def test_the_pods_become_ready_and_outlive_a_model_that_dies_and_pods_that_move(
    docker: DockerHost, cluster: Kubelet
) -> None:
    def logs() -> str:
        ids = [one for pod in cluster.pods.values() for one in pod.containers.values()]
        return "".join(docker.run("sh", "-c", f"docker logs --tail 15 {one} 2>&1") for one in ids)

    assert set(cluster.pods) >= {"hello-count-0", "hello-count-1", "hello-greet-more-0"}
    eventually(lambda: passes(docker, frontend(cluster), "frontend"), logs)
    for pod in cluster.pods.values():
        for container in pod.spec["containers"]:
            if "readinessProbe" in container:
                name = container["name"]
                eventually(lambda pod=pod, name=name: passes(docker, pod, name), logs)  # type: ignore[misc]
    assert ask(cluster, "a") == "1: hello a"

    wiring = pod_of(cluster, "hello-wiring").containers["wiring"]
    told = f"docker logs {wiring} 2>&1"

    def has_backups(times: int) -> bool:
        return docker.run("sh", "-c", told).count("is the backup of") >= times

    eventually(lambda: has_backups(1), logs)
    model = cluster.pods["hello-count-0"].containers["model"]
    pid = json.loads(docker.run("docker", "inspect", model))[0]["State"]["Pid"]
    os.kill(pid, signal.SIGKILL)
    assert ask(cluster, "b") == "2: hello b"
    assert "hello-count-1.hello-count took the place of" in docker.run("sh", "-c", told)
    eventually(lambda: has_backups(2), logs)
    assert ask(cluster, "c") == "3: hello c"

    # A pod that a drain moves elsewhere comes back at another address.
    cluster.replace(pod_of(cluster, "hello-greet"))
    assert ask(cluster, "d") == "4: hello d"
    cluster.replace(cluster.pods["hello-count-1"])
    assert ask(cluster, "e") == "5: hello e"
    cluster.replace(frontend(cluster))
    eventually(lambda: passes(docker, frontend(cluster), "frontend"), logs)
    assert ask(cluster, "f") == "6: hello f"

    def answering() -> set[str]:
        with ThreadPoolExecutor(16) as threads:
            said = threads.map(lambda _: ask(cluster, "where"), range(16))
            return {one.partition(": ")[2] for one in said}

    both = {pod_of(cluster, "hello-greet").name, "hello-greet-more-0"}
    eventually(lambda: answering() == both, logs)
