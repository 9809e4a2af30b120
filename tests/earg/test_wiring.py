"""``earg wire`` beside real processes that somebody else starts and starts anew."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from earg.addresses import AddressPool
from earg.channel import open_channel
from earg.cli import main
from earg.plan import read_plan
from earg.protos import (
    hogar_pb2,
    hogar_pb2_grpc,
    model_pb2,
    prediction_pb2,
    prediction_pb2_grpc,
)
from earg.proxy import FENCED
from earg.security import security
from earg.wiring import Wiring
from earg.wiring_agent import WIRING_PORT, serve
from earg.wiring_places import PairPlace, Places, PlacesError, read_places

CONFIG = "2\n1\nfirst,1,image,false,8\nsecond,1,image,true,8\ndist[1->2]\n"

PLACES = """
name: g
version: "1"
frontend: g-frontend
nodes:
  first:
  - proxy: g-first
    models: [g-first, g-first-more-0.g-first-more]
  second:
  - {proxy: g-second-0.g-second, models: [g-second-0.g-second]}
  - {proxy: g-second-1.g-second, models: [g-second-1.g-second]}
"""

MODELS = """
class First:
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


def test_places_are_read() -> None:
    places = read_places(PLACES, read_plan(CONFIG).config)
    assert (places.name, places.version, places.frontend) == ("g", "1", "g-frontend")
    (first,), (second, backup) = places.nodes
    assert first.models == ("g-first", "g-first-more-0.g-first-more")
    assert second.proxy_name == "g-second-0"
    assert backup.proxy == "g-second-1.g-second"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("  first:", "  fist:", "'first' is missing"),
        ("name: g", "name: g-h", "name: expected text without '-'"),
        ("frontend: g-frontend", "frontend: 'a b'", "frontend: expected a host's name"),
        ("models: [g-first,", "modles: [g-first,", "'models' is missing"),
        ("g-second-1.g-second,", "g-second-0.g-second,", "several proxies are called g-second-0"),
        ("  - proxy: g-first\n", "  - &a\n    proxy: g-first\n", "anchor"),
    ],
)
def test_places_that_are_wrong_are_refused_with_a_sentence(
    old: str, new: str, sentence: str
) -> None:
    assert old in PLACES
    with pytest.raises(PlacesError, match=sentence):
        read_places(PLACES.replace(old, new, 1), read_plan(CONFIG).config)


def test_a_file_that_is_wrong_ends_the_command_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, places = tmp_path / "g.earg", tmp_path / "places.yaml"
    config.write_text(CONFIG)
    assert main(["wire", str(config), str(places)]) == 1
    assert f"{places} cannot be read" in capsys.readouterr().err
    places.write_text(PLACES.replace("  first:", "  fist:"))
    assert main(["wire", str(config), str(places)]) == 1
    assert "nodes: 'first' is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--serve", "127.0.0.1"], "--serve goes with --watch"),
        (["--watch", "--serve", "localhost:1"], "'localhost:1' is no IPv4 address"),
        (["--watch", "--serve", "127.0.0.1:70000"], "'127.0.0.1:70000' is no IPv4 address"),
    ],
)
def test_where_the_wiring_cannot_answer_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    config, places = tmp_path / "g.earg", tmp_path / "places.yaml"
    config.write_text(CONFIG)
    places.write_text(PLACES)
    assert main(["wire", str(config), str(places), *options]) == 1
    assert sentence in capsys.readouterr().err


