"""The note of a run: what it has changed."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from hogar_provider.run_note import LONGEST_NOTE, note
from tests.hogar_provider.airflows import AirflowCommand
from tests.hogar_provider.folders import ROOT

DAGS = """
from airflow.sdk import DAG, task

def dag(name, tag, difference):
    with DAG(name, schedule=None, tags=[tag]):

        @task(task_id="wire")
        def wire(ti=None):
            ti.xcom_push("difference", difference)

        wire()

dag("changed", "hogar", "~ operator A: version 1 -> 2")
dag("first", "hogar", None)
dag("other", "mine", "~ operator A: version 1 -> 2")
"""
"""As the wire task of a graph's DAG leaves it, and one of a DAG that is no graph's."""


def test_a_note_says_what_has_changed_as_it_is_written() -> None:
    assert note("~ operator A: version 1 -> 2") == "```\n~ operator A: version 1 -> 2\n```"
    assert note("") == "Nothing has changed: the graph is the one that was deployed before."
    assert note(None) == "The graph was not deployed before."


def test_a_long_note_ends_at_a_whole_line() -> None:
    lines = [f"~ operator Operator{number}: version 1 -> 2" for number in range(100)]
    text = note("\n".join(lines))
    assert len(text) <= LONGEST_NOTE
    *shown, dots = text.removeprefix("```\n").removesuffix("\n```").split("\n")
    assert dots == "..."
    assert shown == lines[: len(shown)]


def test_the_listener_costs_a_process_nothing_heavy() -> None:
    code = (
        "import sys; from hogar_provider.plugins.plugin import HogarPlugin; "
        "assert HogarPlugin.listeners; "
        "print(sorted({'earg', 'udgl', 'grpc', 'lark', 'airflow.models'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_of_a_graphs_dag_gets_its_note_and_no_other_run_does(tmp_path: Path) -> None:
    airflow = AirflowCommand(tmp_path)
    airflow.dags.mkdir()
    (airflow.dags / "graphs.py").write_text(DAGS)
    airflow.run("db", "migrate")
    airflow.run("dag-processor", "--num-runs", "1")
    for name in ("changed", "first", "other"):
        airflow.run("dags", "test", name)
    with sqlite3.connect(tmp_path / "airflow.db") as database:
        found = database.execute(
            "select dag_id, state, content from dag_run "
            "left join dag_run_note on dag_run.id = dag_run_id order by dag_id"
        ).fetchall()
    assert found == [
        ("changed", "success", "```\n~ operator A: version 1 -> 2\n```"),
        ("first", "success", "The graph was not deployed before."),
        ("other", "success", None),
    ]
