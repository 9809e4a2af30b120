"""A serving graph as an Airflow DAG: a function of the graph, with no look at anything else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from airflow.sdk import DAG, TaskGroup

from earg.config import write_static
from hogar_provider.operators.deploy import DeployNodeOperator
from hogar_provider.operators.probe import ProbeNodeOperator
from hogar_provider.operators.serve import ServeGraphOperator
from hogar_provider.operators.wire import WireGraphOperator
from udgl.graph import ServingGraph

TAGS = ("hogar", "udgl")

SCHEDULED_SINCE = datetime(2024, 1, 1, tzinfo=UTC)
"""Airflow wants a start for what has a schedule. Any day of the past does: nothing is caught up."""

MOST_DOCS = 64 * 1024
"""Characters of UDGL text that a DAG's docs show; Airflow stores the docs with every version."""


class GraphDag(DAG):
    """The DAG of a UDGL file, whose Code tab shows that file instead of the loader's.

    ``graph`` is what it was built from, ``source`` the file and ``text`` what the file says.
    """

    graph: ServingGraph
    source: Path
    text: str

    def validate(self) -> None:
        """Airflow calls this between setting ``fileloc`` and storing the code it points to."""
        super().validate()
        self.fileloc = str(self.source)


def build_dag(
    graph: ServingGraph, source: Path, text: str = "", images: str = "images.yaml"
) -> GraphDag:
    """The DAG that deploys, wires, probes and serves ``graph``.

    ``source`` is the file the graph comes from and ``text`` what it says; ``images`` is the images
    file, relative to the folder of ``source``. Every node is deployed at once, then the graph is
    wired, then the probes follow the graph's own edges, and ``serve`` the exit's. Raises
    UdglError for a graph that EARG cannot express, ValueError or AirflowException for one that
    Airflow cannot.
    """
    from udgl.targets.earg import deployed_name, to_static

    config = write_static(to_static(graph))
    name, version = deployed_name(graph)
    dag = GraphDag(
        graph.name,
        description=graph.description,
        schedule=graph.schedule,
        start_date=SCHEDULED_SINCE if graph.schedule else None,
        catchup=False,
        max_active_runs=1,
        tags=[*TAGS, *graph.tags],
        default_args={"owner": graph.owner} if graph.owner else {},
        doc_md=describe(graph, text),
        # A run of a paused DAG waits for ever, and whoever drops a file and triggers it wants it
        # to run. Without a schedule nothing starts by itself, so there is nothing to hold back.
        is_paused_upon_creation=None if graph.schedule else False,
        auto_register=False,
    )
    dag.graph, dag.source, dag.text = graph, source, text
    dag.fileloc = str(source)

    entry = graph.entry()
    nodes = [entry, *(operator for operator in graph.operators if operator is not entry)]
    deploys = TaskGroup("deploy", dag=dag, tooltip="Start every node: its model and its proxy")
    deploy_tasks = [
        DeployNodeOperator(
            task_id=operator.name,
            graph=name,
            version=version,
            config=config,
            index=index,
            images=images,
            dag=dag,
            task_group=deploys,
        )
        for index, operator in enumerate(nodes, start=1)
    ]
    wire = WireGraphOperator(task_id="wire", graph=name, dag=dag)
    probes = TaskGroup("probe", dag=dag, tooltip="Wait until every node is ready")
    probe_of = {
        operator.name: ProbeNodeOperator(
            task_id=operator.name, graph=name, index=index, dag=dag, task_group=probes
        )
        for index, operator in enumerate(nodes, start=1)
    }
    serve = ServeGraphOperator(task_id="serve", graph=name, dag=dag)

    wire.set_upstream(deploy_tasks)
    wire.set_downstream(probe_of[entry.name])
    for source_name, target_name in graph.edges():
        probe_of[source_name].set_downstream(probe_of[target_name])
    serve.set_upstream([probe_of[operator.name] for operator in graph.exits()])
    return dag


def describe(graph: ServingGraph, text: str) -> str:
    """The DAG's docs in Markdown: what the graph is, and the UDGL text in a code block."""
    fence = "```"
    while fence in text:
        fence += "`"
    if len(text) > MOST_DOCS:
        text = f"{text[:MOST_DOCS]}\n# ... {len(text) - MOST_DOCS} more characters in the file"
    parts = [
        f"Serving graph **{graph.name}** version {graph.version}, "
        f"{len(graph.operators)} operator{'s' if len(graph.operators) > 1 else ''}."
    ]
    if graph.description:
        parts.append(graph.description)
    if text:
        parts.append(f"{fence}udgl\n{text.rstrip()}\n{fence}")
    return "\n\n".join(parts) + "\n"
