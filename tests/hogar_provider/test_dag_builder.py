"""A graph as a DAG: its tasks, their order, and what Airflow shows of it."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.sdk import Asset

import udgl
from earg.config import read_static
from hogar_provider.dag_builder import GraphDag, build_dag
from hogar_provider.exceptions import AirflowException
from tests.hogar_provider.folders import LOADERS, SENTIMENT, TWO_EXITS, chain, parse, stored

SOURCE = Path("/dags/graph.udgl")


def build(text: str) -> GraphDag:
    return build_dag(udgl.parse(text), SOURCE, text)


@pytest.fixture
def sentiment() -> GraphDag:
    return build_dag(udgl.load(SENTIMENT), SENTIMENT, SENTIMENT.read_text(encoding="utf-8"))


def edges(dag: GraphDag) -> set[tuple[str, str]]:
    return {(t.task_id, below) for t in dag.tasks for below in t.downstream_task_ids}


def test_the_dag_is_named_as_the_graph(sentiment: GraphDag) -> None:
    assert sentiment.dag_id == "SentiAnalyzer"
    assert sentiment.tags == {"hogar", "udgl"}
    assert sentiment.fileloc == str(SENTIMENT)


def test_every_operator_is_deployed_and_probed(sentiment: GraphDag) -> None:
    names = ["Trancriber", "Tokenizer", "Senti-Analyzer", "Sub-Analyzer", "Conclusion"]
    assert sentiment.task_ids == [
        *(f"deploy.{name}" for name in names),
        "wire",
        *(f"probe.{name}" for name in names),
        "serve",
    ]


def test_deploys_run_at_once_and_probes_follow_the_graphs_edges(sentiment: GraphDag) -> None:
    assert edges(sentiment) == {
        ("deploy.Trancriber", "wire"),
        ("deploy.Tokenizer", "wire"),
        ("deploy.Senti-Analyzer", "wire"),
        ("deploy.Sub-Analyzer", "wire"),
        ("deploy.Conclusion", "wire"),
        ("wire", "probe.Trancriber"),
        ("probe.Trancriber", "probe.Tokenizer"),
        ("probe.Tokenizer", "probe.Senti-Analyzer"),
        ("probe.Tokenizer", "probe.Sub-Analyzer"),
        ("probe.Senti-Analyzer", "probe.Conclusion"),
        ("probe.Sub-Analyzer", "probe.Conclusion"),
        ("probe.Conclusion", "serve"),
    }


def test_a_graph_of_one_operator_is_a_dag_too() -> None:
    dag = build(chain("One", "test/upper:1"))
    assert edges(dag) == {("deploy.A", "wire"), ("wire", "probe.A"), ("probe.A", "serve")}


def test_every_task_means_the_node_it_is_named_for() -> None:
    # The entry is not the first operator of the file, but it is node 1.
    text = chain("G", "test/upper:1", "test/backwards:1", "test/counter:1")
    dag = build(text.replace("A -> B\nB -> C", "C -> A\nA -> B"))
    for task in dag.tasks:
        assert task.task_id in {"wire", "serve"} or task.task_id.split(".")[1] == (
            read_static(dag.get_task("deploy.A").config).nodes[task.index - 1].name
        )
    assert dag.get_task("deploy.C").index == 1


def test_names_with_every_character_of_the_language_become_task_ids() -> None:
    text = "meta\nname a.b-c_D\nversion 1.2\noperator X.y-z_1\nversion 1, image i:1\n"
    dag = build(text)
    assert dag.dag_id == "a.b-c_D"
    assert dag.task_ids == ["deploy.X.y-z_1", "wire", "probe.X.y-z_1", "serve"]


def test_operators_may_be_called_as_the_tasks_are() -> None:
    text = (
        chain("G", "i:1", "i:2").replace("operator A", "operator wire").replace("A ->", "wire ->")
    )
    assert build(text).task_ids == [
        *("deploy.wire", "deploy.B", "wire", "probe.wire", "probe.B", "serve"),
    ]


def test_tasks_know_the_graph_as_it_is_deployed() -> None:
    dag = build("meta\nname my-graph\nversion 1-b\noperator A\nversion 1, image i:1\n")
    assert {task.graph for task in dag.tasks} == {"my_graph"}
    assert dag.get_task("deploy.A").version == "1_b"


def test_without_a_schedule_a_trigger_is_enough_to_run_it(sentiment: GraphDag) -> None:
    assert sentiment.schedule is None
    assert sentiment.is_paused_upon_creation is False


def test_runs_of_one_graph_do_not_overlap_and_nothing_is_caught_up(sentiment: GraphDag) -> None:
    assert sentiment.max_active_runs == 1
    assert sentiment.catchup is False


def test_meta_becomes_what_airflow_shows() -> None:
    meta = "description Greets people\nowner Ada\ntags speech, demo\nschedule @daily"
    dag = build(chain("G", "i:1", meta=meta))
    assert dag.description == "Greets people"
    assert dag.owner == "Ada"
    assert dag.tags == {"hogar", "udgl", "speech", "demo"}
    assert dag.schedule == "@daily"


def test_a_scheduled_graph_can_be_scheduled_and_waits_for_its_owner() -> None:
    dag = build(chain("G", "i:1", meta="schedule @daily"))
    dag.validate()
    assert dag.start_date is not None
    # Airflow's own setting decides whether it starts by itself.
    assert dag.is_paused_upon_creation is None


def test_the_docs_show_the_file() -> None:
    text = chain("G", "i:1") + "# a comment with ``` in it\n"
    dag = build(text)
    assert f"````udgl\n{text}````" in (dag.doc_md or "")


def test_the_docs_of_a_huge_file_stay_small() -> None:
    text = chain("G", "i:1") + "# comment\n" * 100_000
    assert len(build(text).doc_md or "") < 70_000


def test_a_task_is_given_longer_than_what_it_waits_for(sentiment: GraphDag) -> None:
    for task in sentiment.tasks:
        assert task.execution_timeout is not None
        assert task.execution_timeout > timedelta(seconds=task.timeout)


def test_what_airflow_stores_does_not_grow_with_the_square_of_the_graph() -> None:
    def size(count: int) -> int:
        return len(str(stored(build(chain_of(count)))))

    assert size(160) < 2.2 * size(80)


def chain_of(count: int) -> str:
    operators = "".join(f"operator N{i}\nversion 1, image i:1\n" for i in range(count))
    flow = "".join(f"N{i} -> N{i + 1}\n" for i in range(count - 1))
    return f"meta\nname G\nversion 1\n{operators}flow\ndistribute\n{flow}"


def test_the_docs_say_what_each_operator_is(sentiment: GraphDag) -> None:
    assert "| Tokenizer | 1 | `sent/tokenizer:v1` | 32 | no |" in (sentiment.doc_md or "")
    doc = sentiment.get_task("deploy.Tokenizer").doc_md or ""
    assert "Starts **Tokenizer** version 1: image `sent/tokenizer:v1`, batch 32, stateless." in doc
    assert "Receives from Trancriber; sends to Senti-Analyzer, Sub-Analyzer." in doc
    assert "stateful" in (sentiment.get_task("deploy.Senti-Analyzer").doc_md or "")
    assert all(task.doc_md for task in sentiment.tasks)


def test_the_trigger_form_asks_for_what_a_run_can_be_told(sentiment: GraphDag) -> None:
    params = sentiment.params
    assert params.dump() == {
        "engine": None,
        "earg_conn_id": None,
        "dry_run": False,
        "batch": {},
        "redeploy": [],
    }
    for name in params:
        schema = params.get_param(name).schema
        assert schema["title"]
        assert schema["type"]
        assert params.get_param(name).description
    assert params.get_param("redeploy").schema["examples"][0] == "Trancriber"


@pytest.mark.parametrize(
    "given",
    [
        {"batch": {"Tokeniser": 3}},
        {"batch": {"Tokenizer": "many"}},
        {"redeploy": ["Tokeniser"]},
        {"dry_run": "perhaps"},
    ],
)
def test_a_run_with_params_that_make_no_sense_is_refused(
    sentiment: GraphDag, given: dict[str, object]
) -> None:
    from airflow.sdk import ParamsDict

    params = ParamsDict({name: sentiment.params.get_param(name) for name in sentiment.params})
    params.update({"batch": {"Tokenizer": 3}, "redeploy": ["Tokenizer"]})
    params.validate()
    # Some are refused at once.
    with pytest.raises((ValueError, AirflowException), match="Invalid input"):  # noqa: PT012
        params.update(given)
        params.validate()


def test_tasks_share_the_params_of_the_dag_instead_of_copies(sentiment: GraphDag) -> None:
    assert all(not task.params for task in sentiment.tasks)


def test_serving_updates_an_asset_and_every_task_has_links(sentiment: GraphDag) -> None:
    assert sentiment.get_task("serve").outlets == [Asset("earg://SentiAnalyzer")]
    for task in sentiment.tasks:
        names = [link.name for link in task.operator_extra_links]
        assert names[0] == "Live view"
        assert "Metrics" in names


def test_what_waits_for_models_holds_no_worker(sentiment: GraphDag) -> None:
    waiting = [task for task in sentiment.tasks if task.task_id.startswith(("deploy.", "probe."))]
    assert waiting
    assert all(task.deferrable for task in waiting)
    assert all(task.retries == 2 for task in sentiment.tasks)


def test_a_setting_decides_how_long_a_model_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__HOGAR__DEPLOY_TIMEOUT", "77")
    assert build(chain("G", "i:1")).get_task("deploy.A").timeout == 77


def test_airflows_dag_bag_takes_the_dag_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    for file in (*LOADERS, SENTIMENT):
        shutil.copy(file, tmp_path)
    bag = parse(tmp_path)
    assert bag.import_errors == {}
    dag = bag.dags["SentiAnalyzer"]
    kept = stored(dag)
    assert [name for name, _ in kept["params"]] == [
        *("engine", "earg_conn_id", "dry_run", "batch", "redeploy")
    ]
    tasks = {task["__var"]["task_id"]: task["__var"] for task in kept["tasks"]}
    assert tasks["serve"]["outlets"]
    assert tasks["deploy.Tokenizer"]["_operator_extra_links"]
    assert tasks["deploy.Tokenizer"]["_operator_name"] == "Deploy node"


def test_a_graph_that_earg_cannot_express_is_refused() -> None:
    with pytest.raises(udgl.UdglError, match=r"EARG103 .* has 2: B, C"):
        build(TWO_EXITS)


def test_the_same_graph_gives_the_same_dag_wherever_the_folder_is() -> None:
    graph = udgl.load(SENTIMENT)

    def built_in(folder: str) -> dict[str, object]:
        dag = build_dag(graph, Path(folder) / "sentiment.udgl", "text")
        # Airflow itself leaves this one out of its comparison.
        return {**stored(dag), "fileloc": ""}

    assert built_in("/a") == built_in("/b/c")
