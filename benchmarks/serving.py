"""Serving, side by side: the five-node graph on HOGAR's runtime and on Ray Serve, in one run.

    .venv/bin/python benchmarks/serving.py [--seconds 5] [--kills 50] [--ray PYTHON]

``--ray`` names the Python of an environment that has ``ray[serve]``; without it only HOGAR runs.
Prints latency at concurrency 1, throughput at concurrency 64, the time to get up, memory, how long
a killed stateful primary is out, and what replication costs, with ratios where there are two.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psutil
from load import Result, load

from earg.client import AgentClient, connect
from earg.config import Edge, NodeSpec, StaticConfig, write_static
from earg.images import Implementation
from earg.status import NodeState

ECHO = Implementation("echo:Echo", str(Path(__file__).parent))
EDGES = ((Edge((1,), (2,)), Edge((2,), (3, 4))), (Edge((3, 4), (5,)),))


@dataclass(frozen=True, slots=True)
class Figures:
    """One system's figures; milliseconds, requests a second, seconds, MB."""

    p50: float
    rate: float
    up: float
    memory: float


def simpledag(stateful: bool) -> StaticConfig:
    """The design's ``simpledag``, with c2 stateful or not."""
    nodes = tuple(
        NodeSpec(f"c{n}", "test", "hogar/echo:1", stateful and n == 2, 64) for n in range(1, 6)
    )
    return StaticConfig(nodes, *EDGES)


def deploy(agent: AgentClient, name: str, config: StaticConfig) -> str:
    """Deploy, wire and probe; the URL."""
    text = write_static(config)
    indexes = range(1, len(config.nodes) + 1)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda i: agent.deploy_node(name, "test", text, i, ECHO), indexes))
    agent.wire(name)
    for index in indexes:
        agent.probe(name, index)
    return f"{agent.serve(name).url}/predict"


def memory_of(processes: list[psutil.Process]) -> float:
    """Their proportional set size in MB: shared pages are shared out."""
    return sum(process.memory_full_info().pss for process in processes) / 1e6


def measure(url: str, seconds: float) -> tuple[Result, Result]:
    """Concurrency 1, then 64, after a warm-up."""
    load(url, 16, 1.0)
    return load(url, 1, seconds), load(url, 64, seconds)


def hogar(agent: AgentClient, seconds: float) -> Figures:
    """HOGAR's figures, with the backup."""
    started = time.perf_counter()
    url = deploy(agent, "simpledag", simpledag(stateful=True))
    up = time.perf_counter() - started
    one, many = measure(url, seconds)
    pids = {
        pid
        for node in agent.graph("simpledag").nodes
        for pair in node.pairs
        for pid in (pair.model_pid, pair.proxy_pid)
    }
    home = str(agent.home.path)
    frontends = [p.pid for p in psutil.process_iter() if _is_frontend(p, home)]
    memory = memory_of([psutil.Process(pid) for pid in (*pids, *frontends)])
    return Figures(one.percentile(0.5), many.rate, up, memory)


def _is_frontend(process: psutil.Process, home: str) -> bool:
    try:
        return "earg.frontend" in process.cmdline() and process.cwd().startswith(home)
    except psutil.Error:
        return False


