"""Graphs, whole."""

from __future__ import annotations

from pydantic import BaseModel

from hogar_provider.plugins.api.datamodels.hosts import HostView
from hogar_provider.plugins.api.datamodels.nodes import NodeView


class AgentView(BaseModel):
    """The agent that runs graphs; ``home`` is its folder."""

    home: str
    version: str
    pid: int


class GraphSummary(BaseModel):
    """A deployed graph in a list. ``dag_id`` is empty for an orphan: no DAG declares it. ``engine``
    is what it runs on, ``hosts`` how many hosts that has and ``dead_hosts`` which of them do not
    answer; there are none where it has the agent's alone. The state of one whose agent does not
    answer is ``unknown``, and ``message`` says why."""

    dag_id: str
    name: str
    version: str
    state: str
    url: str
    nodes: int
    nodes_dead: int
    requests_per_second: float | None
    errors_per_second: float | None
    p95_ms: float | None
    warnings: list[str]
    orphaned: bool = False
    engine: str = "local"
    hosts: int = 0
    dead_hosts: list[str] = []
    message: str = ""


class GraphList(BaseModel):
    """All graphs that the user may see. ``message`` says why there may be more."""

    graphs: list[GraphSummary]
    agent: AgentView | None
    message: str = ""


class FlowView(BaseModel):
    """One edge between nodes, by index. ``label`` is a case's condition or a share. The rate is
    None where it cannot be told."""

    source: int
    target: int
    kind: str
    label: str = ""
    requests_per_second: float | None = None


class GraphView(BaseModel):
    """A graph as it is now, or as declared where it is not deployed. ``message`` says what keeps
    the view from being complete. ``in_graph`` counts requests without a reply yet, and
    ``errors_per_second`` those that clients got an error for, refusals and those that took too long
    included; None where the frontend does not tell. ``reachable`` is false where the agent does not
    answer, and then whether it is deployed is not known: the state is ``unknown`` where it may
    serve. ``engine`` is what it runs on; ``hosts`` are those that its nodes may be on, and
    ``frontend_host`` the one that its frontend is on: none and empty where there is the agent's own
    alone."""

    dag_id: str
    name: str
    version: str
    deployed: bool
    reachable: bool
    state: str
    url: str
    warnings: list[str]
    message: str
    at: float
    nodes: list[NodeView]
    flows: list[FlowView]
    in_graph: int | None
    errors_per_second: float | None = None
    engine: str = "local"
    hosts: list[HostView] = []
    frontend_host: str = ""
