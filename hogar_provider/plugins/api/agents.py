"""The agents that run graphs, as Airflow's connections name them.

The API server never starts one: a look must not leave a process behind.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hogar_provider.plugins.api.errors import ApiError

if TYPE_CHECKING:
    from earg.client import AgentClient
    from earg.home import Home
    from hogar_provider.engines.engine import Engine

FRESH = 5.0
"""Seconds for which a connection is not looked up again: some backends are far away."""

MOST_CONNECTIONS = 32
"""Connections of type earg whose agents are asked for a list of all graphs."""

T = TypeVar("T")


_engines: dict[str, tuple[float, Engine]] = {}
_clients: dict[Path, AgentClient] = {}
_lock = threading.Lock()


def engine_of(conn_id: str) -> Engine:
    """The engine of a connection (empty: the default one). Raises :class:`ApiError`; blocks."""
    now = time.monotonic()
    with _lock:
        kept = _engines.get(conn_id)
    if kept is not None and now - kept[0] < FRESH:
        return kept[1]
    from hogar_provider.exceptions import AirflowException

    try:
        engine: Engine = _server_hook(conn_id).engine()
    except AirflowException as error:
        raise ApiError(
            503, "no_connection", f"{error} An administrator can mend it under Connections."
        ) from None
    with _lock:
        _engines[conn_id] = (now, engine)
    return engine


def ask(home: Home, question: Callable[[AgentClient], T]) -> T:
    """What the agent answers to ``question``. Raises :class:`ApiError`; blocks, for 10 s at most
    unless the call has a deadline of its own."""
    from earg.client import AgentError, NoAgentError
    from earg.home import HomeError

    try:
        home.check_socket()
        if not home.socket.exists():
            raise NoAgentError(f"no agent runs in {home.path}")
        return question(_client(home))
    except HomeError as error:
        raise ApiError(503, "no_agent", f"The agent cannot be used: {error}.") from None
    except NoAgentError as error:
        here = "" if home.engine else f", or on its machine: EARG_HOME={home.path} earg agent start"
        raise ApiError(
            503,
            "no_agent",
            f"The graph's agent is not to be reached: {error}. Running the DAG starts it{here}.",
        ) from None
    except AgentError as error:
        text = str(error)
        if text.startswith("no graph "):
            raise ApiError(
                404, "not_deployed", "The graph is not deployed; run its DAG to deploy it."
            ) from None
        raise ApiError(409, "refused", f"The agent refuses: {text}.") from None


def engines() -> dict[Path, Engine]:
    """Every engine that a connection of type earg names, the default one, and those that need no
    connection, by its folder; those whose connection makes no sense are left out. Blocks."""
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session
    from sqlalchemy import select

    from hogar_provider.engines.registry import ENGINES

    with create_session() as session:
        names = session.scalars(
            select(Connection.conn_id)
            .where(Connection.conn_type == "earg")
            .order_by(Connection.conn_id)
            .limit(MOST_CONNECTIONS)
        ).all()
    found: dict[Path, Engine] = {}
    for name in dict.fromkeys(("", *names, *ENGINES)):
        try:
            engine = engine_of(name)
        except (ApiError, ImportError):
            # What an engine needs may not be installed where nobody uses it.
            continue
        found.setdefault(engine.home.path, engine)
    return found


def close() -> None:
    """Close all channels."""
    with _lock:
        clients = list(_clients.values())
        _clients.clear()
        _engines.clear()
    for client in clients:
        client.close()


def _client(home: Home) -> AgentClient:
    from earg.client import AgentClient

    with _lock:
        client = _clients.get(home.path)
        if client is None:
            # One channel for all: gRPC connects it again when an agent was replaced.
            client = _clients[home.path] = AgentClient(home)
        return client


def _server_hook(conn_id: str) -> Any:
    from hogar_provider.hooks.earg import EargHook

    class ServerHook(EargHook):
        """Reads connections as Airflow's own API does: tasks ask that API for them."""

        @classmethod
        def get_connection(cls, conn_id: str) -> Any:
            from airflow.models.connection import Connection

            return Connection.get_connection_from_secrets(conn_id)

    # Empty means the default one of the configuration.
    return ServerHook(conn_id)
