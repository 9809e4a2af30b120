"""A serving graph as an Airflow DAG: a function of the graph, with no look at anything else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, TaskGroup

from hogar_provider.configuration import deploy_timeout, probe_timeout
from hogar_provider.operators.compile import CompileGraphOperator
from hogar_provider.operators.deploy import DeployNodeOperator
from hogar_provider.operators.probe import ProbeNodeOperator
from hogar_provider.operators.serve import ServeGraphOperator
from hogar_provider.operators.wire import WireGraphOperator
from hogar_provider.training.tasks import (
    artifact_of,
    deploy_after,
    retrain_param,
    train_tasks,
)
from udgl.diagnostics import Diagnostic
from udgl.engines import ENGINES, SHARES
from udgl.graph import Operator, ServingGraph
from udgl.writing import factor_texts

TAGS = ("hogar", "udgl")

SCHEDULED_SINCE = datetime(2024, 1, 1, tzinfo=UTC)
"""Airflow wants a start for what has a schedule. Any day of the past does: nothing is caught up."""

RETRIES, RETRY_DELAY = 2, timedelta(seconds=10)
"""What fails for a while, such as an agent that is being restarted, is tried again; a task that has
begun a deploy finds there what it has left running. What cannot get better is not retried."""

MOST_DOCS = 64 * 1024
"""Characters of UDGL text that a DAG's docs show; Airflow stores the docs with every version."""


DRY = "{{ params.dry_run }}"
"""Whether a task only says what it would do, from the run's params."""


BATCH_SCHEMA = {"type": "integer"}

MOST_ROWS = 100
"""Operators that a DAG's docs list."""

