"""All deployed graphs, asked of the agents once for all who look within two seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from dataclasses import dataclass

from hogar_provider.plugins.api.agents import ask, engine_of, engines
from hogar_provider.plugins.api.datamodels.graphs import AgentView, GraphList, GraphSummary
from hogar_provider.plugins.api.declared import Declared, deployed_name_of, hogar_dag_ids
from hogar_provider.plugins.api.errors import ApiError
from hogar_provider.plugins.api.graph_view import graph_view, summary
from hogar_provider.plugins.api.looking import Looker

FRESH = 2.0
"""Seconds for which the agents are not asked again."""

MOST_GRAPHS = 200
"""Graphs of one agent that are listed."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What the agents told, ``at`` in seconds of the monotonic clock."""

    at: float
    graphs: tuple[GraphSummary, ...]
    agent: AgentView | None
    message: str


_lock = threading.Lock()
_listed: Listed | None = None
_lookers: dict[tuple[str, str], Looker] = {}


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
    graphs: list[GraphSummary] = []
    default: AgentView | None = None
    messages = []
    try:
        default_home = engine_of("").home.path
    except ApiError as error:
        default_home = None
        messages.append(error.message)
    seen: set[tuple[str, str]] = set()
    for path, engine in engines().items():
        try:
            version, pid = ask(engine.home, lambda agent: agent.hello())
            statuses = ask(engine.home, lambda agent: agent.graphs())
        except ApiError as error:
            if path == default_home:
                messages.append(error.message)
            continue
        if path == default_home:
            default = AgentView(home=str(path), version=version, pid=pid)
        if len(statuses) > MOST_GRAPHS:
            messages.append(f"Only {MOST_GRAPHS} of {len(statuses)} graphs in {path} are listed.")
        for status in statuses[:MOST_GRAPHS]:
            name = status.name
            key = (str(path), name)
            seen.add(key)
            looker = _lookers.setdefault(key, Looker(engine.home, name, engine.name))
            dag_id = dag_of.get(name, "")
            plain = Declared(dag_id, name, "", "", "", "", None)
            view = graph_view(plain, looker.look(status), None, looker.events)
            if view.deployed:
                graphs.append(summary(view, orphaned=not dag_id))
    for key in set(_lookers) - seen:
        del _lookers[key]
    graphs.sort(key=lambda one: (one.orphaned, one.name))
    return Listed(time.monotonic(), tuple(graphs), default, " ".join(messages))
