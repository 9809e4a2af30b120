"""Reaching the agent of an engine, and starting it where it does not run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from hogar_provider.engines.agent import MODULE, agent_environment, digest_of, marker_of

if TYPE_CHECKING:
    from earg.client import AgentClient
    from earg.home import Home

START_TIMEOUT = 30.0
"""Seconds for an agent to answer."""


def connect_to(home: Home, engine: str, settings: str, start: bool) -> AgentClient:
    """A client of the engine's agent in ``home``.

    With ``start``, one is started with these settings where none runs, and one that runs with other
    settings is replaced: graphs serve on meanwhile. Raises :class:`earg.client.AgentError`, and
    :class:`earg.client.NoAgentError` where there is none and none was to be started.
    """
    from earg.client import AgentClient, AgentError, NoAgentError
    from earg.home import HomeError
    from earg.security import SecurityError, security

    client = AgentClient(home)
    try:
        home.check_socket()
        if _answers(client, home):
            if not start or _has(home, settings):
                return client
            _end(home)
        elif not start:
            raise NoAgentError(f"no agent of the engine {engine} runs in {home.path}")
        security()
        home.prepare()
        _start(home, engine, settings)
        deadline = time.monotonic() + START_TIMEOUT
        while not _answers(client, home):
            if time.monotonic() > deadline:
                raise AgentError(
                    f"the agent of the engine {engine} does not answer within "
                    f"{START_TIMEOUT:.0f} s; see {home.log}"
                )
            time.sleep(0.05)
    except (HomeError, SecurityError) as error:
        client.close()
        raise AgentError(str(error)) from None
    except BaseException:
        client.close()
        raise
    return client


def _answers(client: AgentClient, home: Home) -> bool:
    from earg.client import AgentError

    if not home.socket.exists():
        return False
    try:
        client.hello(2.0)
    except AgentError:
        return False
    return True


def _has(home: Home, settings: str) -> bool:
    _, _, salt, digest = marker_of(home)
    return bool(salt) and digest_of(settings, salt) == digest


def _end(home: Home) -> None:
    """End the supervisor, and with it the agent; what it has deployed runs on."""
    _, pid, _, _ = marker_of(home)
    if pid <= 1:
        return
    try:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.05)
    except OSError:
        return


def _start(home: Home, engine: str, settings: str) -> None:
    from earg.client import AgentError

    command = [sys.executable, "-P", "-m", MODULE]
    try:
        with home.log.open("ab") as output:
            done = subprocess.run(
                [*command, "--engine", engine, "--home", str(home.path)],
                input=settings.encode(),
                env=agent_environment(),
                cwd="/",
                stdout=output,
                stderr=output,
                start_new_session=True,
                check=False,
                timeout=30,
            )
    except OSError as error:
        raise AgentError(f"the agent's folder {home.path}: {error.strerror}") from None
    if done.returncode != 0:
        lines = home.log.read_text(errors="replace").splitlines() or [f"see {home.log}"]
        raise AgentError(f"the agent of the engine {engine} is not started: {lines[-1]}")
