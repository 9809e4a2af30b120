"""What the control plane's steps cost on this machine: real agent, proxies and models, real code.

CPU is read from the scheduler's own account in nanoseconds (``/proc/PID/task/*/schedstat``), so a
machine that does other work makes these figures larger by its caches, not by its queue.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

from control_model import Costs

from earg import ledger
from earg.client import AgentClient, connect
from earg.config import Edge, NodeSpec, StaticConfig, write_static
from earg.deployment import STATE_INTERVAL
from earg.heartbeat import CALL_INTERVAL, LANE_INTERVAL
from earg.images import Implementation
from earg.protos import hogar_pb2, hogar_pb2_grpc
from earg.sampling import INTERVAL as SAMPLE_INTERVAL
from earg.status import NodeState

MODELS = Path(__file__).resolve().parent
SMALL, LARGE = 2, 8
"""Nodes of the two graphs whose difference is the cost a node.
The small one's last has a backup."""

DEATHS = 3
"""So often the stateful node's primary is killed; the median counts."""

DAGS = """
import json, sys, time
begun = time.process_time()
from pathlib import Path
import airflow.sdk
from hogar_provider.dag_builder import build_dag
from airflow.serialization.serialized_objects import DagSerialization
from udgl.parser import parse
text = sys.argv[1]
parse(text)
imported = time.process_time() - begun
def once():
    begun = time.process_time()
    dag = build_dag(parse(text), Path("bench.udgl"), text)
    built = time.process_time()
    DagSerialization.to_dict(dag)
    return built - begun, time.process_time() - built
once()
rounds = [once() for _ in range(15)]
print(json.dumps([imported, *(sorted(one)[len(one) // 2] for one in zip(*rounds))]))
"""

READER = """
import socket, sys, threading
def read(port):
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    while connection.recv(1 << 20):
        pass
for _ in range(int(sys.argv[2])):
    threading.Thread(target=read, args=(int(sys.argv[1]),), daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a graph, means of several. CPU seconds, seconds, bytes."""

    agent: float
    nodes: float
    caller: float
    view: float
    latency: float
    reply: int
    statistics: int
    frame: int
    packed: int
    delta: tuple[int, int]


def measure(seconds: float, say: Callable[[str], None]) -> Costs:
    """Everything, with ``seconds`` of rest for what goes on while nothing is asked."""
    with tempfile.TemporaryDirectory(prefix="hogar-control-") as folder:
        say("DAGs")
        imported, built, serialized = dag_costs(Path(folder))
        with connect(Path(folder) / "earg") as agent:
            try:
                return _measure(agent, seconds, say, imported, built, serialized)
            finally:
                agent.shutdown()


