"""The agent of the engine ``docker``: graphs as containers of one Docker host or several."""

from __future__ import annotations

import os

from earg.agent import run
from earg.home import Home
from earg.process import settle_security
from earg.security import TOKEN_FILE, security
from earg.wired_deployment import WiredEngine
from hogar_provider.engines.docker_platform import DockerPlatform
from hogar_provider.engines.docker_settings import read_settings as read_settings


def hold_token(token: str) -> None:
    """Let this process show, and ask for, a token that no file holds: the connection's password.
    Ends the process where it is none."""
    # A file that has no name and ends with the process.
    descriptor = os.memfd_create("token")
    os.fchmod(descriptor, 0o600)
    os.write(descriptor, token.encode())
    os.environ[TOKEN_FILE] = f"/proc/{os.getpid()}/fd/{descriptor}"
    security.cache_clear()
    settle_security()


async def serve(home: Home, settings: str, idle_end: float) -> None:
    """As :data:`hogar_provider.engines.agent.SERVERS` has it."""
    read = read_settings(settings)
    if read.token:
        hold_token(read.token)
    platform = DockerPlatform(read)
    await run(home, WiredEngine("docker", platform), idle_end)
