"""The agent of the engine ``docker``: graphs as containers of one Docker host or several."""

from __future__ import annotations

from earg.agent import run
from earg.home import Home
from earg.wired_deployment import WiredEngine
from hogar_provider.engines.docker_platform import DockerPlatform
from hogar_provider.engines.docker_settings import read_settings


async def serve(home: Home, settings: str, idle_end: float) -> None:
    """As :data:`hogar_provider.engines.agent.SERVERS` has it."""
    platform = DockerPlatform(read_settings(settings))
    await run(home, WiredEngine("docker", platform), idle_end)
