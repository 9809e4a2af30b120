"""Tasks as Airflow runs them: with rendered templates, deferred, and resumed."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

import udgl
from hogar_provider.dag_builder import GraphDag, build_dag
from hogar_provider.exceptions import TaskDeferred
from tests.hogar_provider.folders import chain


def build(folder: Path, *images: str, stateful: str = "") -> GraphDag:
    """The DAG of a graph ``Small`` in ``folder``; ``stateful`` is the operator that is."""
    text = chain("Small", *images)
    text = text.replace(f"operator {stateful}\n", f"operator {stateful}\nstateful Yes, ")
    (folder / "small.udgl").write_text(text)
    return build_dag(udgl.load(folder / "small.udgl"), folder / "small.udgl", text)


def run(dag: DAG, *task_ids: str, **params: Any) -> list[Any]:
    """Run tasks one after the other as a run with these params does; returns what they returned."""
    return [prepared(dag, task_id, **params).execute({}) for task_id in task_ids]


def prepared(dag: DAG, task_id: str, **params: Any) -> Any:
    """A task with its templates rendered."""
    task = dag.get_task(task_id).prepare_for_execution()
    task.render_template_fields({"params": {**dag.params.dump(), **params}})
    return task


def deferred(execute: Callable[[], Any]) -> TaskDeferred:
    """What a task that defers itself tells Airflow."""
    with pytest.raises(TaskDeferred) as caught:
        execute()
    return caught.value


def restored(deferral: TaskDeferred) -> Any:
    """Its trigger as the triggerer makes it: from what Airflow's database keeps."""
    path, arguments = deferral.trigger.serialize()
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)(**json.loads(json.dumps(arguments)))


async def event_of(trigger: Any) -> dict[str, Any]:
    """What the trigger's one event says."""
    (event,) = [event async for event in trigger.run()]
    return dict(json.loads(json.dumps(event.payload)))
