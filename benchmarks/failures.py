"""What failures cost: how soon each kind is known, and how long clients wait for it.

    .venv/bin/python benchmarks/failures.py [--kills 20]

Under the load of one client, processes of the five-node graph are killed (SIGKILL) or held
(SIGSTOP), each after the graph was whole again. Prints, of each kind, the time until the agent's
event log tells it and the longest time between two replies, in milliseconds.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import signal
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from serving import deploy, pause_after, simpledag, wait_until_ready

from earg.client import AgentClient, connect

GRAPH = "failures"


class Client:
    """Sends request after request and notes when each reply came; connects again when cut off."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._stop = threading.Event()
        self.replies: list[float] = []
        self.refused = 0

    def run(self) -> None:
        """Send until :meth:`stop`."""
        connection = self._connect()
        while not self._stop.is_set():
            try:
                connection.request("POST", self._parts.path, b"x", {"Content-Type": "text/plain"})
                reply = connection.getresponse()
                reply.read()
            except (OSError, HTTPException):
                connection.close()
                connection = self._connect()
                time.sleep(0.005)
                continue
            if reply.status == 200:
                self.replies.append(time.monotonic())
            else:
                self.refused += 1
        connection.close()

    def _connect(self) -> HTTPConnection:
        return HTTPConnection(str(self._parts.hostname), self._parts.port, timeout=30)

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()


def pid_of(agent: AgentClient, what: str) -> int:
    """The pid of ``frontend``, or of ``NODE model`` or ``NODE proxy``."""
    if what == "frontend":
        (graph,) = json.loads(agent.home.ledger.read_text())["graphs"]
        return int(graph["frontend"]["pid"])
    name, _, process = what.partition(" ")
    pair = next(node for node in agent.graph(GRAPH).nodes if node.name == name).pairs[0]
    return pair.model_pid if process == "model" else pair.proxy_pid


def known_after(agent: AgentClient, pid: int, at: float) -> float:
    """Seconds from ``at`` (Unix time) until an event named the process."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for event in agent.events(GRAPH):
            if event.time >= at and f"(pid {pid})" in event.what:
                return event.time - at
        time.sleep(0.01)
    raise SystemExit(f"no event tells of pid {pid}")


def measure(
    agent: AgentClient, url: str, what: str, number: signal.Signals, times: int
) -> tuple[list[float], list[float], int]:
    """Milliseconds until known and of the longest pause, sorted; and requests refused."""
    client = Client(url)
    known: list[float] = []
    hits: list[float] = []
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(client.run)
        try:
            for _ in range(times):
                wait_until_ready(agent, GRAPH)
                time.sleep(0.3)
                pid = pid_of(agent, what)
                wall, at = time.time(), time.monotonic()
                os.kill(pid, number)
                known.append(1000 * known_after(agent, pid, wall))
                hits.append(at)
                _wait_for_reply(client, at)
            wait_until_ready(agent, GRAPH)
        finally:
            client.stop()
            running.result()
    pauses = sorted(1000 * pause_after(at, client.replies, window=1.5) for at in hits)
    return sorted(known), pauses, client.refused


def _wait_for_reply(client: Client, since: float) -> None:
    deadline = time.monotonic() + 30
    while not client.replies or client.replies[-1] <= since + 1.0:
        if time.monotonic() > deadline:
            raise SystemExit("no reply within 30 s")
        time.sleep(0.02)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}")
    print(f"hogar {importlib.metadata.version('airflow-provider-hogar')}")
    print(f"{'':34}{'known p50':>10}{'max':>8}{'pause p50':>11}{'max':>8}{'refused':>9}")
    with tempfile.TemporaryDirectory(prefix="hogar-") as home, connect(Path(home)) as agent:
        try:
            url = deploy(agent, GRAPH, simpledag(stateful=True))
            held = max(2, options.kills // 4)
            for text, number, what, times in (
                ("killed: stateless model", signal.SIGKILL, "c3 model", options.kills),
                ("killed: stateless proxy", signal.SIGKILL, "c3 proxy", options.kills),
                ("killed: entry's proxy", signal.SIGKILL, "c1 proxy", options.kills),
                ("killed: stateful primary's model", signal.SIGKILL, "c2 model", options.kills),
                ("killed: stateful primary's proxy", signal.SIGKILL, "c2 proxy", options.kills),
                ("killed: frontend", signal.SIGKILL, "frontend", options.kills),
                ("held: stateless proxy", signal.SIGSTOP, "c3 proxy", held),
                ("held: stateful primary's model", signal.SIGSTOP, "c2 model", held),
            ):
                known, pauses, refused = measure(agent, url, what, number, times)
                print(
                    f"{text:34}{known[len(known) // 2]:10.0f}{known[-1]:8.0f}"
                    f"{pauses[len(pauses) // 2]:11.0f}{pauses[-1]:8.0f}{refused:9}",
                    flush=True,
                )
        finally:
            agent.shutdown()


if __name__ == "__main__":
    sys.exit(main())