def test_one_that_does_not_answer_is_not_ready(
    pool: AddressPool, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"{pool.take()}:{pool.ports.proxy}"
    assert main(["ready", address, "--timeout", "0.5"]) == 1
    assert f"{address} does not answer: UNAVAILABLE" in capsys.readouterr().err
    assert main(["ready", "unix:/etc/passwd"]) == 1
    assert "no address of the form ip:port" in capsys.readouterr().err


class Platform:
    """Starts processes at fixed addresses, as a container platform does."""

    def __init__(self, folder: Path, pool: AddressPool) -> None:
        (folder / "wired_models.py").write_text(MODELS)
        self._folder = folder
        self._ports = pool.ports
        self.frontend, self.first, self.second, self.third = (pool.take() for _ in range(4))
        self.processes: dict[tuple[str, str], subprocess.Popen[bytes]] = {}

    @property
    def places(self) -> Places:
        hosts = ((self.first,), (self.second, self.third))
        nodes = tuple(tuple(PairPlace(host, (host,)) for host in pairs) for pairs in hosts)
        return Places("g", "1", self.frontend, nodes)

    def wiring(self) -> Wiring:
        return Wiring(
            read_plan(CONFIG),
            self.places,
            model_port=self._ports.model,
            proxy_port=self._ports.proxy,
        )

    def start_all(self) -> None:
        self.start("frontend", self.frontend)
        for ip in (self.first, self.second, self.third):
            self.start("model", ip)
            self.start("proxy", ip)

    def start(self, kind: str, ip: str) -> None:
        variables = {
            "LISTEN_IP": ip,
            "MODEL_PORT": str(self._ports.model),
            "PROXY_PORT": str(self._ports.proxy),
            "HTTP_PORT": str(self._ports.metrics),
            "ENTRY_PROXY_NAME": self.first,
            "PROXY_NAME": ip,
            "FENCED": "false" if ip == self.first else "true",
            "EARG_ENTRYPOINT": f"wired_models:{'First' if ip == self.first else 'Count'}",
            "EARG_FOLDER": str(self._folder),
        }
        before = self.processes.get((kind, ip))
        if before is not None:
            before.wait()
        self.processes[kind, ip] = subprocess.Popen(
            [sys.executable, "-m", f"earg.{kind}"],
            env=os.environ | variables,
            start_new_session=True,
        )

    def stop(self) -> None:
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    async def ended(self, kind: str, ip: str) -> int:
        async with asyncio.timeout(30):
            while (code := self.processes[kind, ip].poll()) is None:
                await asyncio.sleep(0.05)
        return code

    async def ask(self, text: str) -> str:
        async with open_channel(f"{self.frontend}:{self._ports.proxy}") as channel:
            stub = prediction_pb2_grpc.ProxyServerStub(channel)
            request = prediction_pb2.request(
                input_=model_pb2.input(inputType="string", inputStream=text)
            )
            reply = await stub.downstream(request, timeout=45, wait_for_ready=True)
            return str(reply.status).partition("\n")[2]


@contextlib.asynccontextmanager
async def wired(platform: Platform) -> AsyncIterator[Wiring]:
    """Somebody who wires, as long as it lasts."""
    wiring = platform.wiring()
    running = asyncio.create_task(wiring.run())
    try:
        yield wiring
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await wiring.close()


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.1)


@pytest.mark.slow
def test_the_state_goes_on_whatever_dies(tmp_path: Path, pool: AddressPool) -> None:
    platform = Platform(tmp_path, pool)

    async def scenario() -> None:
        platform.start_all()
        async with wired(platform) as wiring:
            await until(lambda: wiring.is_ready)
            assert await platform.ask("a") == "1: hello a"

            # A model that is back at once, with an empty state: its proxy ends, and never asks it.
            platform.processes["model", platform.second].kill()
            platform.processes["model", platform.second].wait()
            platform.start("model", platform.second)
            asked = asyncio.create_task(platform.ask("b"))
            assert await platform.ended("proxy", platform.second) == FENCED
            assert await asked == "2: hello b"
            platform.start("proxy", platform.second)
            await until(lambda: wiring.is_ready)

            platform.processes["proxy", platform.first].kill()
            await platform.ended("proxy", platform.first)
            platform.start("proxy", platform.first)
            assert await platform.ask("c") == "3: hello c"

        # Another one that wires finds the backup that took over.
        async with wired(platform) as wiring:
            await until(lambda: wiring.is_ready)
            platform.processes["proxy", platform.third].kill()
            assert await platform.ask("d") == "4: hello d"
            platform.start("proxy", platform.third)
            await until(lambda: wiring.is_ready)

        # The primary comes back, empty, while nobody wires: its backup has the state.
        for kind in ("proxy", "model"):
            platform.processes[kind, platform.second].kill()
            platform.processes[kind, platform.second].wait()
            platform.start(kind, platform.second)
        wiring = platform.wiring()
        try:
            async with asyncio.timeout(60):
                await wiring.run_until_ready()
        finally:
            await wiring.close()
        # Nobody wires now: the graph serves all the same.
        assert await platform.ask("e") == "5: hello e"

    try:
        asyncio.run(scenario())
    finally:
        platform.stop()


