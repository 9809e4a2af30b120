"""The live view: what 50 viewers of a 20-node graph cost Airflow's API server and the nodes.

    PYTHONPATH=. .venv/bin/python benchmarks/live_view.py [--viewers 50] [--nodes 20] [--seconds 60]
        [--workers 1] [--short]

Starts an API server with one worker, or several, and a graph that is a chain of echoing models.
Takes the CPU time a second of wall time of the API server, of the agent, of all the nodes' proxies
and models together and of the viewers, first while nobody looks and then while everybody has the
graph's stream open, in a process apart; in a minute every stream ends once and begins anew, so that
is part of it. Then clients send requests, without viewers and with them in turns, so that what else
the machine does falls on both alike: each turn is divided by its neighbour, and the median is told.
The viewers are niced in those turns, as they would be elsewhere. Last, real Chromium visits the
page. ``--short`` leaves out requests and the page.
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
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from live_page import page_times

from earg.client import AgentClient, connect
from earg.config import Edge, NodeSpec, StaticConfig, write_static
from earg.images import Implementation
from tests.hogar_provider import api_server as servers

TICKS = os.sysconf("SC_CLK_TCK")
MODELS = Path(__file__).resolve().parent
TURNS, TURN = 6, 5.0
"""So many times, for so many seconds each, requests are sent without viewers and with them."""

CLIENTS = 8
"""So many send at once where throughput is taken."""

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
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    graph = "Long"
    names = [f"N{number}" for number in range(1, options.nodes + 1)]
    servers.GRAPHS.clear()
    servers.GRAPHS[graph] = udgl_text(graph, names)
    with (
        tempfile.TemporaryDirectory(prefix="hogar-live-") as folder,
        servers.api_server(Path(folder) / "airflow", servers.SIMPLE, "admin", *USERS) as server,
    ):
        server.workers = options.workers
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
        "machine": f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "versions": f"Python {platform.python_version()}, "
        + ", ".join(f"{one} {version(one)}" for one in ("apache-airflow", "grpcio")),
        "viewers": options.viewers,
        "nodes": options.nodes,
        "workers": options.workers,
    }
    time.sleep(10)
    found["nobody"] = cores(pids, options.seconds)
    with viewers(stream, tokens, options, options.seconds) as process:
        found["viewers_only"] = cores(pids | {"viewers": [process.pid]}, options.seconds)
        looks = json.loads(process.stdout.readline())["looks"]  # type: ignore[union-attr]
        found["looks_a_second_each"] = round(looks / options.viewers / options.seconds, 2)
    if options.short:
        return found
    turns = []
    for turn in range(TURNS):
        # The second of two turns finds the machine as the first has left it: each is it as often.
        order = (False, True) if turn % 2 else (True, False)
        turns.append({on: watched_turn(on, url, stream, tokens, options) for on in order})
    names = list(turns[0][True])
    for watched, title in ((False, "without_viewers"), (True, "with_viewers")):
        found[title] = {name: median(one[watched][name] for one in turns) for name in names}
    found["with_divided_by_without"] = {
        name: ratios([one[True][name] / one[False][name] for one in turns]) for name in names
    }
    # What is known by now is not lost with a browser that fails.
    print(json.dumps(found), file=sys.stderr)
    found["page_ms"] = page_times(server, "admin", graph)
    return found


def watched_turn(
    watched: bool, url: str, stream: str, tokens: list[str], options: argparse.Namespace
) -> dict[str, float]:
    """One turn, with viewers or without."""
    if watched:
        with viewers(stream, tokens, options, 6 * TURN, nice=True):
            return turn_of(url)
    # The poll goes on for some seconds after the last viewer.
    time.sleep(8)
    return turn_of(url)


def turn_of(url: str) -> dict[str, float]:
    """Latency of one client, in milliseconds, and what several get done."""
    one = load(url, 1, TURN)
    many = load(url, CLIENTS, TURN)
    return {
        "p50_ms": round(median(one), 3),
        "p95_ms": round(sorted(one)[int(len(one) * 0.95)], 3),
        f"requests_per_second_of_{CLIENTS}": round(len(many) / TURN, 1),
    }


def ratios(found: list[float]) -> dict[str, float]:
    """The median, and the outermost."""
    return {
        "median": round(median(found), 3),
        "least": round(min(found), 3),
        "most": round(max(found), 3),
    }


@contextlib.contextmanager
def viewers(
    stream: str,
    tokens: list[str],
    options: argparse.Namespace,
    seconds: float,
    nice: bool = False,
) -> Iterator[subprocess.Popen[str]]:
    """All viewers, in a process of their own, once each has its stream."""
    arguments = [stream, str(options.viewers), str(seconds), *tokens]
    process = subprocess.Popen(
        [*(["nice", "-n", "19"] if nice else []), sys.executable, "-c", VIEWERS, *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        yield process
    finally:
        process.terminate()
        process.wait(10)


def load(url: str, clients: int, seconds: float) -> list[float]:
    """Clients that ask again as soon as they have their reply: how long each took, in ms."""
    times: list[float] = []
    ends = time.monotonic() + seconds
    parts = urlsplit(url)

    def client() -> None:
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        while time.monotonic() < ends:
            begun = time.perf_counter()
            connection.request("POST", "/predict", b"x", {"Content-Type": "text/plain"})
            reply = connection.getresponse()
            reply.read()
            assert reply.status == 200, reply.status
            times.append((time.perf_counter() - begun) * 1000)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


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
