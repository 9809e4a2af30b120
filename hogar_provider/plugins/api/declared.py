"""What Airflow's database says of a HOGAR graph. No DAG file is read.

The code of the DAG is its UDGL text (the loader sees to that), and the serialized DAG tells that it
deploys nodes, under which name, and through which connection.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hogar_provider.plugins.api.errors import ApiError
from hogar_provider.plugins.api.runs import last_connection

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from earg.config import StaticConfig
    from earg.extras import Extras

DEPLOY_MODULE = "hogar_provider.operators.deploy"
"""Where the Airflow operator is from that makes a DAG a HOGAR graph's."""

FRESH = 5.0
"""Seconds for which the database is not asked again."""

MOST_KEPT = 256
"""Declared graphs that are kept."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A graph as declared. ``name`` and ``version`` are those it is deployed under; ``conn_id`` is
    the connection of the agent, through which the newest run has deployed it, empty for the
    default one. ``problem`` says why ``config`` is missing, or is empty. ``extras`` is None where
    they are not known. ``has_run`` is whether a run is known to have deployed it."""

    dag_id: str
    name: str
    version: str
    conn_id: str
    udgl: str
    earg: str
    config: StaticConfig | None
    extras: Extras | None = None
    problem: str = ""
    has_run: bool = False

    @property
    def extras_text(self) -> str:
        """The canonical text of the extras; empty where there are none, or they are not known."""
        from earg.extras import write_extras

        if self.config is None or self.extras is None:
            return ""
        return write_extras(self.extras, self.config)


@dataclass(slots=True)
class _Kept:
    """``deploys`` is the task whose runs tell the connection, ``default`` that of a run that is
    told none."""

    checked: float
    key: tuple[str, str]
    declared: Declared | None
    deploys: str = ""
    default: str = ""


_kept: OrderedDict[str, _Kept] = OrderedDict()
_lock = threading.Lock()


def find_declared(dag_id: str) -> Declared:
    """The graph of a DAG; raises :class:`ApiError` where the DAG is none, or there is no such DAG.

    Blocks while the database is asked.
    """
    now = time.monotonic()
    with _lock:
        kept = _kept.get(dag_id)
    if kept is None or now - kept.checked > FRESH:
        kept = _look_up(dag_id, kept, now)
        with _lock:
            _kept[dag_id] = kept
            _kept.move_to_end(dag_id)
            while len(_kept) > MOST_KEPT:
                _kept.popitem(last=False)
    if kept.declared is None:
        raise ApiError(
            404,
            "not_a_hogar_graph",
            f"DAG {dag_id} is not a HOGAR graph: none of its tasks deploys a node. A DAG becomes "
            "one by being written in UDGL.",
        )
    return kept.declared


def hogar_dag_ids() -> list[str]:
    """The DAGs that are made of UDGL files, by their tag; ``find_declared`` knows for certain."""
    from airflow.models.dag import DagModel, DagTag
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return list(
            session.scalars(
                select(DagTag.dag_id)
                .join(DagModel, DagModel.dag_id == DagTag.dag_id)
                .where(DagTag.name == "hogar", DagModel.is_stale.is_(False))
                .order_by(DagTag.dag_id)
            )
        )


def deployed_name_of(dag_id: str) -> str:
    """The name under which the graph of a DAG is deployed."""
    from udgl.graph import ServingGraph
    from udgl.targets.earg import deployed_name

    return deployed_name(ServingGraph(dag_id, "1", ()))[0]


def _look_up(dag_id: str, kept: _Kept | None, now: float) -> _Kept:
    from airflow.models.dagcode import DagCode
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        # Small columns first: what has not changed is not loaded again.
        row = session.execute(
            SerializedDagModel.latest_item_select_object(dag_id).with_only_columns(
                SerializedDagModel.dag_hash
            )
        ).first()
        if row is None:
            raise ApiError(
                404, "no_such_dag", f"There is no DAG {dag_id}, or it has not been read yet."
            )
        code_hash = session.scalar(
            select(DagCode.source_code_hash)
            .where(DagCode.dag_id == dag_id)
            .order_by(DagCode.last_updated.desc())
            .limit(1)
        )
        key = (row[0], code_hash or "")
        if kept is not None and kept.key == key:
            if kept.declared is None:
                return _Kept(now, key, None)
            return _with_connection(session, replace(kept, checked=now), kept.declared)
        found = SerializedDagModel.get(dag_id, session=session)
        data = None if found is None else found.data
        if isinstance(data, str):
            import json

            data = json.loads(data)
        task = deploy_task((data or {}).get("dag", {}))
        if task is None:
            return _Kept(now, key, None)
        code = DagCode.get_latest_dagcode(dag_id, session=session)
        text = "" if code is None else code.source_code
        conn_id = connection_of((data or {})["dag"], task)
        declared = read_declared(dag_id, text, task, conn_id)
        made = _Kept(now, key, None, str(task.get("task_id") or ""), declared.conn_id)
        return _with_connection(session, made, declared)


def _with_connection(session: Session, kept: _Kept, declared: Declared) -> _Kept:
    """Runs come and go while the DAG stays the same."""
    used = last_connection(session, declared.dag_id, kept.deploys)
    conn_id = kept.default if used is None else used
    now = replace(declared, conn_id=conn_id, has_run=used is not None)
    return replace(kept, declared=now)


def deploy_task(dag: dict[str, Any]) -> dict[str, Any] | None:
    """The first task of a serialized DAG that deploys a node."""
    for task in dag.get("tasks", ()):
        fields = task.get("__var", task)
        if fields.get("_task_module") == DEPLOY_MODULE:
            return dict(fields)
    return None


def read_declared(dag_id: str, text: str, task: dict[str, Any], conn_id: str) -> Declared:
    """The graph of a DAG whose code is ``text``. Where that is no UDGL, because the DAG was built
    in Python, only the names are known that its ``task`` deploys under. Its connection is
    ``conn_id``; where that is empty, the one of the engine that the graph names."""
    import udgl
    from earg.extras import Extras
    from udgl.targets.earg import deployed_name, lower

    try:
        graph = udgl.parse(text, source=f"{dag_id}.udgl")
        lowered = lower(graph)
    except udgl.UdglError:
        return Declared(
            dag_id,
            str(task.get("graph") or deployed_name_of(dag_id)),
            str(task.get("version") or ""),
            conn_id,
            text,
            "",
            None,
            problem="The DAG's code is not UDGL, so what is declared is not known.",
        )
    name, version = deployed_name(graph)
    extras = lowered.extras or Extras()
    conn_id = conn_id or graph.engine or ""
    return Declared(dag_id, name, version, conn_id, text, lowered.text, lowered.config, extras)


def connection_of(dag: dict[str, Any], task: dict[str, Any]) -> str:
    """The connection that runs of a serialized DAG use unless they are told another one; ``task``
    is one that deploys a node. Empty: the default one."""
    defaults = {
        name: param.get("default", param.get("__var", {}).get("default"))
        for name, param in dag.get("params") or ()
    }
    if "earg_conn_id" in defaults:
        for name in ("earg_conn_id", "engine"):
            value = defaults.get(name)
            if value and isinstance(value, str):
                return value
        return ""
    named = task.get("earg_conn_id")
    return named if isinstance(named, str) and "{{" not in named else ""
