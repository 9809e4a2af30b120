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

NO_AGENT = "no_agent"
"""The error's code of an agent that does not run."""

HANGS = "agent_hangs"
"""The error's code of an agent that runs and does not answer."""

FRESH = 5.0
"""Seconds for which a connection is not looked up again: some backends are far away."""

PROBE = 1.0
"""Seconds that an agent is given for a sign of life once it has let a call pass its deadline. Calls
of an agent that hangs would take all threads else, and graphs of other agents would wait."""

MOST_CONNECTIONS = 32
"""Connections of type earg whose agents are asked for a list of all graphs."""

T = TypeVar("T")


_engines: dict[str, tuple[float, Engine]] = {}
_clients: dict[Path, AgentClient] = {}
_silent: dict[Path, float] = {}
"""Agents that have let a call pass its deadline and answer nothing, by folder: since when, in
seconds of the monotonic clock."""

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
    unless the call has a deadline of its own, and one that is known to hang for :data:`PROBE`."""
    from earg.client import AgentError, DeadlineError, NoAgentError
    from earg.home import HomeError

    try:
        home.check_socket()
        if not home.socket.exists():
            raise NoAgentError(f"no agent runs in {home.path}")
        client = _client(home)
        asked = time.monotonic()
        if home.path in _silent:
            _check_answers(client, asked)
        try:
            return question(client)
        except DeadlineError as error:
            _check_answers(client, asked)
            raise ApiError(
                504, "no_answer", f"The agent answers, but {str(error).removeprefix('the agent ')}."
            ) from None
    except HomeError as error:
        raise ApiError(503, NO_AGENT, f"The agent cannot be used: {error}.") from None
    except NoAgentError as error:
        here = "" if home.engine else f", or on its machine: EARG_HOME={home.path} earg agent start"
        raise ApiError(
            503,
            NO_AGENT,
            f"The graph's agent is not to be reached: {error}. Running the DAG starts it{here}.",
        ) from None
    except AgentError as error:
        text = str(error)
        if text.startswith("no graph "):
            raise ApiError(
                404, "not_deployed", "The graph is not deployed; run its DAG to deploy it."
            ) from None
        raise ApiError(409, "refused", f"The agent refuses: {text}.") from None


def may_serve(home: Home) -> bool:
    """Whether graphs may serve though the agent does not answer: it has not ended in good order."""
    from earg.home import HomeError

    try:
        home.check_socket()
    except HomeError:
        return False
    return home.socket.exists() or home.ledger.exists()


def is_silent(home: Home, error: ApiError) -> bool:
    """Whether ``error`` of :func:`ask` says that the agent does not answer while graphs may
    serve."""
    return error.code == HANGS or (error.code == NO_AGENT and may_serve(home))


def connections() -> list[str]:
    """Every connection of type earg, the default one (empty), and the engines that need none.
    Blocks."""
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        names = session.scalars(
            select(Connection.conn_id)
            .where(Connection.conn_type == "earg")
            .order_by(Connection.conn_id)
            .limit(MOST_CONNECTIONS)
        ).all()
    return list(dict.fromkeys(("", *names, *engines_in_use())))


def engines_in_use() -> list[str]:
    """The engines that need no connection and have an agent's folder: to open another one would
    load what it needs, which is much, for nothing."""
    from earg.home import find_home
    from hogar_provider.engines.registry import ENGINES, LOCAL

    folder = find_home().path / "engines"
    return [name for name in ENGINES if name == LOCAL or (folder / name).is_dir()]


def close() -> None:
    """Close all channels."""
    with _lock:
        clients = list(_clients.values())
        _clients.clear()
        _engines.clear()
        _silent.clear()
    for client in clients:
        client.close()


def silence(home: Home) -> str:
    """For how long an agent has hung, as a sentence; empty where it is not known to."""
    since = _silent.get(home.path)
    return "" if since is None else _silence(home, since)


def _silence(home: Home, since: float) -> str:
    return (
        f"The agent in {home.path} runs, but has not answered for "
        f"{time.monotonic() - since:.0f} s. Its graphs may serve on. Its log is {home.log}."
    )


def _check_answers(client: AgentClient, asked: float) -> None:
    """Raise :class:`ApiError` where the agent, which was ``asked`` then, gives no sign of life."""
    from earg.client import AgentError, DeadlineError

    path = client.home.path
    try:
        client.hello(PROBE)
    except DeadlineError:
        since = _silent.setdefault(path, asked)
        raise ApiError(503, HANGS, _silence(client.home, since)) from None
    except AgentError:
        _silent.pop(path, None)
        raise
    _silent.pop(path, None)


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
