"""The Airflow operators against a real agent, each alone as in anybody's own DAG."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import psutil
import pytest
from airflow.sdk import DAG

import udgl
from earg.client import AgentClient, AgentError
from earg.config import write_static
from hogar_provider.exceptions import AirflowException, AirflowFailException
from hogar_provider.hooks.earg import EargHook
from hogar_provider.operators.deploy import DeployNodeOperator
from hogar_provider.operators.probe import ProbeNodeOperator
from hogar_provider.operators.serve import ServeGraphOperator
from hogar_provider.operators.wire import WireGraphOperator
from tests.hogar_provider.folders import chain
from tests.hogar_provider.running import build, run
from udgl.targets.earg import to_static

pytestmark = pytest.mark.slow


def ask(url: str, text: str) -> str:
    request = urllib.request.Request(
        f"{url}/predict", text.encode(), {"Content-Type": "text/plain"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=20) as reply:
        return str(reply.read().decode())


def test_the_tasks_of_a_dag_bring_its_graph_up(models: Path, agent: AgentClient) -> None:
    dag = build(models, "test/upper:1", "test/backwards:1")
    run(dag, "deploy.B", "deploy.A", "wire", "probe.A", "probe.B")
    (url,) = run(dag, "serve")
    assert ask(url, "hogar") == "RAGOH"
    assert [graph.name for graph in agent.graphs()] == ["Small"]


def test_a_second_run_leaves_what_runs_as_it_is(models: Path, agent: AgentClient) -> None:
    dag = build(models, "test/upper:1")
    tasks = ("deploy.A", "wire", "probe.A", "serve")
    first, second = run(dag, *tasks), run(dag, *tasks)
    assert first[0].pop("change") == "started as version 1"
    assert second[0].pop("change") == "unchanged"
    assert first[0].pop("difference") is None
    assert second[0].pop("difference") == ""
    assert first == second


def test_a_stateful_operator_gets_a_backup(models: Path, agent: AgentClient) -> None:
    dag = build(models, "test/counter:1", stateful="A")
    (deployed,) = run(dag, "deploy.A")
    assert [pair["role"] for pair in deployed["pairs"]] == ["primary", "backup"]
    pids = {pair[key] for pair in deployed["pairs"] for key in ("model_pid", "proxy_pid")}
    assert len(pids) == 4
    assert all(psutil.pid_exists(pid) for pid in pids)
    assert deployed["node"] == "A"
    assert deployed["address"] == deployed["pairs"][0]["address"]


def test_the_log_tells_what_runs_where(
    models: Path, agent: AgentClient, capfd: pytest.CaptureFixture[str]
) -> None:
    dag = build(models, "test/upper:1")
    (deployed, *_, url) = run(dag, "deploy.A", "wire", "probe.A", "serve")
    # Outside of a task's process Airflow's log goes to the standard output.
    log = capfd.readouterr().out
    (pair,) = deployed["pairs"]
    assert "image test/upper:1 is small:Upper" in log
    assert f"A: primary on {pair['address']}, model pid {pair['model_pid']}" in log
    assert "A of graph Small is ready" in log
    assert f"curl -H 'Content-Type: text/plain' -d 'Hello' {url}/predict" in log


def test_a_model_that_raises_fails_with_its_own_traceback_and_leaves_nothing(
    models: Path, agent: AgentClient, capfd: pytest.CaptureFixture[str]
) -> None:
    dag = build(models, "test/noweights:1")
    _, agent_pid = agent.hello()
    with pytest.raises(AirflowFailException, match=r"FileNotFoundError: there is no weights\.bin"):
        run(dag, "deploy.A")
    log = capfd.readouterr().out
    assert "[error    ] Traceback (most recent call last):" in log
    assert "small.py" in log
    assert "in _read" in log
    assert "[error    ] FileNotFoundError: there is no weights.bin" in log
    assert psutil.Process(agent_pid).children(recursive=True) == []


def test_an_image_without_a_mapping_names_itself_the_file_and_the_line_to_add(
    models: Path, agent: AgentClient
) -> None:
    dag = build(models, "test/none:7")
    with pytest.raises(AirflowFailException) as caught:
        run(dag, "deploy.A")
    message = str(caught.value)
    assert message.startswith(f"{models}/images.yaml ")
    assert "'test/none:7'" in message
    assert "test/none:7:\n  entrypoint: package.module:Class" in message
    assert agent.graphs() == ()


def test_without_an_images_file_the_error_says_which_to_make(dags: Path, connection: Path) -> None:
    dag = build(dags, "test/upper:1")
    with pytest.raises(AirflowFailException, match=f"{dags}/images.yaml maps no entrypoint"):
        run(dag, "deploy.A")


def test_a_broken_images_file_is_a_failure_that_names_it(dags: Path, connection: Path) -> None:
    (dags / "images.yaml").write_text("{")
    dag = build(dags, "test/upper:1")
    with pytest.raises(AirflowFailException, match=f"{dags}/images.yaml: is not YAML"):
        run(dag, "deploy.A")


def test_an_images_file_above_a_linked_folder_is_the_one_beside_the_link(
    models: Path, tmp_path: Path, connection: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (models / "linked").symlink_to(tmp_path / "elsewhere")
    operator = DeployNodeOperator(
        task_id="other",
        graph="G",
        version="1",
        config="",
        index=1,
        images="../images.yaml",
        dag=build(models / "linked", "test/upper:1"),
    )
    assert operator.implementation("test/upper:1").folder == str(models)


@pytest.mark.parametrize("task_id", ["wire", "probe.A", "serve"])
def test_what_is_not_deployed_is_a_sentence(task_id: str, models: Path, agent: AgentClient) -> None:
    dag = build(models, "test/upper:1")
    with pytest.raises(AirflowException, match="Small") as caught:
        run(dag, task_id)
    # Airflow may retry it: another task may be deploying the graph just now.
    assert not isinstance(caught.value, AirflowFailException)
    assert not isinstance(caught.value.__cause__, AgentError)


def test_a_probe_says_what_it_waits_for(models: Path, agent: AgentClient) -> None:
    dag = build(models, "test/upper:1", "test/backwards:1")
    run(dag, "deploy.A", "deploy.B")
    probe = ProbeNodeOperator(task_id="probe", graph="Small", index=1, timeout=1.0)
    with pytest.raises(AirflowException, match="A"):
        probe.execute({})


def test_the_operators_work_in_anybodys_own_dag(models: Path, agent: AgentClient) -> None:
    graph = udgl.parse(chain("Own", "test/upper:1"))
    config = write_static(to_static(graph))
    common = {"graph": "Own", "earg_conn_id": EargHook.default_conn_name}
    with DAG("own"):
        deploy = DeployNodeOperator(
            task_id="deploy",
            version="1",
            config=config,
            index=1,
            images=str(models / "images.yaml"),
            **common,
        )
        wire = WireGraphOperator(task_id="wire", **common)
        probe = ProbeNodeOperator(task_id="probe", index=1, **common)
        serve = ServeGraphOperator(task_id="serve", **common)
        deploy >> wire >> probe >> serve
    for task in (deploy, wire, probe):
        task.execute({})
    assert ask(serve.execute({}), "own") == "OWN"


@pytest.mark.parametrize(
    ("config", "index", "message"),
    [
        ("nonsense", 1, "The EARG config of graph G is broken: line 1"),
        ("1\n0\nA,1,i,false,1\n", 2, "has nodes 1 to 1; there is no node 2"),
        ("1\n0\nA,1,i,false,1\n", 0, "there is no node 0"),
    ],
)
def test_a_node_that_the_config_does_not_hold_is_a_sentence(
    config: str, index: int, message: str
) -> None:
    operator = DeployNodeOperator(
        task_id="deploy", graph="G", version="1", config=config, index=index
    )
    with pytest.raises(AirflowFailException, match=message):
        operator.node()


def test_what_a_task_is_about_can_be_templated() -> None:
    assert set(DeployNodeOperator.template_fields) == {
        *("graph", "earg_conn_id", "dry", "version", "images", "batch", "artifact", "force"),
    }
    for operator in (WireGraphOperator, ProbeNodeOperator, ServeGraphOperator):
        assert set(operator.template_fields) == {"graph", "earg_conn_id", "dry"}


def test_a_time_limit_of_ones_own_stays(models: Path) -> None:
    from datetime import timedelta

    own = timedelta(minutes=3)
    task = WireGraphOperator(task_id="wire", graph="G", execution_timeout=own)
    assert task.execution_timeout == own