def _measure(
    agent: AgentClient,
    seconds: float,
    say: Callable[[str], None],
    imported: float,
    built: float,
    serialized: float,
) -> Costs:
    pid = agent.hello()[1]
    say(f"a graph of {SMALL} nodes")
    deploy(agent, "Small", SMALL, stateful=True)
    time.sleep(3)
    rest_small = rest([pid], seconds)[0]
    say(f"a graph of {LARGE} nodes")
    before, begun = cpu(pid), time.monotonic()
    deploy(agent, "Large", LARGE)
    deployed, took = cpu(pid) - before, time.monotonic() - begun
    large = pids_of(agent, "Large")
    start_node = sum(map(cpu, large)) / LARGE
    time.sleep(3)
    rest_large, *rest_nodes = rest([pid, *large], seconds)
    # What it does for nodes that run goes on meanwhile, for more and more of them.
    start_agent = max(0.0, deployed - took * (rest_small + rest_large) / 2) / LARGE
    say("single calls")
    calls = asyncio.run(call_costs(agent))
    say("looks")
    for graph in ("Small", "Large"):
        send(agent, graph, 60)
    small = look_cost(agent, pid, "Small", rest_large)
    many = look_cost(agent, pid, "Large", rest_large)
    say("the stream")
    stream = [stream_cost(size) for size in (4_000, 40_000)]
    say(f"{DEATHS} deaths")
    death = typical([death_cost(agent, pid, rest_large) for _ in range(DEATHS)])
    say("the ledger and an event")
    fixed_ledger, node_ledger, node_bytes = ledger_costs(agent.home.ledger)
    event, event_bytes = event_cost(agent)
    slope = partial(_slope, SMALL, LARGE)
    return Costs(
        standing=(rest_large - rest_small) / LARGE,
        node_standing=sum(rest_nodes) / LARGE,
        beat=calls["beat"],
        model_ping=calls["model_ping"],
        proxy_ping=calls["proxy_ping"],
        statistics_call=calls["statistics"],
        beats_a_second=1 / LANE_INTERVAL,
        model_pings_a_second=1 / CALL_INTERVAL,
        proxy_pings_a_second=1 / STATE_INTERVAL,
        statistics_a_second=1 / SAMPLE_INTERVAL,
        look_agent=slope(small.agent, many.agent),
        look_caller=slope(small.caller, many.caller),
        view=slope(small.view, many.view),
        look_node=max(0.0, many.nodes / LARGE),
        look_latency=slope(small.latency, many.latency),
        statistics_bytes=round(many.statistics / LARGE),
        reply_bytes=slope(small.reply, many.reply),
        frame_bytes=slope(small.frame, many.frame),
        message=_slope(4_000, 40_000, *stream),
        event=event,
        event_bytes=event_bytes,
        events_a_death=death.events,
        death_agent=death.agent,
        takeover=death.takeover,
        ledgers_a_death=death.ledgers,
        delta_bytes=(round(many.delta[0] / LARGE), round(many.delta[1] / LARGE)),
        packed_bytes=round(many.packed / LARGE),
        start_node=start_node,
        start_agent=start_agent,
        ledger=(fixed_ledger, node_ledger),
        ledger_bytes=node_bytes,
        dag_import=imported,
        dag_build=built,
        dag_serialize=serialized,
    )


def _slope(small: float, large: float, at_small: float, at_large: float) -> tuple[float, float]:
    """The fixed part and that of one more, of a line through two points; noise makes none less
    than nothing."""
    each = max(0.0, (at_large - at_small) / (large - small))
    return max(0.0, at_large - each * large), each


# --- processes ------------------------------------------------------------------------------------


def cpu(pid: int) -> float:
    """CPU seconds of all threads that a process has now; 0 where it has ended."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(task.read_text().split()[0])
        except OSError:
            continue
    return total / 1e9


def rest(pids: list[int], seconds: float) -> list[float]:
    """The share of a core that each process uses while nothing is asked of it."""
    before = [cpu(pid) for pid in pids]
    begun = time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - begun
    return [max(0.0, cpu(pid) - was) / passed for pid, was in zip(pids, before, strict=True)]


def pids_of(agent: AgentClient, graph: str) -> list[int]:
    """The processes of a graph's nodes."""
    return [
        pid
        for node in agent.graph(graph).nodes
        for pair in node.pairs
        for pid in (*pair.model_pids, pair.proxy_pid)
    ]


def deploy(agent: AgentClient, graph: str, nodes: int, stateful: bool = False) -> None:
    """A chain of echo nodes that serves; with ``stateful`` its last one has a backup."""
    config = StaticConfig(
        tuple(
            NodeSpec(f"N{index}", "1", "bench/echo:1", stateful and index == nodes, 1)
            for index in range(1, nodes + 1)
        ),
        tuple(Edge((one,), (other,)) for one, other in pairwise(range(1, nodes + 1))),
    )
    echo = Implementation("echo:Echo", str(MODELS), ())
    for index in range(1, nodes + 1):
        agent.deploy_node(graph, "1", write_static(config), index, echo)
    agent.wire(graph, timeout=120)
    for index in range(1, nodes + 1):
        agent.probe(graph, index, timeout=120)
    agent.serve(graph, timeout=120)


