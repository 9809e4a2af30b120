"""``airflow hogar graphs``: every graph that has a DAG or is deployed."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from hogar_provider.cli.engine import command, deployed
from hogar_provider.cli.status import is_orphaned, state_of
from hogar_provider.cli.table import show

if TYPE_CHECKING:
    from earg.status import GraphStatus
    from hogar_provider.deployers import GraphDagRow


@command
def run(args: Namespace) -> None:
    """Do it."""
    from airflow.utils.session import create_session

    from hogar_provider.deployers import dags_of_graphs, deployers

    graphs = {graph.name: graph for graph in deployed(args)}
    with create_session() as session:
        dags = {name: row for name, row in dags_of_graphs(session).items() if row.alive}
        dags |= deployers(session, graphs)
    show(args, [_row(name, graphs.get(name), dags.get(name)) for name in sorted(graphs | dags)])


def _row(name: str, graph: GraphStatus | None, dag: GraphDagRow | None) -> dict[str, Any]:
    return {
        "graph": name,
        "dag_id": dag.dag_id if dag is not None else "",
        "file": dag.file if dag is not None else "",
        "paused": dag.paused if dag is not None and dag.alive else "",
        "state": state_of(graph) if graph is not None else "not deployed",
        "version": graph.version if graph is not None else "",
        "orphaned": graph is not None and is_orphaned(dag),
    }
