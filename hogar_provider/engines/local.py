"""The engine ``local``: the agent on this machine, whose nodes are processes beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from earg.client import AgentClient
    from earg.home import Home
    from hogar_provider.engines.connection import EngineConnection

NAME = "local"


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """As :class:`hogar_provider.engines.engine.Engine` has it. ``start`` is whether an agent may
    be started where none runs."""

    home: Home
    start: bool = True
    token: str = field(default="", repr=False)
    name: str = NAME
    runs_images: bool = False

    def connect(self, start: bool = True) -> AgentClient:
        """As of the protocol."""
        from earg.client import NoAgentError, connect

        try:
            return connect(self.home.path, start=start and self.start)
        except NoAgentError as error:
            if self.start or not start:
                raise
            raise NoAgentError(f"{error}, and the connection forbids to start one") from None

    def examine(self) -> tuple[bool, str]:
        """As of the protocol."""
        from earg.client import AgentError, NoAgentError, connect
        from earg.home import HomeError

        home = self.home
        try:
            home.prepare()
            with connect(home.path, start=False, timeout=5.0) as client:
                return True, describe(client)
        except NoAgentError:
            if not self.start:
                return False, (
                    f"No agent runs in {home.path}, and the connection forbids to start one. "
                    "Start it there: earg agent start"
                )
            return True, f"No agent runs in {home.path} yet. The first deploy starts one."
        except (AgentError, HomeError) as error:
            return False, str(error)


def describe(client: AgentClient) -> str:
    """A sentence about an agent that answers."""
    version, pid = client.hello()
    graphs = ", ".join(graph.name for graph in client.graphs()) or "none"
    return f"Agent {version} (pid {pid}) in {client.home.path}. Deployed graphs: {graphs}."


def open_engine(said: EngineConnection) -> LocalEngine:
    """The engine of a connection."""
    from earg.home import find_home

    return LocalEngine(find_home(said.home), said.start, said.token)
