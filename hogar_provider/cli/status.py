"""``airflow hogar status``: whether what is deployed serves, and what is orphaned."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from hogar_provider.cli.engine import command, deployed
from hogar_provider.cli.table import show

if TYPE_CHECKING:
    from earg.status import GraphStatus
    from hogar_provider.deployers import GraphDagRow


@command
def run(args: Namespace) -> None:
    """Do it."""
    from airflow.utils.session import create_session

    from hogar_provider.deployers import deployers

    graphs = deployed(args)
    with create_session() as session:
        dags = deployers(session, [graph.name for graph in graphs])
    show(args, [row_of(graph, dags.get(graph.name)) for graph in graphs])


def row_of(graph: GraphStatus, dag: GraphDagRow | None) -> dict[str, Any]:
    """A graph's line."""
    serving = sum(node.state in _serving() for node in graph.nodes)
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
    """The graph's state: that of its nodes where they agree, else the worst of them."""
    states = [node.state for node in graph.nodes]
    for state in _worst_first():
        if state in states:
            if state.value in ("ready", "busy") and len(states) < graph.operators:
                break
            return "serving" if state.value == "ready" and graph.url else state.value
    return "incomplete"


def _worst_first() -> tuple[Any, ...]:
    from earg.status import NodeState

    return (
        NodeState.DRAINING,
        NodeState.DEAD,
        NodeState.RECOVERING,
        NodeState.STARTING,
        NodeState.DEGRADED,
        NodeState.BUSY,
        NodeState.READY,
    )


def _serving() -> frozenset[Any]:
    from earg.status import SERVING

    return SERVING
