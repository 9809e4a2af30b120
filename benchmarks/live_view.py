"""The live view: what 50 viewers of a 20-node graph cost Airflow's API server and the nodes.

    PYTHONPATH=. .venv/bin/python benchmarks/live_view.py [--viewers 50] [--nodes 20] [--seconds 60]

Starts an API server with one worker and a graph that is a chain of echoing models. Takes the CPU
time a second of wall time of the API server, of the agent, of all the nodes' proxies and models
together and of the viewers, first while nobody looks and then while everybody has the graph's
stream open, in a process apart; in a minute every stream ends once and begins anew, so that is part
of it. Then one client sends requests, without viewers and with them in turns, so that what else the
machine does falls on both alike, and the latency of each turn is taken.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

from earg.client import AgentClient, connect
from earg.config import Edge, NodeSpec, StaticConfig, write_static
from earg.images import Implementation
from tests.hogar_provider import api_server as servers

TICKS = os.sysconf("SC_CLK_TCK")
MODELS = Path(__file__).resolve().parent
TURNS, TURN = 4, 8.0
"""So many times, for so many seconds each, requests are sent without viewers and with them."""

USERS = tuple(f"viewer{number}" for number in range(5))

VIEWERS = """
import asyncio, json, sys, httpx
url, viewers, seconds, tokens = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]
looks = 0

async def view(client, token):
    global looks
    headers = {"Authorization": f"Bearer {token}"}
    while True:
        async with client.stream("GET", url, headers=headers) as reply:
            reply.raise_for_status()
            async for part in reply.aiter_raw():
                looks += part.count(b"event: graph")

async def main():
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:
        tasks = [asyncio.create_task(view(client, tokens[i % len(tokens)])) for i in range(viewers)]
        await asyncio.sleep(5)
        begun = looks
        print("ready", flush=True)
        await asyncio.sleep(seconds)
        print(json.dumps({"looks": looks - begun}), flush=True)
        for task in tasks:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        failed = [one for one in done if not isinstance(one, asyncio.CancelledError)]
        assert not failed, failed

asyncio.run(main())
"""


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--viewers", type=int, default=50)
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    graph = "Long"
    names = [f"N{number}" for number in range(1, options.nodes + 1)]
    servers.GRAPHS.clear()
    servers.GRAPHS[graph] = udgl_text(graph, names)
    with (
        tempfile.TemporaryDirectory(prefix="hogar-live-") as folder,
        servers.api_server(Path(folder) / "airflow", servers.SIMPLE, "admin", *USERS) as server,
    ):
        server.start()
        with connect(server.earg) as agent:
            try:
                url = deploy(agent, graph, names)
                print(json.dumps(measure(server, agent, graph, url, options), indent=2))
            finally:
                agent.shutdown()


def measure(
    server: servers.ApiServer,
    agent: AgentClient,
    graph: str,
    url: str,
    options: argparse.Namespace,
) -> dict[str, object]:
    """All figures."""
    assert server.process is not None
    pids = {
        "api_server": children_of(server.process.pid),
        "agent": [agent.hello()[1]],
        "nodes": [
            pid
            for node in agent.graph(graph).nodes
            for pair in node.pairs
            for pid in (*pair.model_pids, pair.proxy_pid)
        ],
    }
    stream = f"{server.url}/hogar/api/v1/dags/{graph}/stream"
    tokens = [server.token(user) for user in ("admin", *USERS)]
    found: dict[str, object] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "viewers": options.viewers,
        "nodes": options.nodes,
    }
    time.sleep(10)
    found["nobody"] = cores(pids, options.seconds)
    with viewers(stream, tokens, options, options.seconds) as process:
        found["viewers_only"] = cores(pids | {"viewers": [process.pid]}, options.seconds)
        looks = json.loads(process.stdout.readline())["looks"]  # type: ignore[union-attr]
        found["looks_a_second_each"] = round(looks / options.viewers / options.seconds, 2)
    without, with_them = [], []
    for _ in range(TURNS):
        # The poll goes on for some seconds after the last viewer.
        time.sleep(8)
        without.append(latency(url, TURN))
        with viewers(stream, tokens, options, 3 * TURN):
            with_them.append(latency(url, TURN))
    found["latency_ms_without_viewers"], found["latency_ms_with_viewers"] = without, with_them
    return found


@contextlib.contextmanager
def viewers(
    stream: str, tokens: list[str], options: argparse.Namespace, seconds: float
) -> Iterator[subprocess.Popen[str]]:
    """All viewers, in a process of their own, once each has its stream."""
    arguments = [stream, str(options.viewers), str(seconds), *tokens]
    process = subprocess.Popen(
        [sys.executable, "-c", VIEWERS, *arguments], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        yield process
    finally:
        process.terminate()
        process.wait(10)


def latency(url: str, seconds: float) -> dict[str, float]:
    """Of one client that asks again as soon as it has its reply, in milliseconds."""
    times = []
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        request = urllib.request.Request(f"{url}/predict", b"x", {"Content-Type": "text/plain"})
        begun = time.perf_counter()
        with urllib.request.urlopen(request, timeout=30) as reply:
            reply.read()
        times.append((time.perf_counter() - begun) * 1000)
    return {
        "p50": round(median(times), 2),
        "p95": round(sorted(times)[int(len(times) * 0.95)], 2),
        "requests": len(times),
    }


def cores(pids: dict[str, list[int]], seconds: float) -> dict[str, float]:
    """How many cores each group of processes uses."""
    before = {name: sum(map(cpu_seconds, group)) for name, group in pids.items()}
    begun = time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - begun
    return {
        name: round((sum(map(cpu_seconds, group)) - before[name]) / passed, 4)
        for name, group in pids.items()
    }


def cpu_seconds(pid: int) -> float:
    """What a process has computed so far; 0 for one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def children_of(pid: int) -> list[int]:
    """A process and all that it has started."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def udgl_text(graph: str, names: list[str]) -> str:
    """A chain."""
    operators = "".join(f"operator {name}\nversion 1, image bench/echo:1\n" for name in names)
    flow = "".join(f"{a} -> {b}\n" for a, b in pairwise(names))
    return f"meta\nname {graph}\nversion 1\n{operators}flow\ndistribute\n{flow}"


def deploy(agent: AgentClient, graph: str, names: list[str]) -> str:
    """Deploy the chain; its URL once it serves."""
    config = StaticConfig(
        tuple(NodeSpec(name, "1", "bench/echo:1", False, 1) for name in names),
        tuple(Edge((index,), (index + 1,)) for index in range(1, len(names))),
    )
    echo = Implementation("echo:Echo", str(MODELS), ())
    for index in range(1, len(names) + 1):
        agent.deploy_node(graph, "1", write_static(config), index, echo)
    agent.wire(graph, timeout=120)
    for index in range(1, len(names) + 1):
        agent.probe(graph, index, timeout=120)
    return agent.serve(graph, timeout=120).url


if __name__ == "__main__":
    main()
