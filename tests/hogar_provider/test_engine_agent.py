"""The frame of an engine's agent: real processes, of a Docker engine whose daemon is not there."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from earg.client import AgentClient, AgentError, NoAgentError, connect
from earg.home import Home
from hogar_provider.engines.agent import marker_of
from hogar_provider.engines.agent_start import connect_to
from hogar_provider.engines.docker_settings import DockerHost, DockerSettings, RegistryLogin
from hogar_provider.engines.token import make_token, token_in

pytestmark = pytest.mark.slow

SECRET = "a-registry-password-of-the-tests"
DEADLINE = 60.0


def settings(socket: Path, secret: str = SECRET) -> str:
    login = RegistryLogin("registry.example", "somebody", secret)
    host = DockerHost("one", url=f"unix://{socket}", login=login)
    return DockerSettings("tests", (host,)).to_json()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "engine")
    yield home
    _, pid, _, _ = marker_of(home)
    if pid:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGTERM)
            wait(lambda: not psutil.pid_exists(pid), "the supervisor ends")


@pytest.fixture
def told(tmp_path: Path) -> str:
    return settings(tmp_path / "no.sock")


def wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE:.0f} s: {what}"
        time.sleep(0.05)


def answering_pid(client: AgentClient) -> int:
    try:
        return client.hello(1.0)[1]
    except AgentError:
        return 0


def test_an_agent_is_started_once_and_found_again(home: Home, told: str) -> None:
    with pytest.raises(NoAgentError, match="no agent of the engine docker runs in"):
        connect_to(home, "docker", told, start=False)
    with connect_to(home, "docker", told, start=True) as first:
        pid = first.hello()[1]
    with connect_to(home, "docker", told, start=True) as second:
        assert second.hello()[1] == pid
    with connect_to(home, "docker", "", start=False) as looking:
        assert looking.hello()[1] == pid
        assert looking.graphs() == ()


def test_a_killed_agent_comes_back_with_its_settings_and_no_secret_is_on_disk(
    home: Home, told: str
) -> None:
    with connect_to(home, "docker", told, start=True) as client:
        pid = client.hello()[1]
        supervisor = psutil.Process(pid).parent()
        assert supervisor is not None
        for process in (psutil.Process(pid), supervisor):
            shown = [*process.cmdline(), *process.environ().values()]
            assert not any(SECRET in text for text in shown)
        os.kill(pid, signal.SIGKILL)
        wait(lambda: answering_pid(client) not in (0, pid), "another agent answers")
        assert psutil.Process(answering_pid(client)).ppid() == supervisor.pid
    # Whoever knows no settings finds it as that of any engine.
    with connect(home.path, start=False) as found:
        assert found.hello()[1] != pid
    kept = [path for path in home.path.rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]


def test_one_with_other_settings_is_replaced(home: Home, told: str, tmp_path: Path) -> None:
    with connect_to(home, "docker", told, start=True) as client:
        pid = client.hello()[1]
    with connect_to(home, "docker", settings(tmp_path / "other.sock"), start=True) as client:
        assert client.hello()[1] != pid
    assert not psutil.pid_exists(pid)


def test_an_agent_whose_supervisor_was_killed_stays_the_only_one(home: Home, told: str) -> None:
    with connect_to(home, "docker", told, start=True) as client:
        pid = client.hello()[1]
        supervisor = psutil.Process(pid).parent()
        assert supervisor is not None
        supervisor.kill()
        wait(lambda: not psutil.pid_exists(supervisor.pid), "the supervisor is gone")
        with connect_to(home, "docker", told, start=True) as again:
            assert again.hello()[1] == pid
        client.shutdown()
    with pytest.raises(NoAgentError):
        connect_to(home, "docker", told, start=False)


def test_nobody_without_the_settings_starts_another(home: Home, told: str) -> None:
    with connect_to(home, "docker", told, start=True) as client:
        client.shutdown()
        _, supervisor, _, _ = marker_of(home)
        wait(lambda: not psutil.pid_exists(supervisor), "the supervisor ends with its agent")
    with pytest.raises(NoAgentError, match="its engine docker can start it"):
        connect(home.path, start=True)


def test_settings_that_cannot_be_used_start_nothing(home: Home) -> None:
    with pytest.raises(AgentError, match="docker is not started: the settings are no JSON"):
        connect_to(home, "docker", "no settings", start=True)
    assert marker_of(home) == ("", 0, "", "")


def test_the_token_is_made_once_and_closed_to_others(tmp_path: Path) -> None:
    home = Home(tmp_path / "engine")
    assert token_in(home) == ""
    token = make_token(home)
    assert len(token) == 64
    assert make_token(home) == token_in(home) == token
    assert (home.path / "token").stat().st_mode & 0o777 == 0o600
