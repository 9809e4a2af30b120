#!/usr/bin/env python
"""Deploys a small graph with the kubernetes engine, asks it, and takes it down again.

``scripts/kind_test.sh`` makes the cluster, and calls this.
"""

from __future__ import annotations

import argparse
import base64
import shlex
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import udgl
from earg.client import AgentClient, AgentError
from earg.home import Home
from earg.images import Implementation
from hogar_provider.engines.kubernetes_settings import KubernetesSettings
from udgl.targets.earg import lower

GRAPH = """\
meta
name hello
version 1
operator Greet
image hogar/kind-greet:1
operator Count
image hogar/kind-count:1
stateful Yes
logical flow
distribute
Greet -> Count
"""

MODELS = """\
class Greet:
    def predict(self, request):
        return f"hello {request}"


class Count:
    def __init__(self):
        self.count = 0

    def predict(self, request):
        self.count += 1
        return f"{self.count}: {request}"

    def get_state(self):
        return str(self.count).encode()

    def set_state(self, state):
        self.count = int(state)
"""

NAMESPACE = "graphs"
PATIENCE = 300.0
"""Seconds that a node may take: its images are there already, but a cluster may be slow."""


def write_models(folder: Path) -> None:
    """The models, and a Dockerfile for each."""
    folder.mkdir(parents=True)
    (folder / "models.py").write_text(MODELS)
    for name in ("Greet", "Count"):
        (folder / f"{name.lower()}.Dockerfile").write_text(
            f"FROM hogar/node:1\nCOPY models.py /models/\nENV EARG_ENTRYPOINT=models:{name}\n"
        )


def token_of(kubeconfig: Path) -> str:
    """The token that requests show; the account may read it."""
    from kubernetes import client, config

    api = client.CoreV1Api(config.new_client_from_config(str(kubeconfig)))
    secret = api.read_namespaced_secret("hogar-token", NAMESPACE)
    return base64.b64decode(secret.data["token"]).decode()


def ask(url: str, token: str, text: str) -> str:
    """One request to the graph."""
    headers = {"Content-Type": "text/plain", "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{url}/predict", text.encode(), headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
        return str(reply.read().decode())


def expect(url: str, token: str, text: str, wanted: str) -> None:
    """Ask, and end the program where the reply is another one."""
    found = ask(url, token, text)
    if found != wanted:
        sys.exit(f"asked {text!r}: expected {wanted!r}, got {found!r}")
    print(f"asked {text!r}: {found!r}")


def wait_for(client: AgentClient) -> None:
    """Until the agent answers."""
    deadline = time.monotonic() + 60
    while True:
        try:
            client.hello()
            return
        except AgentError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def is_ready(client: AgentClient) -> bool:
    """Whether every node is, and every backup has the state."""
    return all(node.state.value == "ready" for node in client.graph("hello").nodes)


def deploy(client: AgentClient) -> str:
    """Deploy and wire the graph; where it serves."""
    made = lower(udgl.parse(GRAPH, "hello.udgl"))
    for index, node in enumerate(made.config.nodes, 1):
        status = client.deploy_node(
            *("hello", "1", made.text, index, Implementation("", "")),
            extras=made.extras_text,
            timeout=PATIENCE,
        )
        print(f"{node.name} is up on {', '.join(pair.host for pair in status.pairs)}")
    client.wire("hello", timeout=PATIENCE)
    for index in range(1, len(made.config.nodes) + 1):
        client.probe("hello", index, timeout=PATIENCE)
    return client.serve("hello", timeout=PATIENCE).url


def run(kubeconfig: Path, home: Home, delete_pod: list[str]) -> None:
    """The whole test."""
    settings = KubernetesSettings(NAMESPACE, kubeconfig_path=str(kubeconfig))
    home.prepare()
    command = [sys.executable, "-m", "hogar_provider.engines.agent", "--engine", "kubernetes"]
    with home.log.open("ab") as output:
        agent = subprocess.Popen(
            [*command, "--home", str(home.path), "--foreground"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
        )
    assert agent.stdin is not None
    with agent.stdin as pipe:
        pipe.write(settings.to_json().encode())
    try:
        with AgentClient(home) as client:
            wait_for(client)
            url = deploy(client)
            token = token_of(kubeconfig)
            expect(url, token, "a", "1: hello a")
            deadline = time.monotonic() + PATIENCE
            while not is_ready(client) and time.monotonic() < deadline:
                time.sleep(1)
            count = client.graph("hello").nodes[1]
            pod = count.pairs[0].model_log.removeprefix("pod/").partition(" ")[0]
            print(f"the primary of Count is {pod}: it is deleted")
            subprocess.run([*delete_pod, pod], check=True)
            expect(url, token, "b", "2: hello b")
            print(client.node_log("hello", 2, 5))
            client.down("hello")
            print("the graph is gone")
    finally:
        agent.terminate()
        agent.wait(60)


def main() -> None:
    """Do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write-models", type=Path, metavar="FOLDER")
    parser.add_argument("--kubeconfig", type=Path)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--delete-pod", default="kubectl delete pod", help="the command to do so")
    options = parser.parse_args()
    if options.write_models is not None:
        write_models(options.write_models)
        return
    if options.kubeconfig is None or options.home is None:
        parser.error("say --kubeconfig and --home")
    run(options.kubeconfig, Home(options.home.absolute()), shlex.split(options.delete_pod))


if __name__ == "__main__":
    main()