def send(agent: AgentClient, graph: str, count: int) -> None:
    """Send so many requests, so that statistics hold what those of a graph in use hold."""
    from urllib.request import Request, urlopen

    request = Request(
        f"{agent.graph(graph).url.rstrip('/')}/predict", b"x", {"Content-Type": "text/plain"}
    )
    for _ in range(count):
        with urlopen(request, timeout=30) as reply:
            reply.read()


# --- calls ----------------------------------------------------------------------------------------


async def call_costs(agent: AgentClient, rounds: int = 200) -> dict[str, float]:
    """CPU seconds of one call, of the asking process, as the agent asks: through asyncio."""
    from earg.channel import open_channel
    from earg.lane_client import LaneClient
    from earg.protos import model_pb2, model_pb2_grpc, prediction_pb2, prediction_pb2_grpc

    record = next(one for one in ledger.read(agent.home.ledger) if one.name == "Large")
    ip = record.nodes[0].pairs[0].ip
    found = {}
    async with (
        open_channel(f"{ip}:{record.proxy_port}") as proxy,
        open_channel(f"{ip}:{record.model_port}") as model,
    ):
        lane = LaneClient(proxy, ip, 5.0, watched=False)
        ping_model = model_pb2_grpc.PredictServiceStub(model).Ping
        ping_proxy = prediction_pb2_grpc.ProxyServerStub(proxy).ping
        statistics = hogar_pb2_grpc.StatisticsStub(proxy).Stats
        asks: dict[str, Callable[[], Any]] = {
            "beat": lambda: lane.exchange(b""),
            "model_ping": lambda: ping_model(model_pb2.hi(msg="beat"), timeout=5),
            "proxy_ping": lambda: ping_proxy(prediction_pb2.ping_req(), timeout=5),
            "statistics": lambda: statistics(hogar_pb2.StatsRequest(history_seconds=4), timeout=5),
        }
        for name, ask in asks.items():
            await ask()
            begun = time.process_time()
            for _ in range(rounds):
                await ask()
            found[name] = (time.process_time() - begun) / rounds
        lane.close()
    return found


def look_cost(agent: AgentClient, pid: int, graph: str, idle: float, rounds: int = 30) -> Look:
    """Looks at a graph with the API server's own code, and the views made of them."""
    from hogar_provider.plugins.api.declared import Declared
    from hogar_provider.plugins.api.graph_view import graph_view
    from hogar_provider.plugins.api.looking import Looker

    looker = Looker(agent.home, graph)
    declared = Declared("", graph, "", "", "", "", None)
    looker.look()
    nodes = pids_of(agent, graph)
    quiet = sum(rest(nodes, 3.0))
    before, nodes_before, begun = cpu(pid), sum(map(cpu, nodes)), time.monotonic()
    caller, views, latencies, frame = 0.0, 0.0, [], b""
    for _ in range(rounds):
        was, at = time.process_time(), time.perf_counter()
        look = looker.look()
        latencies.append(time.perf_counter() - at)
        looked = time.process_time()
        frame = graph_view(declared, look, looker.events).model_dump_json().encode()
        caller += looked - was
        views += time.process_time() - looked
        # As far apart as looks of a poll are not, but so that the agent's own work stays in step.
        time.sleep(0.1)
    passed = time.monotonic() - begun
    channel = agent._channel
    stub = hogar_pb2_grpc.AgentStub(channel)
    told = stub.Statistics(hogar_pb2.StatisticsRequest(graph=graph))
    status = stub.Graphs(hogar_pb2.GraphsRequest(graph=graph, age=0.6))
    plan = stub.Plan(hogar_pb2.GraphRequest(graph=graph))
    assert all(one.HasField("statistics") for one in told.nodes)
    return Look(
        agent=max(0.0, cpu(pid) - before - idle * passed) / rounds,
        nodes=max(0.0, sum(map(cpu, nodes)) - nodes_before - quiet * passed) / rounds,
        caller=caller / rounds,
        view=views / rounds,
        latency=median(latencies),
        reply=told.ByteSize() + status.ByteSize() + plan.ByteSize(),
        statistics=sum(one.statistics.ByteSize() for one in told.nodes),
        frame=len(frame),
        packed=len(zlib.compress(frame, 1)),
        delta=(
            _delta(agent, looker, declared, graph, 0),
            _delta(agent, looker, declared, graph, 20),
        ),
    )


