"""A run after another: what has changed is changed, the rest is left, and the log says which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import udgl
from earg.client import AgentClient
from hogar_provider.dag_builder import GraphDag, build_dag
from hogar_provider.exceptions import AirflowFailException, AirflowSkipException
from tests.hogar_provider.running import build, prepared, run
from tests.hogar_provider.test_operators import ask

pytestmark = pytest.mark.slow

UP = ("deploy.A", "deploy.B", "wire", "probe.A", "probe.B", "serve")


@pytest.fixture
def small(models: Path, agent: AgentClient) -> GraphDag:
    """The DAG of a graph that serves."""
    dag = build(models, "test/upper:1", "test/backwards:1")
    run(dag, *UP)
    return dag


def rebuilt(folder: Path, before: str, after: str) -> GraphDag:
    """The DAG once its file has changed."""
    path = folder / "small.udgl"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    return build_dag(udgl.load(path), path, path.read_text())


def changes(results: list[Any]) -> list[str]:
    return [result["change"] for result in results if isinstance(result, dict)]


def pids(results: list[Any]) -> list[int]:
    return [result["pairs"][0]["model_pid"] for result in results if isinstance(result, dict)]


def doings(agent: AgentClient, after: int) -> list[str]:
    """What was done to the graph after that event, without the states that follow from it."""
    return [event.what for event in agent.events("Small", after) if not event.after]


class Ti:
    """What a task gets of the tasks before it."""

    def __init__(self, results: list[Any]) -> None:
        self.results = results
        self.pushed: dict[str, Any] = {}

    def xcom_pull(self, task_ids: list[str]) -> list[Any]:
        assert task_ids == ["deploy.A", "deploy.B"]
        return self.results

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def test_a_node_of_another_version_is_replaced_and_the_other_left(
    small: GraphDag, models: Path, agent: AgentClient, capfd: pytest.CaptureFixture[str]
) -> None:
    before = pids(run(small, "deploy.A", "deploy.B"))
    dag = rebuilt(models, "version 1, image test/upper:1", "version 2, image test/words:1")
    results = run(dag, "deploy.A", "deploy.B")
    assert changes(results) == [
        "replaced because version 1 -> 2, image test/upper:1 -> test/words:1",
        "unchanged",
    ]
    after = pids(results)
    assert after[0] != before[0]
    assert after[1] == before[1]
    ti = Ti(results)
    prepared(dag, "wire").execute({"ti": ti})
    difference = "~ operator A: version 1 -> 2, image test/upper:1 -> test/words:1"
    assert ti.pushed == {
        "changes": dict(zip("AB", changes(results), strict=True)),
        "difference": difference,
    }
    log = capfd.readouterr().out
    assert difference in log
    assert "A: replaced because version 1 -> 2" in log
    assert "unchanged: B" in log


def test_an_unchanged_graph_is_left_and_probed(
    small: GraphDag, agent: AgentClient, capfd: pytest.CaptureFixture[str]
) -> None:
    number = agent.events("Small")[-1].number
    results = run(small, *UP)
    assert changes(results) == ["unchanged", "unchanged"]
    assert doings(agent, number) == []
    assert "B of graph Small is ready" in capfd.readouterr().out
    prepared(small, "wire").execute({"ti": Ti(results)})
    assert "Graph Small is the one that was deployed before." in capfd.readouterr().out


def test_another_batch_is_set_live(small: GraphDag, models: Path, agent: AgentClient) -> None:
    before = pids(run(small, "deploy.A", "deploy.B"))
    dag = rebuilt(models, "image test/upper:1", "batch 7, image test/upper:1")
    results = run(dag, "deploy.A", "deploy.B")
    assert changes(results) == [
        "batch set live: has batch 7 of its config now, before: 1",
        "unchanged",
    ]
    assert pids(results) == before
    assert agent.statistics("Small").nodes[0].statistics.batch_limit == 7


def test_a_runs_batch_limits_hold_until_the_next_run(small: GraphDag, agent: AgentClient) -> None:
    results = run(small, "deploy.A", "deploy.B", batch={"B": 5})
    assert changes(results) == [
        "unchanged",
        "batch set live: has batch 5 of its config now, before: 1",
    ]
    assert agent.statistics("Small").nodes[1].statistics.batch_limit == 5
    run(small, "deploy.A", "deploy.B")
    assert agent.statistics("Small").nodes[1].statistics.batch_limit == 1


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"C": 2}, "graph Small has no operator called C; it has A, B"),
        ({"A": "many"}, "batch of A must be a whole number, not 'many'"),
        ({"A": 1 << 40}, "The EARG config of graph Small is broken"),
    ],
)
def test_a_batch_limit_that_makes_no_sense_is_a_sentence(
    models: Path, connection: Path, batch: dict[str, Any], message: str
) -> None:
    dag = build(models, "test/upper:1", "test/backwards:1")
    with pytest.raises(AirflowFailException, match=message):
        run(dag, "deploy.A", batch=batch)


def test_a_node_that_is_to_be_redeployed_is_replaced_though_nothing_has_changed(
    small: GraphDag, agent: AgentClient
) -> None:
    before = pids(run(small, "deploy.A", "deploy.B"))
    results = run(small, *UP, redeploy=["B"])
    assert pids(results)[0] == before[0]
    assert pids(results)[1] != before[1]
    assert changes(results)[0] == "unchanged"
    assert changes(results)[1].startswith("replaced because that was asked for")
    assert ask(results[-1], "hogar") == "RAGOH"
    assert changes(run(small, "deploy.A", "deploy.B")) == ["unchanged", "unchanged"]


def test_a_stateful_node_that_is_redeployed_keeps_its_state(
    models: Path, agent: AgentClient
) -> None:
    dag = build(models, "test/counter:1", stateful="A")
    *_, url = run(dag, "deploy.A", "wire", "probe.A", "serve")
    assert json.loads(ask(url, "one")) == 1
    results = run(dag, "deploy.A", "wire", "probe.A", "serve", redeploy=["A"])
    assert changes(results)[0].startswith("replaced")
    assert json.loads(ask(url, "two")) == 2


def test_a_dry_run_says_what_it_would_do_and_does_nothing(
    models: Path, agent: AgentClient, capfd: pytest.CaptureFixture[str]
) -> None:
    dag = build(models, "test/upper:1", "test/backwards:1")
    tasks = UP[:-1]
    assert run(dag, *tasks, dry_run=True) == [None] * len(tasks)
    # Nothing has been updated: the asset is not, either.
    with pytest.raises(AirflowSkipException, match="would wait until graph Small serves"):
        run(dag, "serve", dry_run=True)
    assert agent.graphs() == ()
    log = capfd.readouterr().out
    what = f"(image test/upper:1 is small:Upper from {models})"
    assert f"Dry run: would start A 1 {what} of graph Small" in log
    assert "Dry run: would start the frontend of graph Small" in log

    run(dag, *UP)
    number = agent.events("Small")[-1].number
    changed = rebuilt(models, "version 1, image test/upper:1", "version 2, image test/upper:1")
    run(changed, "deploy.A", "deploy.B", dry_run=True)
    run(changed, "deploy.B", dry_run=True, redeploy=["B"])
    assert doings(agent, number) == []
    log = capfd.readouterr().out
    assert f"Dry run: would replace A 2 {what} of graph Small: version 1" in log
    assert "Dry run: would leave B 1" in log
    assert "of graph Small, as asked for" in log


def test_a_run_takes_its_engine_connection_from_its_params(
    models: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = json.dumps({"conn_type": "earg", "extra": {"home": str(home)}})
    monkeypatch.setenv("AIRFLOW_CONN_OTHER_ENGINE", other)
    default = json.dumps({"conn_type": "earg", "extra": {"home": str(tmp_path / "unused")}})
    monkeypatch.setenv("AIRFLOW_CONN_EARG_DEFAULT", default)
    dag = build(models, "test/upper:1")
    run(dag, "deploy.A", "wire", "probe.A", "serve", earg_conn_id="other_engine")
    assert not (tmp_path / "unused").exists()


def test_two_configs_at_once_are_refused(models: Path, agent: AgentClient) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from hogar_provider.exceptions import AirflowException

    dag = build(models, "test/warmsup:1", "test/upper:1")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(run, dag, "deploy.A")
        try:
            while not any(event.node == "A" for event in agent.events("Small")):
                if agent.graphs():
                    break
            with pytest.raises(AirflowException, match="is being deployed with another config"):
                run(dag, "deploy.B", batch={"B": 9})
        finally:
            (models / "warm").write_text("yes")
        assert changes(first.result(60)) == ["started as version 1"]
