"""A listener: a run of a graph's DAG that has ended gets a note of what it has changed.

Airflow's API for tasks cannot set a note, so the scheduler does, from the XCom ``difference`` that
the task ``wire`` leaves: None where the graph was not deployed before, else what ``udgl diff``
prints, empty where nothing differs. A note that somebody has written stays.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow.listeners import hookimpl

from hogar_provider.deployers import TAG

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

TASK, KEY = "wire", "difference"

LONGEST_NOTE = 1000
"""Characters that Airflow stores of a note."""

log = logging.getLogger(__name__)


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:
    """Airflow calls this when a run has succeeded."""
    write_note(dag_run)


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    """Airflow calls this when a run has failed; its deploys may have changed something all the
    same."""
    write_note(dag_run)


def write_note(dag_run: DagRun) -> None:
    """Set the run's note, where it is one of a graph's DAG and its ``wire`` has told anything.

    It is stored with the run's state, in the same transaction. A run that no scheduler has, as of
    ``airflow dags test``, is in none and gets no note.
    """
    dag = getattr(dag_run, "dag", None)
    if dag is not None and TAG not in dag.tags:
        return
    from airflow.models.xcom import XComModel
    from sqlalchemy import select
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    if session is None:
        return
    with session.no_autoflush:
        found = session.execute(
            select(XComModel.value).where(
                XComModel.dag_id == dag_run.dag_id,
                XComModel.run_id == dag_run.run_id,
                XComModel.task_id == TASK,
                XComModel.key == KEY,
            )
        ).first()
        if found is None or dag_run.note:
            return
        dag_run.note = note(found[0])


def note(difference: str | None) -> str:
    """The note, in Markdown, as Airflow shows it."""
    if difference is None:
        return "The graph was not deployed before."
    if not difference:
        return "Nothing has changed: the graph is the one that was deployed before."
    start, end = "```\n", "\n```"
    room = LONGEST_NOTE - len(start) - len(end)
    if len(difference) > room:
        difference = difference[: room - 4].rpartition("\n")[0] + "\n..."
    return start + difference.replace("```", "'''") + end