def _delta(agent: AgentClient, looker: Any, declared: Any, graph: str, count: int) -> int:
    """Bytes of those fields of nodes that differ between two views a second apart, with so many
    requests between them, as JSON."""
    from hogar_provider.plugins.api.graph_view import graph_view

    looker.look()
    views = []
    for _ in range(2):
        time.sleep(1.0)
        send(agent, graph, count)
        views.append(graph_view(declared, looker.look(), looker.events))
    old, new = (one.model_dump(mode="json")["nodes"] for one in views)
    changed = [
        {key: value for key, value in now.items() if value != then[key]}
        for then, now in zip(old, new, strict=True)
    ]
    return len(json.dumps(changed, separators=(",", ":")))


# --- the stream -----------------------------------------------------------------------------------


def stream_cost(size: int, viewers: int = 30, seconds: float = 4.0) -> float:
    """CPU seconds of the server for one message of ``size`` bytes to one viewer: the API's own
    stream and poll in Starlette and uvicorn, without Airflow's middlewares."""
    from types import SimpleNamespace

    from hogar_provider.plugins.api import runtime as runtimes
    from hogar_provider.plugins.api import streams

    class Poll(runtimes.Poll):
        """Looks that cost nothing."""

        def _frame(self) -> Any:
            self.looks += 1
            view = SimpleNamespace(at=time.time())
            return runtimes.Frame(self.looks, view, b"x" * size, ())  # type: ignore[arg-type]

    kept = runtimes.INTERVAL, streams.MOST_OF_A_USER
    runtimes.INTERVAL, streams.MOST_OF_A_USER = 0.1, viewers + 1
    runtime = runtimes.Runtime()
    poll = Poll("bench", runtime._has_ended)
    runtime._polls["bench"] = poll
    poll.start()
    try:
        with served(runtime) as port:
            quiet = _cpu_a_second(2.0)
            looks = poll.looks
            with subprocess.Popen(
                [sys.executable, "-c", READER, str(port), str(viewers)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            ) as reader:
                try:
                    assert reader.stdout is not None
                    reader.stdout.readline()
                    time.sleep(1)
                    looks = poll.looks
                    busy = _cpu_a_second(seconds)
                    sent = (poll.looks - looks) / seconds * viewers
                finally:
                    reader.kill()
    finally:
        runtimes.INTERVAL, streams.MOST_OF_A_USER = kept
        runtime.close()
    return max(0.0, busy - quiet) / sent


@contextmanager
def served(runtime: Any) -> Iterator[int]:
    """The stream on a port of its own, as long as the context lasts."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    from hogar_provider.plugins.api.streams import graph_events

    async def stream(_: Any) -> StreamingResponse:
        return StreamingResponse(
            graph_events(runtime, "bench", "bench", None), media_type="text/event-stream"
        )

    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        Starlette(routes=[Route("/", stream)]), log_level="error", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.05)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def _cpu_a_second(seconds: float) -> float:
    begun, at = time.process_time(), time.monotonic()
    time.sleep(seconds)
    return (time.process_time() - begun) / (time.monotonic() - at)


# --- failures -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Death:
    """``events`` that told it, CPU seconds of the ``agent`` until the node was whole again, seconds
    of the ``takeover``, and how often the ``ledgers`` was seen to be another (at least)."""

    events: float
    agent: float
    takeover: float
    ledgers: float


def death_cost(agent: AgentClient, pid: int, idle: float) -> Death:
    """A stateful primary's model is killed."""
    newest = max((one.number for one in agent.events("Small")), default=0)
    node = agent.graph("Small").nodes[-1]
    with changes_of(agent.home.ledger) as changes:
        before, begun = cpu(pid), time.monotonic()
        os.kill(node.pairs[0].model_pid, signal.SIGKILL)
        while time.monotonic() < begun + 90:
            time.sleep(0.5)
            told = agent.events("Small", newest)
            took = [one.what for one in told if "took over in" in one.what]
            if took and agent.graph("Small").nodes[-1].state is NodeState.READY:
                used = cpu(pid) - before - idle * (time.monotonic() - begun)
                return Death(
                    float(len(told)),
                    max(0.0, used),
                    float(took[0].split()[-2]) / 1000,
                    float(len(changes)),
                )
    raise RuntimeError(f"the node did not come back: {agent.graph('Small').nodes[-1]}")


def typical(deaths: list[Death]) -> Death:
    """The median of each figure."""
    return Death(*(median(figures) for figures in zip(*map(astuple, deaths), strict=True)))


@contextmanager
def changes_of(path: Path) -> Iterator[list[int]]:
    """A list that grows each time a file is seen to be another, looked at every 2 ms."""
    seen: list[int] = []
    stop = threading.Event()

    def look() -> None:
        last = path.stat().st_mtime_ns
        while not stop.wait(0.002):
            now = path.stat().st_mtime_ns
            if now != last:
                last = now
                seen.append(now)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def event_cost(agent: AgentClient, rounds: int = 2000) -> tuple[float, int]:
    """CPU seconds and bytes of one event: kept, put into a reply, read again."""
    from earg.status_wire import event_message, read_event

    events = agent.events()
    begun = time.process_time()
    for number in range(rounds):
        read_event(
            hogar_pb2.Event.FromString(
                event_message(events[number % len(events)]).SerializeToString()
            )
        )
    used = (time.process_time() - begun) / rounds
    return used, round(mean(event_message(one).ByteSize() for one in events))


def ledger_costs(path: Path) -> tuple[float, float, int]:
    """CPU seconds of writing the ledger, which the agent does after each change: the fixed part,
    and that of each node; and a node's bytes. Of this agent's own records, many times over."""
    records = ledger.read(path)
    nodes = sum(len(one.nodes) for one in records)
    times = {}
    for copies in (1, 20):
        target = path.with_name("bench-ledger.json")
        begun = time.process_time()
        for _ in range(5):
            ledger.write(target, records * copies)
        times[copies] = (time.process_time() - begun) / 5
        size = target.stat().st_size // (copies * nodes)
        target.unlink()
    return *_slope(nodes, 20 * nodes, times[1], times[20]), size


# --- Airflow --------------------------------------------------------------------------------------


def dag_costs(folder: Path) -> tuple[float, float, float]:
    """CPU seconds of importing what a DAG needs, of building the DAG of a graph of ten operators,
    and of serializing it."""
    names = [f"N{index}" for index in range(1, 11)]
    operators = "".join(f"operator {name}\nversion 1, image bench/echo:1\n" for name in names)
    flow = "".join(f"{one} -> {other}\n" for one, other in pairwise(names))
    text = f"meta\nname Bench\nversion 1\n{operators}flow\ndistribute\n{flow}"
    environment = os.environ | {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
    }
    done = subprocess.run(
        [sys.executable, "-c", DAGS, text],
        env=environment,
        stdout=subprocess.PIPE,
        timeout=300,
        check=True,
        text=True,
    )
    imported, built, serialized = json.loads(done.stdout.splitlines()[-1])
    return imported, built, serialized
