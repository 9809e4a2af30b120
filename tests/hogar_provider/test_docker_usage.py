"""What containers use, from what Docker says of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from hogar_provider.engines.docker_containers import Container
from hogar_provider.engines.docker_platform import DockerPlatform
from hogar_provider.engines.docker_settings import DockerHost, DockerSettings
from hogar_provider.engines.docker_usage import can_tell, memory_of, sample_of, usage_of

MODEL = Container("one", "0123456789abcdef", "model", "running", {"hogar/part": "model"})


def said(at: str, computed: int, **memory: Any) -> dict[str, Any]:
    return {
        "read": at,
        "cpu_stats": {"cpu_usage": {"total_usage": computed}},
        "memory_stats": memory or {"usage": 1000},
    }


def test_processor_time_is_compared_by_the_hosts_own_clock() -> None:
    first = sample_of(said("2026-01-01T00:00:10.5Z", 2_000_000_000), None)
    second = sample_of(said("2026-01-01T02:00:12.500000000+02:00", 3_000_000_000), first)
    assert first is not None
    assert second is not None
    assert usage_of(MODEL, first, None).cores is None
    used = usage_of(MODEL, second, first)
    assert (used.cores, used.cpu_seconds, used.id, used.kind) == (
        0.5,
        3.0,
        "0123456789ab",
        "model",
    )
    # Two statistics of one moment say nothing of the time between.
    assert usage_of(MODEL, second, second).cores is None


def test_a_container_that_was_started_anew_counts_from_nothing() -> None:
    before = sample_of(said("2026-01-01T00:00:10Z", 9_000_000_000), None)
    after = sample_of(said("2026-01-01T00:00:20Z", 1_000_000_000), before)
    assert before is not None
    assert after is not None
    # When that was is to be asked for.
    assert after.started == 0.0
    assert usage_of(MODEL, after, before).cores is None
    known = replace(after, started=after.at - 4.0)
    used = usage_of(MODEL, known, before)
    assert (used.cores, used.age) == (0.1, 4.0)
    # From then on it is known.
    third = sample_of(said("2026-01-01T00:00:30Z", 2_000_000_000), known)
    assert third is not None
    assert usage_of(MODEL, third, known).age == 14.0


@pytest.mark.parametrize(
    ("memory", "used"),
    [
        # Control groups, version 2 and 1.
        ({"usage": 900, "stats": {"inactive_file": 300}}, 600),
        ({"usage": 900, "stats": {"inactive_file": 1, "total_inactive_file": 200}}, 700),
        ({"usage": 900, "stats": {"inactive_file": 1000}}, 900),
        ({"usage": 900}, 900),
        ({}, None),
    ],
)
def test_memory_is_without_files_that_nobody_uses(memory: dict[str, Any], used: int | None) -> None:
    assert memory_of(memory) == used


def test_of_what_does_not_run_nothing_is_told() -> None:
    assert sample_of({"read": "0001-01-01T00:00:00Z", "id": "x", "memory_stats": {}}, None) is None
    assert sample_of(said("0001-01-01T00:00:00Z", 0), None) is None
    assert sample_of({}, None) is None


def test_a_daemon_that_is_too_old_is_known() -> None:
    assert [can_tell(version) for version in ("1.40", "1.41", "1.5", "2.0")] == [
        False,
        True,
        False,
        True,
    ]


# --- two hosts ------------------------------------------------------------------------------


class Play(ThreadingHTTPServer):
    """What answers in the place of a daemon that has one container of the engine."""

    daemon_threads = True
    version = "1.41"
    stats = 0

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.name = name
        self.held = threading.Event()
        self.held.set()

    @property
    def host(self) -> DockerHost:
        return DockerHost(self.name, f"tcp://127.0.0.1:{self.server_address[1]}")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        play = self.server
        assert isinstance(play, Play)
        path = self.path.partition("?")[0].partition("/v1.")[2].partition("/")[2]
        if self.path.startswith("/version"):
            answer: Any = {"ApiVersion": play.version}
        elif path == "containers/json":
            label = {"graph": "g", "index": "1" if play.name == "well" else "2", "number": "0"}
            label |= {"part": "model", "generation": "1", "addresses": "a,b"}
            labels = {f"hogar/{name}": value for name, value in label.items()}
            answer = [{"Id": play.name, "Names": ["/x"], "State": "running", "Labels": labels}]
        elif path.endswith("/stats"):
            assert "one-shot=True" in self.path
            assert "stream=False" in self.path
            play.held.wait(30)
            play.stats += 1
            answer = said(f"2026-01-01T00:00:{play.stats:02}Z", play.stats * 250_000_000)
        else:
            answer = {"State": {"StartedAt": "2026-01-01T00:00:00Z"}}
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def plays() -> Iterator[tuple[Play, Play]]:
    found = Play("well"), Play("ill")
    for play in found:
        threading.Thread(target=play.serve_forever, daemon=True).start()
    yield found
    for play in found:
        play.held.set()
        play.shutdown()
        play.server_close()


def settings_of(plays: tuple[Play, ...]) -> DockerSettings:
    return DockerSettings("e", tuple(play.host for play in plays))


def test_a_host_that_does_not_answer_holds_up_no_other(plays: tuple[Play, Play]) -> None:
    async def scenario() -> None:
        platform = DockerPlatform(settings_of(plays))
        try:
            # Before a look it knows of none.
            assert await platform.usage() == {}
            await platform.look()
            assert set(await platform.usage()) == {("g", 1, 0), ("g", 2, 0)}
            ill = plays[1]
            ill.held.clear()
            asked = ill.stats
            for number in (2, 3):
                begin = time.monotonic()
                used = await platform.usage()
                assert time.monotonic() - begin < 10
                (one,) = used["g", 1, 0]
                assert (one.cores, one.cpu_seconds, one.age) == (0.25, number / 4, number)
                # What was read of it last.
                assert used["g", 2, 0][0].cores is None
            # It is asked one question at a time.
            ill.held.set()
            begin = time.monotonic()
            while (await platform.usage())["g", 2, 0][0].cores != 0.25:
                assert time.monotonic() - begin < 30
            assert ill.stats - asked <= plays[0].stats
        finally:
            await platform.close()

    asyncio.run(scenario())


def test_why_there_are_no_figures_is_told_once(
    plays: tuple[Play, Play], caplog: pytest.LogCaptureFixture
) -> None:
    plays[0].version = "1.40"

    async def scenario() -> None:
        platform = DockerPlatform(settings_of(plays[:1]))
        try:
            await platform.look()
            for _ in range(3):
                assert await platform.usage() == {}
        finally:
            await platform.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert [record.getMessage() for record in caplog.records] == [
        "no figures of containers: host well: its Docker is older than 20.10, and tells them by "
        "measuring for seconds only"
    ]
    assert plays[0].stats == 0
