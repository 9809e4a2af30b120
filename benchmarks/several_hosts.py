"""What an agent over several hosts costs, and how long a host's death is felt.

    PYTHONPATH=. .venv/bin/python benchmarks/several_hosts.py [--deaths N]

The hosts are groups of processes on loopback addresses that are killed as a whole, so this measures
HOGAR's own part: the agent's looks, the failover, the start elsewhere. What a platform adds to
start a container is not in it. The peer is HOGAR's local engine in the same run: the agent at rest,
and the death of a stateful primary's processes.
"""

from __future__ import annotations

import argparse
import os
import platform as machine
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from control_costs import cpu

from earg.addresses import AddressPool
from earg.client import AgentClient, AgentError, connect
from earg.config import Edge, NodeSpec, StaticConfig, write_static
from earg.home import Home
from earg.images import Implementation
from earg.status import NodeState
from tests.earg.process_platform import Hosts, make_hosts

HOSTS = ("one", "two", "three")
SMALL, LARGE = 2, 10
"""Nodes of the two graphs whose difference is the cost a node; the last one is stateful."""

REST = 10.0
"""Seconds at rest."""

CLIENTS = 4

MODELS = """\
import json

class Echo:
    def predict(self, request):
        return request

class Count:
    def __init__(self):
        self.count = 0
    def predict(self, request):
        self.count += 1
        return self.count
    def get_state(self):
        return json.dumps(self.count).encode()
    def set_state(self, state):
        self.count = json.loads(state)
"""


def chain(count: int) -> str:
    """The config of a chain whose last node is stateful."""
    nodes = tuple(NodeSpec(f"n{i}", "1", "image", i == count, 8) for i in range(1, count + 1))
    edges = tuple(Edge((i,), (i + 1,)) for i in range(1, count))
    return write_static(StaticConfig(nodes, edges, ()))


def until(condition: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)


def deploy(client: AgentClient, folder: Path, count: int) -> str:
    """Deploy a chain of so many nodes, and wait until all are ready; its URL."""
    config, name = chain(count), f"chain{count}"
    for index in range(1, count + 1):
        kind = "Count" if index == count else "Echo"
        runs = Implementation(f"bench_models:{kind}", str(folder))
        client.deploy_node(name, "1", config, index, runs, timeout=120)
    client.wire(name, timeout=60)
    for index in range(1, count + 1):
        client.probe(name, index, timeout=120)
    return client.serve(name).url


def is_ready(client: AgentClient, name: str) -> bool:
    """Whether every node is ready."""
    return all(node.state is NodeState.READY for node in client.graph(name).nodes)


