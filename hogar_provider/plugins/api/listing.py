"""All deployed graphs, asked of the agents once for all who look within two seconds.

The agents are asked at the same time, and each has a deadline: one that hangs keeps nobody from
seeing the graphs of the others. Its own graphs are told as unknown, as far as Airflow's database
knows of them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hogar_provider.plugins.api.agents import (
    ask,
    connections,
    engine_of,
    is_silent,
    silence,
)
from hogar_provider.plugins.api.asking import Asking
from hogar_provider.plugins.api.datamodels.graphs import AgentView, GraphList, GraphSummary
from hogar_provider.plugins.api.declared import (
    Declared,
    deployed_name_of,
    find_declared,
    hogar_dag_ids,
)
from hogar_provider.plugins.api.errors import ApiError
from hogar_provider.plugins.api.graph_view import UNKNOWN, graph_view, summary
from hogar_provider.plugins.api.looking import Looker

if TYPE_CHECKING:
    from earg.home import Home
    from hogar_provider.engines.engine import Engine

log = logging.getLogger(__name__)

FRESH = 2.0
"""Seconds for which the agents are not asked again."""

MOST_GRAPHS = 200
"""Graphs of one agent that are listed."""

CONNECTIONS_ANSWER, AGENTS_ANSWER = 2.0, 4.0
"""Seconds that a list waits for what the connections are, and for the agents."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What the agents told, ``at`` in seconds of the monotonic clock."""

    at: float
    graphs: tuple[GraphSummary, ...]
    agent: AgentView | None
    message: str


@dataclass(frozen=True, slots=True)
class Told:
    """What one agent told; ``message`` says why there may be more. ``silent`` says that its graphs
    may serve though it does not answer."""

    graphs: tuple[GraphSummary, ...] = ()
    agent: AgentView | None = None
    message: str = ""
    silent: bool = False


_lock = threading.Lock()
_listed: Listed | None = None
_lookers: dict[Path, dict[str, Looker]] = {}
_last: dict[Path, Told] = {}
_heard: set[Path] = set()
"""Agents that have answered, though perhaps not told all of their graphs yet. What those told last
stands in for it."""

_engines: Asking[str, Engine] = Asking("connection", CONNECTIONS_ANSWER)
_agents: Asking[Path, Told] = Asking("list", AGENTS_ANSWER)


def list_graphs(listed: Listed, readable: Collection[str], all_dags: bool) -> GraphList:
    """The deployed graphs of the DAGs in ``readable``; with ``all_dags`` those of no DAG, too."""
    graphs = [
        one for one in listed.graphs if (all_dags if one.orphaned else one.dag_id in readable)
    ]
    return GraphList(graphs=graphs, agent=listed.agent, message=listed.message)


def current() -> Listed:
    """All graphs, at most :data:`FRESH` seconds old; blocks while the agents are asked."""
    global _listed
    with _lock:
        if _listed is None or time.monotonic() - _listed.at > FRESH:
            _listed = _ask_all()
        return _listed


def _ask_all() -> Listed:
    dag_of = {deployed_name_of(dag_id): dag_id for dag_id in hogar_dag_ids()}
    names = connections()
    found = _engines.ask({name: partial(engine_of, name) for name in names})
    engines: dict[Path, Engine] = {}
    names_of: dict[Path, list[str]] = {}
    silent: dict[str, str] = {}
    """By connection: why its agent tells nothing of graphs that may serve."""
    messages = []
    for name in names:
        if name not in found:
            silent[name] = (
                f"{_connection(name)} could not be read within {CONNECTIONS_ANSWER:.0f} s."
            )
            messages.append(silent[name])
        elif (error := found[name].exception()) is None:
            engine = found[name].result()
            engines.setdefault(engine.home.path, engine)
            names_of.setdefault(engine.home.path, []).append(name)
        elif not name:
            # Others whose connection makes no sense are left out.
            messages.append(_sentence(error))
    told = _agents.ask(
        {path: partial(_ask_agent, engine, dag_of) for path, engine in engines.items()}
    )
    graphs: list[GraphSummary] = []
    default: AgentView | None = None
    for path, its_names in names_of.items():
        answer = _answer(engines[path].home, told)
        graphs += answer.graphs
        if "" in its_names:
            default = answer.agent
        # An agent that was never started is no news, unless it is the one to be used.
        if answer.message and ("" in its_names or answer.silent or path in _heard):
            messages.append(answer.message)
        if answer.silent:
            silent |= dict.fromkeys(its_names, answer.message)
    for path in set(_last) - set(engines):
        _lookers.pop(path, None)
        del _last[path]
    if silent:
        listed = {one.dag_id for one in graphs}
        unlisted = [dag_id for dag_id in dag_of.values() if dag_id not in listed]
        graphs += _unknown(unlisted[:MOST_GRAPHS], silent)
    graphs.sort(key=lambda one: (one.orphaned, one.name))
    return Listed(time.monotonic(), tuple(graphs), default, " ".join(messages))


