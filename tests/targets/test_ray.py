"""The compiled Serve config, deployed by Ray Serve itself and asked over HTTP."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

import udgl
from tests.targets.peers import program
from udgl.targets.ray import compile_graph

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

START = 300.0
"""Seconds that Ray and a process for each operator may take to start."""

STOP = 60.0
"""Seconds that they may take to end."""

GRAPH = """\
meta
name G-x
version 1
operator A
entrypoint ray_models:Detector, batch 4, wait 1s, env WHO=me, input text
operator Split
entrypoint ray_models:Pass
operator L
entrypoint ray_models:Left
operator R
entrypoint ray_models:Right
operator F
entrypoint ray_models:Pass
operator B
entrypoint ray_models:Flaky, retries 1
operator C
entrypoint ray_models:Pass
operator J
entrypoint ray_models:Pass
operator Late
entrypoint ray_models:Slow, timeout 200ms
operator Bad
entrypoint ray_models:Broken, retries 1
logical flow
switch
A -> Split when kind contains "split", Late when kind == "late", Bad when kind == "bad", F otherwise
split
Split -> L 50%, R 50%
distribute
F -> B, C
reduce
C, B -> J
"""


@contextlib.contextmanager
def deployed(text: str) -> Iterator[httpx.Client]:
    """A client of the graph, which `serve run` serves; fails where a process of it is left."""
    serve = program("ray", "serve")
    # Ray's sockets are below it: their paths have to be short.
    folder = Path(tempfile.mkdtemp(prefix="hogar-ray-"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config, module = compile_graph(udgl.parse(text, "g.udgl")).files
    (folder / config.name).write_text(config.text.replace("port: 8000", f"port: {port}"))
    (folder / module.name).write_text(module.text)
    shutil.copy(Path(__file__).with_name("ray_models.py"), folder)
    environment = {
        "PATH": f"{serve.parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "PYTHONPATH": str(folder),
        "RAY_TMPDIR": str(folder),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_raylet_start_wait_time_s": "120",
    }
    log = folder / "serve.log"
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [serve, "run", config.name],
                cwd=folder,
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            wait_until_served(client, process, log)
            yield client
        process.send_signal(signal.SIGINT)
        process.wait(STOP)
        end = time.monotonic() + STOP
        while (left := processes(folder)) and time.monotonic() < end:
            time.sleep(0.2)
        assert not left, f"processes of Ray are left: {left}"
    finally:
        for pid in processes(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(NameError):
            process.wait(STOP)
        shutil.rmtree(folder, ignore_errors=True)


def wait_until_served(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START
    while True:
        assert process.poll() is None, log.read_text(errors="replace")[-4000:]
        with contextlib.suppress(httpx.TransportError):
            # Until the application is there its proxy knows no route.
            if ask(client, "hello").status_code == 200:
                return
        assert time.monotonic() < end, log.read_text(errors="replace")[-4000:]
        time.sleep(0.5)


def processes(folder: Path) -> list[int]:
    """The processes that were started with this folder."""
    wanted = f"RAY_TMPDIR={folder}".encode()
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            with contextlib.suppress(OSError):
                if wanted in (place / "environ").read_bytes().split(b"\0"):
                    found.append(int(place.name))
    return found


def ask(client: httpx.Client, text: str) -> httpx.Response:
    return client.post("/", content=text, headers={"content-type": "text/plain"})


def test_ray_serves_what_the_graph_says() -> None:
    with deployed(GRAPH) as client:
        # The switch's last case, an operator that fails at first, and the join in the file's order.
        reply = ask(client, "hello")
        assert reply.status_code == 200, reply.text
        passed, flaky = reply.json()
        assert flaky == {"flaky": "hello"}
        assert passed["kind"] == "hello"
        assert passed["who"] == "me"

        # Requests that come together are computed together.
        with ThreadPoolExecutor(4) as pool:
            replies = list(pool.map(lambda n: ask(client, f"{n}").json()[0], range(4)))
        assert [one["kind"] for one in replies] == ["0", "1", "2", "3"]
        assert max(one["batch"] for one in replies) > 1

        # The split takes either way: of 24 requests none would all but never take the same one.
        with ThreadPoolExecutor(8) as pool:
            sides = {one["side"] for one in pool.map(lambda n: split(client, n), range(24))}
        assert sides == {"left", "right"}

        late = ask(client, "late")
        assert (late.status_code, late.json()) == (500, {"error": "Late took longer than 0.2 s"})
        bad = ask(client, "bad")
        assert bad.status_code == 500
        assert "never" in bad.json()["error"]

        wrong = client.post("/", content=b"\xff", headers={"content-type": "text/plain"})
        assert wrong.status_code == 400


def split(client: httpx.Client, number: int) -> dict[str, str]:
    reply = ask(client, f"split {number}")
    assert reply.status_code == 200, reply.text
    found: dict[str, str] = reply.json()
    return found