@dataclass
class Felt:
    """What clients saw: seconds that each request took, and failures."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)


@contextmanager
def asking(url: str) -> Iterator[Felt]:
    """Clients that send one request after the other."""
    felt, over = Felt(), threading.Event()

    def ask() -> None:
        while not over.is_set():
            begun = time.monotonic()
            request = urllib.request.Request(f"{url}/predict", b"x")
            try:
                with urllib.request.urlopen(request, timeout=120) as reply:
                    felt.counts.append(int(reply.read()))
            except (OSError, ValueError) as error:
                felt.failures.append(repr(error))
            felt.seconds.append(time.monotonic() - begun)
            time.sleep(0.01)

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield felt
    finally:
        over.set()
        for thread in threads:
            thread.join()


def agent_cost(client: AgentClient, folder: Path) -> tuple[float, float]:
    """Seconds of CPU that the agent uses in one, for a node and beside nodes, at rest."""
    used = {}
    for count in (SMALL, LARGE):
        deploy(client, folder, count)
        time.sleep(3)
        _, pid = client.hello()
        before = cpu(pid)
        time.sleep(REST)
        used[count] = (cpu(pid) - before) / REST
        client.down(f"chain{count}")
    node = (used[LARGE] - used[SMALL]) / (LARGE - SMALL)
    return node, used[SMALL] - SMALL * node


def deaths(client: AgentClient, folder: Path, count: int, kill: Callable[[str], None]) -> Felt:
    """What clients feel of so many deaths of the stateful node's primary, with all that ``kill``
    takes with it; ``seconds`` are the longest of each."""
    url = deploy(client, folder, SMALL)
    all_felt = Felt()
    for _ in range(count):
        with asking(url) as felt:
            time.sleep(1)
            kill(f"chain{SMALL}")
            time.sleep(1)
            until(lambda: is_ready(client, f"chain{SMALL}"), "all is ready again")
            time.sleep(0.5)
        all_felt.seconds.append(max(felt.seconds))
        all_felt.failures += felt.failures
        all_felt.counts += felt.counts
    client.down(f"chain{SMALL}")
    if len(set(all_felt.counts)) != len(all_felt.counts):
        raise SystemExit("a request was counted twice")
    return all_felt


def local(folder: Path, count: int) -> tuple[tuple[float, float], Felt]:
    """The peer: the local engine."""
    with connect(folder / "local") as client:

        def kill(name: str) -> None:
            primary = client.graph(name).nodes[-1].pairs[0]
            for pid in (primary.model_pid, primary.proxy_pid):
                os.kill(pid, signal.SIGKILL)

        try:
            return agent_cost(client, folder), deaths(client, folder, count, kill)
        finally:
            client.shutdown()


def hosted(folder: Path, count: int) -> tuple[tuple[float, float], Felt]:
    """An agent over hosts that die as a whole."""
    pool = AddressPool("several-hosts")
    make_hosts(folder / "platform", pool, *HOSTS)
    hosts = Hosts(folder / "platform")
    for name in HOSTS:
        hosts.start(name)
    home = Home(folder / "hosted")
    command = [sys.executable, "-m", "tests.earg.process_platform"]
    with (folder / "agent.log").open("wb") as log:
        agent = subprocess.Popen(
            [*command, str(folder / "platform"), str(home.path)], stdout=log, stderr=log
        )
    client = AgentClient(home)

    def answers() -> bool:
        try:
            return bool(client.hello())
        except AgentError:
            return False

    def kill(name: str) -> None:
        graph = client.graph(name)
        # Not the frontend's host: connections to that break.
        pairs = [pair for pair in graph.nodes[-1].pairs if pair.host != graph.frontend_host]
        primary = graph.nodes[-1].pairs[0]
        lost = primary.host if primary in pairs else pairs[0].host
        hosts.kill(lost)
        time.sleep(12)
        hosts.start(lost)

    try:
        until(answers, "the agent answers")
        return agent_cost(client, folder), deaths(client, folder, count, kill)
    finally:
        agent.terminate()
        agent.wait()
        client.close()
        hosts.close()
        pool.close()


def main() -> None:
    """Print both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deaths", type=int, default=5, help="how many of each (default: 5)")
    options = parser.parse_args()
    print(f"Python {machine.python_version()}, Linux {machine.release()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bench_models.py").write_text(MODELS)
        print(f"load {os.getloadavg()[0]:.1f}")
        (own_node, own_rest), own = local(folder, options.deaths)
        (node, rest), felt = hosted(folder, options.deaths)
    print("agent at rest, ms of CPU a second   local  hosts  ratio")
    both = f"{own_node * 1e3:7.1f}{node * 1e3:7.1f}{node / own_node:7.2f}"
    print(f"  a node                          {both}")
    print(f"  beside nodes                    {own_rest * 1e3:7.1f}{rest * 1e3:7.1f}")
    print("longest wait of a client at a death, s (median, most)")
    for what, one in (("local: its processes", own), ("hosts: all of its host", felt)):
        print(
            f"  {what:<24} {median(one.seconds):6.2f} {max(one.seconds):6.2f}, "
            f"{len(one.failures)} of {len(one.counts) + len(one.failures)} requests lost"
        )


if __name__ == "__main__":
    main()
