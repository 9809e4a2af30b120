"""A dags folder in a real Airflow: its own database, dag processor and command line."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from earg.client import NoAgentError, connect
from hogar_provider.compiled import compile_text
from tests.hogar_provider.folders import (
    BROKEN,
    LOADERS,
    MODELS,
    ROOT,
    SENTIMENT,
    TWO_EXITS,
    chain,
)
from tests.hogar_provider.test_operators import ask

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Airflow:
    """An Airflow of its own: ``home`` is its folder, ``dags`` its dags folder."""

    home: Path
    bundle: dict[str, Any] | None = None
    """The one bundle it is set to, if not to Airflow's own of the dags folder."""

    @property
    def dags(self) -> Path:
        return self.home / "dags"

    @property
    def earg(self) -> Path:
        return self.home / "earg"

    def run(self, *arguments: str, check: bool = True) -> str:
        """Run Airflow's command line; returns all it prints."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "_AIRFLOW"))}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env={
                **kept,
                "AIRFLOW_HOME": str(self.home),
                "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
                "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
                "EARG_HOME": str(self.earg),
                "PYTHONPATH": str(ROOT),
                **self._bundles(),
            },
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0 or not check, done.stdout
        return done.stdout

    def _bundles(self) -> dict[str, str]:
        if self.bundle is None:
            return {}
        return {"AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([self.bundle])}

    def parse(self) -> None:
        """Let the dag processor read every file once."""
        self.run("dag-processor", "--num-runs", "1")

    def errors(self) -> list[dict[str, str]]:
        """What ``airflow dags list-import-errors`` shows."""
        text = self.run("dags", "list-import-errors", "--output", "json", check=False)
        shown = [line for line in text.splitlines() if line.startswith("[{")]
        return list(json.loads(shown[-1])) if shown else []

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of Airflow's database."""
        with sqlite3.connect(self.home / "airflow.db") as database:
            return database.execute(sql).fetchall()


@pytest.fixture
def airflow(tmp_path: Path) -> Iterator[Airflow]:
    """A fresh Airflow whose dags folder holds the loader files, the test's models and their
    images file; the agent that its tasks start is stopped when the test ends."""
    yield from started(Airflow(tmp_path))


@pytest.fixture
def bundled(tmp_path: Path) -> Iterator[Airflow]:
    """The same, but its one bundle is of UDGL files."""
    yield from started(Airflow(tmp_path, BUNDLE))


BUNDLE = {
    "name": "dags-folder",
    "classpath": "hogar_provider.bundles.UdglDagBundle",
    "kwargs": {"refresh_interval": 0},
}


def started(airflow: Airflow) -> Iterator[Airflow]:
    """Make its folder, and stop at the end what it has started."""
    airflow.dags.mkdir()
    for file in (*LOADERS, *MODELS.glob("*.*")):
        shutil.copy(file, airflow.dags)
    airflow.run("db", "migrate")
    yield airflow
    try:
        with connect(airflow.earg, start=False) as client:
            client.shutdown()
    except NoAgentError:
        pass


def test_broken_files_are_listed_and_the_good_graphs_stay(airflow: Airflow) -> None:
    shutil.copy(SENTIMENT, airflow.dags)
    airflow.parse()
    assert airflow.query("select * from import_error") == []

    (airflow.dags / "broken.udgl").write_text(BROKEN)
    (airflow.dags / "exits.udgl").write_text(TWO_EXITS)
    (airflow.dags / "copy.udgl").write_text(chain("Copied", "test/upper:1"))
    (airflow.dags / "copy of copy.udgl").write_text(chain("Copied", "test/upper:1"))
    airflow.parse()
    (error,) = airflow.errors()
    assert error["filepath"] == "hogar_errors.py"
    text = error["error"]
    assert f"{airflow.dags}/broken.udgl:3:1: U011" in text
    assert "\n  verzion 1\n  ^^^^^^^\n" in text
    assert f"{airflow.dags}/exits.udgl:8:10: EARG103" in text
    assert f"{airflow.dags}/copy of copy.udgl:2:6: AIRFLOW102" in text
    assert f"is taken by {airflow.dags}/copy.udgl" in text
    dags = airflow.query("select dag_id, is_stale, is_paused, fileloc, relative_fileloc from dag")
    assert sorted(dags) == [
        ("Copied", 0, 0, f"{airflow.dags}/copy.udgl", "hogar_graphs.py"),
        ("SentiAnalyzer", 0, 0, f"{airflow.dags}/sentiment.udgl", "hogar_graphs.py"),
    ]
    (code,) = airflow.query("select source_code from dag_code where dag_id = 'SentiAnalyzer'")
    assert code == (SENTIMENT.read_text(encoding="utf-8"),)

    for name in ("broken", "exits", "copy of copy"):
        (airflow.dags / f"{name}.udgl").unlink()
    airflow.parse()
    assert airflow.query("select * from import_error") == []


