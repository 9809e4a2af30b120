"""Through which connection a DAG's runs have deployed its graph, as Airflow's database tells it.

The connection is a template: a param of the run, or whatever the author wrote. Airflow keeps the
templated fields of each task instance as they were rendered, and so this is what was really used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

COUNTED = ("success", "running", "deferred")
"""States of a task instance whose deploy counts: of one that failed, the graph may serve on where
it was before."""

MOST_RUNS = 20
"""Newest runs that are looked at: dry runs deploy nothing."""


def last_connection(session: Session, dag_id: str, task_id: str) -> str | None:
    """The connection (empty: the default one) of the newest run whose task ``task_id``, one that
    deploys a node, has deployed or is about to. None where no run is known to have."""
    from airflow.models.renderedtifields import RenderedTaskInstanceFields as Rendered
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import and_, select

    found = session.scalars(
        select(Rendered.rendered_fields)
        .join(
            TaskInstance,
            and_(
                *(
                    getattr(TaskInstance, name) == getattr(Rendered, name)
                    for name in ("dag_id", "task_id", "run_id", "map_index")
                )
            ),
        )
        .where(
            Rendered.dag_id == dag_id,
            Rendered.task_id == task_id,
            TaskInstance.state.in_(COUNTED),
        )
        .order_by(TaskInstance.start_date.desc())
        .limit(MOST_RUNS)
    )
    return next((connection for fields in found if (connection := used(fields)) is not None), None)


def used(fields: dict[str, Any]) -> str | None:
    """The connection in the rendered fields of a deploying task; None where it deployed nothing, or
    they make no sense."""
    from hogar_provider.arguments import truth
    from hogar_provider.exceptions import AirflowFailException

    try:
        if truth(fields.get("dry", False), "dry"):
            return None
    except AirflowFailException:
        # The task said so, too, and failed.
        return None
    connection = fields.get("earg_conn_id")
    # None is the default one; what is no text was never a connection's name.
    return connection if isinstance(connection, str) else "" if connection is None else None
