"""Who changed what, in Airflow's audit log."""

from __future__ import annotations

import json
from typing import Any

from hogar_provider.plugins.api.datamodels.batching import BatchChangeRecord, BatchSettingView

BATCH_EVENT = "hogar_batch"
"""The audit log's event for a change of how a node batches."""

MOST_CHANGES = 200
"""Changes that are told at once."""


def record(event: str, dag_id: str, user: Any, **extra: Any) -> None:
    """Add an entry about ``user`` to the audit log; blocks while the database writes."""
    from airflow.models.log import Log
    from airflow.utils.session import create_session

    name = user.get_name()
    with create_session() as session:
        session.add(
            Log(
                event=event,
                owner=name,
                owner_display_name=name,
                extra=json.dumps(extra),
                dag_id=dag_id,
            )
        )


def record_batch_change(
    dag_id: str, user: Any, node: str, before: BatchSettingView, after: BatchSettingView
) -> None:
    """Add a change of how ``node`` batches; blocks."""
    record(
        BATCH_EVENT,
        dag_id,
        user,
        node=node,
        **{"from": before.model_dump(), "to": after.model_dump()},
    )


def batch_changes(dag_id: str) -> list[BatchChangeRecord]:
    """The newest changes in the audit log, newest first; blocks."""
    from airflow.models.log import Log
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        rows = session.execute(
            select(Log.dttm, Log.owner, Log.extra)
            .where(Log.dag_id == dag_id, Log.event == BATCH_EVENT, Log.dttm.is_not(None))
            .order_by(Log.id.desc())
            .limit(MOST_CHANGES)
        ).all()
    changes = []
    for when, owner, extra in rows:
        said = json.loads(extra or "{}")
        changes.append(
            BatchChangeRecord.model_validate(
                {"at": when.timestamp(), "who": owner or ""}
                | {key: said[key] for key in ("node", "from", "to")}
            )
        )
    return changes
