"""Which DAG a deployed graph belongs to, as Airflow's metadata database tells it.

A graph outlives its DAG: whoever deletes the file, or the DAG, leaves the service up. Such a graph
is *orphaned*: it serves, and nothing in Airflow will redeploy it or take it down by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

TAG = "hogar"
"""Every DAG of a UDGL file has it."""

DEPLOYING = ("DeployNodeOperator", "WireGraphOperator", "ServeGraphOperator")
"""Airflow operators whose templated field ``graph`` says what a hand-written DAG has deployed."""

MOST_TASKS = 5000
"""So many of the newest tasks of hand-written DAGs are looked at."""


@dataclass(frozen=True, slots=True)
class GraphDagRow:
    """A DAG that deploys a graph. ``file`` is where it is written, a UDGL file as a rule; ``alive``
    is False once that file gives it no longer."""

    dag_id: str
    file: str
    alive: bool
    paused: bool


def deployed_as(dag_id: str) -> str:
    """The name under which the graph of that DAG is deployed: EARG admits no ``-`` in it."""
    return dag_id.replace("-", "_")


def dags_of_graphs(session: Session) -> dict[str, GraphDagRow]:
    """The DAGs of UDGL files by the name under which their graph is deployed, those whose file is
    gone included unless another one has taken the name."""
    from airflow.models.dag import DagModel, DagTag
    from sqlalchemy import select

    rows = session.execute(
        select(DagModel.dag_id, DagModel.fileloc, DagModel.is_stale, DagModel.is_paused)
        .join(DagTag, DagTag.dag_id == DagModel.dag_id)
        .where(DagTag.name == TAG)
        .order_by(DagModel.dag_id)
    )
    found: dict[str, GraphDagRow] = {}
    for dag_id, file, stale, paused in rows:
        row = GraphDagRow(dag_id, file or "", not stale, bool(paused))
        name = deployed_as(dag_id)
        if row.alive or name not in found:
            found[name] = row
    return found


def deployers(session: Session, graphs: Iterable[str]) -> dict[str, GraphDagRow]:
    """The DAG that each of these deployed graphs belongs to; a graph without one is left out.

    That is the DAG of the graph's UDGL file, or else a hand-written one whose tasks have deployed
    it, as long as Airflow keeps their rendered fields.
    """
    wanted = set(graphs)
    found = {name: row for name, row in dags_of_graphs(session).items() if name in wanted}
    missing = {name for name in wanted if name not in found or not found[name].alive}
    return found | _hand_written(session, missing) if missing else found


def _hand_written(session: Session, graphs: set[str]) -> dict[str, GraphDagRow]:
    from airflow.models.dag import DagModel
    from airflow.models.renderedtifields import RenderedTaskInstanceFields as Rendered
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import and_, select

    rows = session.execute(
        select(DagModel.dag_id, DagModel.fileloc, DagModel.is_paused, Rendered.rendered_fields)
        .select_from(TaskInstance)
        .join(
            Rendered,
            and_(
                *(
                    getattr(Rendered, key) == getattr(TaskInstance, key)
                    for key in ("dag_id", "task_id", "run_id", "map_index")
                )
            ),
        )
        .join(DagModel, DagModel.dag_id == TaskInstance.dag_id)
        .where(
            TaskInstance.operator.in_(DEPLOYING),
            TaskInstance.state == "success",
            DagModel.is_stale.is_(False),
        )
        .order_by(TaskInstance.end_date.desc())
        .limit(MOST_TASKS)
    )
    found: dict[str, GraphDagRow] = {}
    for dag_id, file, paused, fields in rows:
        name = fields.get("graph") if isinstance(fields, dict) else None
        if name in graphs and name not in found:
            found[name] = GraphDagRow(dag_id, file or "", True, bool(paused))
    return found