def replication_cost(agent: AgentClient, seconds: float, rounds: int = 3) -> float:
    """Throughput without a backup divided by that with one: the median of alternating rounds."""
    plain = deploy(agent, "plain", simpledag(stateful=False))
    kept = deploy(agent, "kept", simpledag(stateful=True))
    for url in (plain, kept):
        load(url, 16, 1.0)
    ratios = sorted(
        load(plain, 64, seconds).rate / load(kept, 64, seconds).rate for _ in range(rounds)
    )
    agent.down("plain")
    agent.down("kept")
    return ratios[rounds // 2]


def outages(agent: AgentClient, kills: int) -> list[float]:
    """Milliseconds of each kill of the stateful primary under load, sorted: the longest pause
    between two replies from the kill on."""
    url = deploy(agent, "killed", simpledag(stateful=True))
    stop = threading.Event()
    kill_times: list[float] = []
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(_probe, url, stop)
        for _ in range(kills):
            wait_until_ready(agent, "killed")
            pair = agent.graph("killed").nodes[1].pairs[0]
            os.kill(pair.model_pid if len(kill_times) % 2 else pair.proxy_pid, signal.SIGKILL)
            kill_times.append(time.perf_counter())
            time.sleep(0.3)
        wait_until_ready(agent, "killed")
        stop.set()
        replies = running.result()
    agent.down("killed")
    return sorted(1000 * pause_after(kill, replies) for kill in kill_times)


def _probe(url: str, stop: threading.Event) -> list[float]:
    """Send request after request; when each reply came."""
    import http.client
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
    replies = []
    while not stop.is_set():
        connection.request("POST", parts.path, b"x", {"Content-Type": "text/plain"})
        reply = connection.getresponse()
        reply.read()
        assert reply.status == 200, "a reply was lost"
        replies.append(time.perf_counter())
    return replies


def pause_after(kill: float, replies: list[float], window: float = 0.3) -> float:
    """The longest time without a reply in the ``window`` seconds after a kill, or until the first
    one."""
    before = max((at for at in replies if at <= kill), default=kill)
    after = [at for at in replies if at > kill]
    times = [before, *(at for at in after if at < kill + window), *after[:1]]
    times.sort()
    return max((b - a for a, b in pairwise(times)), default=0.0)


def wait_until_ready(agent: AgentClient, name: str) -> None:
    """Wait until every node is whole."""
    deadline = time.monotonic() + 30
    while any(
        node.state not in (NodeState.READY, NodeState.BUSY) for node in agent.graph(name).nodes
    ):
        assert time.monotonic() < deadline, "no new backup within 30 s"
        time.sleep(0.02)


@contextmanager
def ray_graph(python: str) -> Iterator[tuple[str, float, psutil.Process]]:
    """The graph on Ray Serve: its URL, the seconds it took, and its driver's process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = Path(__file__).parent / "ray_graph.py"
    started = time.perf_counter()
    with subprocess.Popen(
        [python, str(script), str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.strip() == b"ready":
                    break
            else:
                raise SystemExit("Ray Serve did not start")
            up = time.perf_counter() - started
            yield f"http://127.0.0.1:{port}/predict", up, psutil.Process(process.pid)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def ray(python: str, seconds: float) -> Figures:
    """Ray Serve's figures."""
    with ray_graph(python) as (url, up, driver):
        one, many = measure(url, seconds)
        # Ray starts its processes in sessions of their own; its raylet's are found by name.
        mine = [
            p
            for p in psutil.process_iter(["cmdline", "create_time"])
            if p.info["create_time"] >= driver.create_time() - 1
            and any("ray" in part for part in p.info["cmdline"] or ())
        ]
        return Figures(one.percentile(0.5), many.rate, up, memory_of(mine))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--ray", metavar="PYTHON")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}")
    print(f"hogar {importlib.metadata.version('airflow-provider-hogar')}")
    with tempfile.TemporaryDirectory(prefix="hogar-") as home, connect(Path(home)) as agent:
        try:
            ours = hogar(agent, options.seconds)
            agent.down("simpledag")
            print(f"replication costs a factor {replication_cost(agent, options.seconds):.3f}")
            if options.kills:
                took = outages(agent, options.kills)
                p50, p99 = took[len(took) // 2], took[int(0.99 * (len(took) - 1))]
                print(
                    f"{len(took)} kills of a stateful primary: p50 {p50:.0f} ms, p99 {p99:.0f} ms"
                )
        finally:
            agent.shutdown()
    theirs = None
    if options.ray:
        version = [options.ray, "-c", "import ray; print(ray.__version__)"]
        print(
            "ray",
            subprocess.run(version, capture_output=True, text=True, check=True).stdout.strip(),
        )
        theirs = ray(options.ray, options.seconds)
    print(f"{'':34}{'hogar':>10}{'ray':>10}{'ratio':>10}")
    for text, name in (
        ("p50 at concurrency 1, ms", "p50"),
        ("requests/s at concurrency 64", "rate"),
        ("five nodes up, s", "up"),
        ("memory (PSS), MB", "memory"),
    ):
        mine = getattr(ours, name)
        row = f"{text:34}{mine:10.1f}"
        if theirs is not None:
            other = getattr(theirs, name)
            better = mine / other if name == "rate" else other / mine
            row += f"{other:10.1f}{better:9.1f}x"
        print(row)


if __name__ == "__main__":
    sys.exit(main())
