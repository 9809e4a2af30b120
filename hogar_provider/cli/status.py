"""``airflow hogar status``: whether what is deployed serves, and what is orphaned."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from earg.status import SERVING, NodeState
from hogar_provider.cli.engine import command, deployed
from hogar_provider.cli.table import moment, show

if TYPE_CHECKING:
    from earg.status import GraphStatus
    from hogar_provider.deployers import GraphDagRow

WORST_FIRST = (
    NodeState.DRAINING,
    NodeState.DEAD,
    NodeState.RECOVERING,
    NodeState.STARTING,
    NodeState.DEGRADED,
    NodeState.BUSY,
    NodeState.READY,
)


@command
def run(args: Namespace) -> None:
    """Do it."""
    from airflow.utils.session import create_session

    from hogar_provider.deployers import deployers

    graphs = deployed(args)
    with create_session() as session:
        dags = deployers(session, [graph.name for graph in graphs])
    several = any(graph.hosts for graph in graphs)
    rows = []
    for graph in graphs:
        row = row_of(graph, dags.get(graph.name))
        rows.append({**row, "hosts": hosts_of(graph)} if several else row)
    show(args, rows)


def hosts_of(graph: GraphStatus) -> str:
    """How many of the engine's hosts answer, and what is the matter with the others; empty where
    it has the agent's own alone."""
    dead = [host for host in graph.hosts if host.dead]
    if not graph.hosts:
        return ""
    said = [f"{len(graph.hosts) - len(dead)}/{len(graph.hosts)} answer"]
    for host in dead:
        since = f" since {moment(host.since)}" if host.since else ""
        said.append(f"{host.name} does not{since}" + (f": {host.reason}" if host.reason else ""))
    return "; ".join(said)


def row_of(graph: GraphStatus, dag: GraphDagRow | None) -> dict[str, Any]:
    """A graph's line."""
    serving = sum(node.state in SERVING for node in graph.nodes)
    return {
        "graph": graph.name,
        "version": graph.version,
        "state": state_of(graph),
        "nodes": f"{serving}/{graph.operators}",
        "url": graph.url,
        "dag_id": dag.dag_id if dag is not None else "",
        "orphaned": is_orphaned(dag),
        "warnings": "; ".join(graph.warnings),
    }


def is_orphaned(dag: GraphDagRow | None) -> bool:
    """Whether a deployed graph of that DAG is: the DAG is gone, or Airflow never had one."""
    return dag is None or not dag.alive


def state_of(graph: GraphStatus) -> str:
    """The worst state of its nodes; ``serving`` where all of them are ready, ``incomplete`` where
    those that are there serve and others were not deployed yet, or it is not wired."""
    states = {node.state for node in graph.nodes}
    worst = next((state for state in WORST_FIRST if state in states), None)
    if worst in (None, NodeState.READY, NodeState.BUSY):
        if not graph.url or len(graph.nodes) < graph.operators:
            return "incomplete"
        if worst is NodeState.READY:
            return "serving"
    return worst.value if worst is not None else "incomplete"