@pytest.mark.slow
def test_a_primary_that_was_cut_off_ends_when_its_backup_has_taken_over(
    tmp_path: Path, pool: AddressPool
) -> None:
    platform = Platform(tmp_path, pool)

    async def scenario() -> None:
        platform.start_all()
        async with wired(platform) as wiring:
            await until(lambda: wiring.is_ready)
            assert await platform.ask("a") == "1: hello a"
            cut_off = platform.processes["proxy", platform.second]
            cut_off.send_signal(signal.SIGSTOP)
            assert await platform.ask("b") == "2: hello b"
            cut_off.send_signal(signal.SIGCONT)
            assert await platform.ended("proxy", platform.second) == FENCED
            platform.start("proxy", platform.second)
            await until(lambda: wiring.is_ready)
            assert await platform.ask("c") == "3: hello c"

    try:
        asyncio.run(scenario())
    finally:
        platform.stop()


@pytest.mark.slow
def test_the_wiring_answers_the_agents_calls(
    tmp_path: Path, pool: AddressPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("t" * 40)
    token.chmod(0o600)
    monkeypatch.setenv("EARG_TOKEN_FILE", str(token))
    security.cache_clear()
    platform, ip, url = Platform(tmp_path, pool), pool.take(), "http://g.example"

    async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        return refused.value.code(), refused.value.details() or ""

    async def ask_all(agent: Any) -> None:
        named = hogar_pb2.GraphRequest(graph="g")
        assert (await agent.Hello(hogar_pb2.HelloRequest())).engine == "wiring"
        for index in (1, 2):
            await agent.Probe(hogar_pb2.NodeRequest(graph="g", index=index), timeout=60)
        assert (await agent.Serve(named, timeout=30)).url == url
        assert await platform.ask("a") == "1: hello a"
        (graph,) = (await agent.Graphs(hogar_pb2.GraphsRequest())).graphs
        assert [(one.name, one.state) for one in graph.nodes] == [
            *(("first", "ready"), ("second", "ready"))
        ]
        assert [pair.role for pair in graph.nodes[1].pairs] == ["primary", "backup"]
        limit = hogar_pb2.BatchLimit(limit=3, who="a test")
        await agent.SetBatchLimit(hogar_pb2.NodeBatchLimit(graph="g", index=1, limit=limit))
        told = await agent.Statistics(hogar_pb2.StatisticsRequest(graph="g"))
        assert [one.statistics.batch_limit for one in told.nodes] == [3, 8]
        query = hogar_pb2.RequestsQuery(graph="g", most=5)
        assert (await agent.Requests(query)).total == 0
        assert len((await agent.RecordedRequests(query)).traces) == 1
        assert (await agent.Plan(named)).config == CONFIG
        async with asyncio.timeout(30):
            newer = hogar_pb2.EventsRequest(graph="g")
            while not any(
                (one.node, one.after) == ("second", "ready")
                for one in (await agent.Events(newer)).events
            ):
                await asyncio.sleep(0.1)

        for call, request in (
            (agent.Down, named),
            (agent.Wire, named),
            (agent.DeployNode, hogar_pb2.DeployNodeRequest(graph="g")),
            (agent.NodeLog, hogar_pb2.LogRequest(graph="g")),
        ):
            code, sentence = await refusal(call(request, timeout=10))
            assert code is grpc.StatusCode.UNIMPLEMENTED
            assert "starts and stops nothing" in sentence

        # It is closed and stays so, for whoever stops it; to ask again is no error.
        for _ in range(2):
            request = hogar_pb2.DrainRequest(graph="g", timeout=10)
            assert (await agent.Drain(request, timeout=30)).stopped
        code, sentence = await refusal(platform.ask("b"))
        assert (code, "drained" in sentence) == (grpc.StatusCode.UNAVAILABLE, True)

    async def scenario() -> None:
        platform.start_all()
        plan = read_plan(CONFIG)
        serving = asyncio.create_task(
            serve(plan, platform.places, ip, WIRING_PORT, url, pool.ports)
        )
        address = f"{ip}:{WIRING_PORT}"
        try:
            async with grpc.aio.insecure_channel(address) as stranger:
                hello = hogar_pb2_grpc.AgentStub(stranger).Hello(
                    hogar_pb2.HelloRequest(), timeout=30, wait_for_ready=True
                )
                assert (await refusal(hello))[0] is grpc.StatusCode.UNAUTHENTICATED
            async with open_channel(address) as channel:
                await ask_all(hogar_pb2_grpc.AgentStub(channel))
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        assert all(process.poll() is None for process in platform.processes.values())

    try:
        asyncio.run(scenario())
    finally:
        platform.stop()
        monkeypatch.undo()
        security.cache_clear()