def test_in_a_bundle_each_broken_file_is_listed_by_itself(bundled: Airflow) -> None:
    dags = bundled.dags
    shutil.copy(SENTIMENT, dags)
    (dags / "below").mkdir()
    (dags / "below/größe 1.udgl").write_text(BROKEN)
    (dags / "exits.udgl").write_text(TWO_EXITS)
    (dags / "copy.udgl").write_text(chain("Copied", "test/upper:1"))
    (dags / "copy of copy.udgl").write_text(chain("Copied", "test/upper:1"))
    bundled.parse()
    errors = {error["filepath"]: error["error"] for error in bundled.errors()}
    assert sorted(errors) == ["below/größe 1.udgl.py", "copy of copy.udgl.py", "exits.udgl.py"]
    assert (
        f'  File "{dags}/below/größe 1.udgl", line 3\n    verzion 1\n    ^^^^^^^\n'
        f"SyntaxError: {dags}/below/größe 1.udgl:3:1: U011"
    ) in errors["below/größe 1.udgl.py"]
    assert "hint: did you mean 'version'?" in errors["below/größe 1.udgl.py"]
    assert f"{dags}/exits.udgl:8:10: EARG103" in errors["exits.udgl.py"]
    assert f"is taken by {dags}/copy.udgl" in errors["copy of copy.udgl.py"]
    dag = "select dag_id, is_stale, fileloc, relative_fileloc, bundle_name from dag"
    assert sorted(bundled.query(dag)) == [
        ("Copied", 0, f"{dags}/copy.udgl", "copy.udgl.py", "dags-folder"),
        ("SentiAnalyzer", 0, f"{dags}/sentiment.udgl", "sentiment.udgl.py", "dags-folder"),
    ]
    (code,) = bundled.query("select source_code from dag_code where dag_id = 'SentiAnalyzer'")
    assert code == (SENTIMENT.read_text(encoding="utf-8"),)

    # Mended, edited, renamed, deleted.
    (dags / "below/größe 1.udgl").write_text(BROKEN.replace("verzion", "version"))
    (dags / "exits.udgl").unlink()
    (dags / "copy.udgl").write_text(chain("Edited", "test/upper:1"))
    (dags / "sentiment.udgl").rename(dags / "moved.udgl")
    bundled.parse()
    assert bundled.query("select filename from import_error") == []
    assert sorted(bundled.query("select dag_id, relative_fileloc from dag where not is_stale")) == [
        ("Broken", "below/größe 1.udgl.py"),
        ("Copied", "copy of copy.udgl.py"),
        ("Edited", "copy.udgl.py"),
        ("SentiAnalyzer", "moved.udgl.py"),
    ]
    (dags / "moved.udgl").unlink()
    bundled.parse()
    assert bundled.query("select is_stale from dag where dag_id = 'SentiAnalyzer'") == [(1,)]


def test_a_run_in_a_bundle_finds_models_and_images_beside_the_graph(bundled: Airflow) -> None:
    text = chain("Small", "test/upper:1", "test/backwards:1")
    # A class that the graph names itself is beside the graph, too.
    text = text.replace("image test/backwards:1", "entrypoint small:Backwards")
    (bundled.dags / "small.udgl").write_text(text)
    log = bundled.run("dags", "test", "Small")
    assert "state=success" in log
    with connect(bundled.earg, start=False) as client:
        (graph,) = client.graphs()
    assert [node.state.value for node in graph.nodes] == ["ready", "ready"]


CHOOSES = """\
meta
name Small
version 1
platform ray, json
operator A
entrypoint small:Words, batch dynamic 8, latency 40ms, wait 1ms, replicas 2
operator B
image test/counter:1, stateful Yes, timeout 20s
operator C
entrypoint small:Says, env GREETING="good morning", retries 1
flow
switch
A -> B when count >= 3, C otherwise
"""


def test_a_run_of_the_dag_brings_the_graph_up(airflow: Airflow) -> None:
    (airflow.dags / "small.udgl").write_text(CHOOSES)
    log = airflow.run("dags", "test", "Small")
    assert "state=success" in log
    with connect(airflow.earg, start=False) as client:
        (graph,) = client.graphs()
    assert graph.url in log
    assert [(node.name, node.state.value) for node in graph.nodes] == [
        ("A", "ready"),
        ("B", "ready"),
        ("C", "ready"),
    ]
    assert len(graph.nodes[0].pairs[0].model_pids) == 2
    assert ask(graph.url, "three words here") == "1"
    assert json.loads(ask(graph.url, "two words"))["said"] == "good morning"
    compiled = airflow.home / "compiled" / "Small" / "1"
    for name in ("ray", "json"):
        files = compile_text(CHOOSES, "small.udgl", name).files
        assert files
        for file in files:
            assert (compiled / name / file.name).read_text() == file.text
            assert str(compiled / name / file.name) in log


def test_a_model_that_raises_fails_its_task_with_its_own_traceback(airflow: Airflow) -> None:
    text = chain("Weightless", "test/upper:1", "test/noweights:1")
    (airflow.dags / "weightless.udgl").write_text(text)
    log = airflow.run("dags", "test", "Weightless", check=False)
    assert "state=failed" in log
    assert "in _read" in log
    assert "FileNotFoundError: there is no weights.bin" in log
    states = dict(airflow.query("select task_id, state from task_instance"))
    assert states == {
        "deploy.A": "success",
        "deploy.B": "failed",
        **dict.fromkeys(("wire", "probe.A", "probe.B", "serve"), "upstream_failed"),
    }
