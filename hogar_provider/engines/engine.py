"""What an engine is to everything else in the provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from earg.client import AgentClient
    from earg.home import Home


class Engine(Protocol):
    """Where nodes run, as a connection of type ``earg`` says it.

    Each engine has an agent, and all of them answer the same calls: who has a client of it knows
    nothing of what is behind it. So this is all that differs.
    """

    name: str
    """As a connection's extra and a graph's ``engine`` name it."""

    home: Home
    """The agent's folder on this machine, with its socket."""

    token: str
    """What requests to the graphs show; empty where they need none."""

    runs_images: bool
    """Whether a node's image is run as it is. Else a Python class stands in for it."""

    def connect(self, start: bool = True) -> AgentClient:
        """A client of the engine's agent, which is started where it does not run unless ``start``,
        or the connection, says no. Close it after use. Raises :class:`earg.client.AgentError`, and
        its :class:`earg.client.NoAgentError` where there is none and none was to be started."""

    def examine(self) -> tuple[bool, str]:
        """Whether graphs could be deployed, and a sentence about it, for the test of a connection.
        Starts nothing."""