_SERVING = ("wait", "latency", "timeout", "retries", "replicas", *SHARES, "env")
"""Factors that an operator's docs tell where it has them."""


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
    file, relative to the folder of ``source``, of operators without an entrypoint. Every node is
    deployed at once, then the graph is wired, then the probes follow the graph's own edges, and
    ``serve`` the exits'. Raises UdglError for a graph that EARG cannot express, ValueError or
    AirflowException for one that Airflow cannot.
    """
    from udgl.targets.earg import deployed_name, lower

    lowered = lower(graph)
    config, extras = lowered.text, lowered.extras_text
    name, version = deployed_name(graph)
    entry = graph.entry()
    nodes = [entry, *(operator for operator in graph.operators if operator is not entry)]
    default_args: dict[str, Any] = {"retries": RETRIES, "retry_delay": RETRY_DELAY}
    if graph.owner:
        default_args["owner"] = graph.owner
    dag = GraphDag(
        graph.name,
        description=graph.description,
        schedule=graph.schedule,
        start_date=SCHEDULED_SINCE if graph.schedule else None,
        catchup=False,
        max_active_runs=1,
        tags=[*TAGS, *graph.tags],
        default_args=default_args,
        doc_md=describe(graph, text, lowered.diagnostics),
        # A run of a paused DAG waits for ever, and whoever drops a file and triggers it wants it
        # to run. Without a schedule nothing starts by itself, so there is nothing to hold back.
        is_paused_upon_creation=None if graph.schedule else False,
        auto_register=False,
    )
    dag.graph, dag.source, dag.text = graph, source, text
    dag.fileloc = str(source)

    common: dict[str, Any] = {
        "dag": dag,
        "graph": name,
        "earg_conn_id": connection_template(graph),
        "dry": DRY,
    }
    into, out_of = _neighbours(graph)
    deploy_seconds, probe_seconds = deploy_timeout(), probe_timeout()
    trainings = train_tasks(nodes, dag, DRY)
    deploys = TaskGroup(
        "deploy", dag=dag, tooltip="Start every node: its model and its proxy", ui_color="#d2e3fc"
    )
    deploy_tasks = [
        DeployNodeOperator(
            task_id=operator.name,
            version=version,
            config=config,
            index=index,
            images=images,
            entrypoint=operator.entrypoint or "",
            extras=extras,
            batch="{{ params.batch | tojson }}",
            artifact=artifact_of(operator),
            force=f"{{{{ '{operator.name}' in params.redeploy }}}}",
            timeout=deploy_seconds,
            deferrable=True,
            doc_md=describe_operator(operator, into, out_of),
            task_group=deploys,
            **common,
        )
        for index, operator in enumerate(nodes, start=1)
    ]
    wire = WireGraphOperator(
        task_id="wire",
        doc_md="Starts the frontend and tells every proxy the graph; sums up what has changed.",
        **common,
    )
    probes = TaskGroup(
        "probe", dag=dag, tooltip="Wait until every node is ready", ui_color="#e6f4ea"
    )
    probe_of = {
        operator.name: ProbeNodeOperator(
            task_id=operator.name,
            index=index,
            timeout=probe_seconds,
            deferrable=True,
            doc_md=f"Waits until **{operator.name}** is ready.",
            task_group=probes,
            **common,
        )
        for index, operator in enumerate(nodes, start=1)
    }
    serve = ServeGraphOperator(
        task_id="serve",
        doc_md=f"Waits until the graph serves, and updates the asset `earg://{name}`.",
        **common,
    )

    platforms = _platforms(graph)
    if platforms:
        CompileGraphOperator(
            task_id="compile",
            dag=dag,
            graph=name,
            version=version,
            udgl=text,
            source=source.name,
            targets="{{ params.platforms | tojson }}",
            dry=DRY,
            doc_md=f"Writes the files of {', '.join(platforms)}; the log names them.",
        )

    # Given before, every task would get a copy, which takes long and is stored with each.
    dag.params = {**_params(graph, nodes), **_platform_param(platforms)}
    deploy_after(trainings, deploy_tasks, dag)
    wire.set_upstream(deploy_tasks)
    wire.set_downstream(probe_of[entry.name])
    for source_name, target_name in graph.edges():
        probe_of[source_name].set_downstream(probe_of[target_name])
    serve.set_upstream([probe_of[operator.name] for operator in graph.exits()])
    return dag


def connection_template(graph: ServingGraph) -> str:
    """The connection that a run's tasks use: the one that its params name, else that of their
    engine, else that of the graph's. Each engine has a connection of its name."""
    return f"{{{{ params.earg_conn_id or params.engine or '{graph.engine or ''}' }}}}"


def describe(graph: ServingGraph, text: str, warnings: Sequence[Diagnostic] = ()) -> str:
    """The DAG's docs in Markdown: what the graph is, what there is to warn of, and the UDGL text in
    a code block."""
    fence = "```"
    while fence in text:
        fence += "`"
    if len(text) > MOST_DOCS:
        text = f"{text[:MOST_DOCS]}\n# ... {len(text) - MOST_DOCS} more characters in the file"
    parts = [
        f"Serving graph **{graph.name}** version {graph.version}, "
        f"{len(graph.operators)} operator{'s' if len(graph.operators) > 1 else ''}"
        + (f", on the engine {graph.engine}." if graph.engine else ".")
    ]
    if graph.description:
        parts.append(graph.description)
    parts.append(_table(graph))
    if warnings:
        told = [
            f"- {'' if d.span is None else f'line {d.span.line}: '}{d.message}" for d in warnings
        ]
        more = len(told) - MOST_ROWS
        parts.append("\n".join(told[:MOST_ROWS]) + (f"\n- and {more} more" if more > 0 else ""))
    if text:
        parts.append(f"{fence}udgl\n{text.rstrip()}\n{fence}")
    return "\n\n".join(parts) + "\n"