def _answer(home: Home, told: Mapping[Path, Future[Told]]) -> Told:
    path = home.path
    if path not in told:
        if path in _heard:
            return _last.get(path, _slow(path))
        return Told(
            message=silence(home)
            or f"The agent in {path} runs, but has not answered within {AGENTS_ANSWER:.0f} s. Its "
            f"graphs may serve on. Its log is {home.log}.",
            silent=True,
        )
    error = told[path].exception()
    _last[path] = told[path].result() if error is None else Told(message=_sentence(error))
    return _last[path]


def _slow(path: Path) -> Told:
    return Told(message=f"The agent in {path} is slow to tell its graphs; wait for them.")


def _ask_agent(engine: Engine, dag_of: Mapping[str, str]) -> Told:
    """Of one agent; its lookers are its own, and it is asked by one thread at a time."""
    home = engine.home
    _heard.discard(home.path)
    try:
        version, pid = ask(home, lambda agent: agent.hello())
        statuses = ask(home, lambda agent: agent.graphs())
    except ApiError as error:
        return Told(message=error.message, silent=is_silent(home, error))
    _heard.add(home.path)
    lookers = _lookers.setdefault(home.path, {})
    graphs = []
    for status in statuses[:MOST_GRAPHS]:
        name = status.name
        looker = lookers.setdefault(name, Looker(home, name, engine.name))
        dag_id = dag_of.get(name, "")
        plain = Declared(dag_id, name, "", "", "", "", None)
        view = graph_view(plain, looker.look(status), looker.events)
        if view.deployed:
            graphs.append(summary(view, orphaned=not dag_id))
    for name in set(lookers) - {status.name for status in statuses}:
        del lookers[name]
    message = ""
    if len(statuses) > MOST_GRAPHS:
        message = f"Only {MOST_GRAPHS} of {len(statuses)} graphs in {home.path} are listed."
    return Told(tuple(graphs), AgentView(home=str(home.path), version=version, pid=pid), message)


def _unknown(dag_ids: Iterable[str], silent: Mapping[str, str]) -> list[GraphSummary]:
    """The graphs of these DAGs that were deployed through a connection whose agent is silent."""
    graphs = []
    for dag_id in dag_ids:
        try:
            declared = find_declared(dag_id)
        except ApiError:
            continue
        why = silent.get(declared.conn_id)
        if why is None or not declared.has_run:
            continue
        graphs.append(
            GraphSummary(
                dag_id=dag_id,
                name=declared.name,
                version=declared.version,
                state=UNKNOWN,
                url="",
                nodes=0 if declared.config is None else len(declared.config.nodes),
                nodes_dead=0,
                requests_per_second=None,
                errors_per_second=None,
                p95_ms=None,
                warnings=[],
                message=why,
            )
        )
    return graphs


def _connection(name: str) -> str:
    return f"The connection {name}" if name else "The default connection"


def _sentence(error: BaseException) -> str:
    if isinstance(error, ApiError):
        return error.message
    log.error("the graphs of an agent cannot be listed", exc_info=error)
    return "The graphs of an agent cannot be listed; the API server's log says why."