def describe_operator(
    operator: Operator, into: dict[str, list[str]], out_of: dict[str, list[str]]
) -> str:
    """The docs of the task that deploys an operator, in Markdown."""
    name = operator.name
    sources = ", ".join(into.get(name, ())) or "the frontend"
    targets = ", ".join(out_of.get(name, ())) or "the frontend: its reply is the graph's"
    kind = "stateful: a backup holds its state" if operator.stateful else "stateless"
    if operator.stateful and operator.backup == 0:
        kind = "stateful, without a backup"
    more = "".join(f", {word} {text}" for word, text in factor_texts(operator) if word in _SERVING)
    return (
        f"Starts **{name}** version {operator.version}: {_runs(operator)}, "
        f"batch {_batch(operator)}, {kind}{more}.\n\nReceives from {sources}; sends to {targets}."
    )


def _runs(operator: Operator) -> str:
    parts = [f"image `{operator.image}`"] if operator.image else []
    if operator.entrypoint:
        parts.append(f"class `{operator.entrypoint}`")
    return ", ".join(parts)


def _batch(operator: Operator) -> str:
    return f"dynamic {operator.batch}" if operator.dynamic else str(operator.batch)


def _neighbours(graph: ServingGraph) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Operator to those that flow into it, and to those that it flows into."""
    into: dict[str, list[str]] = {}
    out_of: dict[str, list[str]] = {}
    for source, target in graph.edges():
        into.setdefault(target, []).append(source)
        out_of.setdefault(source, []).append(target)
    return into, out_of


def _table(graph: ServingGraph) -> str:
    """The operators, one a line."""
    rows = [
        f"| {o.name} | {o.version} | `{o.image or o.entrypoint}` | {_batch(o)} "
        f"| {'yes' if o.stateful else 'no'} |"
        for o in graph.operators
    ]
    head = "| Operator | Version | Image | Batch | Stateful |\n|---|---|---|---|---|\n"
    return (
        head
        + "\n".join(rows[:MOST_ROWS])
        + (f"\n\n... and {len(rows) - MOST_ROWS} more" if len(rows) > MOST_ROWS else "")
    )


_DEFAULT_CONNECTION = "that of [hogar] default_conn_id."


def _platforms(graph: ServingGraph) -> list[str]:
    """The targets whose files a run publishes: none where the graph names EARG alone."""
    named = list(dict.fromkeys(graph.platforms))
    return [] if named == ["earg"] else named


def _platform_param(platforms: list[str]) -> dict[str, Param]:
    if not platforms:
        return {}
    return {
        "platforms": Param(
            platforms,
            type="array",
            title="Platforms",
            description="What the graph is compiled to; the task compile writes the files.",
            items={"type": "string"},
            examples=platforms,
        )
    }


def _params(graph: ServingGraph, nodes: Sequence[Operator]) -> dict[str, Param]:
    """What the trigger form asks for, all with a default."""
    names = [operator.name for operator in nodes]
    return {
        **retrain_param(nodes),
        "engine": Param(
            None,
            type=["null", "string"],
            enum=[None, *ENGINES],
            title="Engine",
            description="What the nodes run on: the connection of this name. Empty: "
            + (f"{graph.engine}, as the graph says." if graph.engine else _DEFAULT_CONNECTION),
        ),
        "earg_conn_id": Param(
            None,
            type=["null", "string"],
            title="Engine connection",
            description="Another Airflow connection of type earg to run the graph with. Empty: "
            "that of the engine.",
        ),
        "dry_run": Param(
            False,
            type="boolean",
            title="Dry run",
            description="Each task only says in its log what it would do.",
        ),
        "batch": Param(
            {},
            type="object",
            title="Batch limits",
            description="Limits for this run that take the place of those in the file, by "
            f'operator, such as {{"{names[0]}": {nodes[0].batch}}}. The next run without them '
            "goes back to the file's.",
            properties=dict.fromkeys(names, BATCH_SCHEMA),
            additionalProperties=False,
        ),
        "redeploy": Param(
            [],
            type="array",
            title="Redeploy",
            description="Operators to start anew although nothing of them has changed; no request "
            "fails meanwhile.",
            items={"type": "string", "enum": names},
            examples=names,
        ),
    }
