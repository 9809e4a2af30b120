"""Which engine a run's tasks use, and what they ask of one that runs images as they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import udgl
from earg.client import AgentClient
from earg.images import Implementation
from earg.status import NodeState, NodeStatus, PairStatus, Role
from hogar_provider.changes import change
from hogar_provider.dag_builder import GraphDag, build_dag
from hogar_provider.engines.registry import ENGINES
from hogar_provider.exceptions import AirflowException, AirflowFailException
from hogar_provider.hooks.earg import EargHook
from hogar_provider.operators.base import describe_pair
from hogar_provider.plugins.api.declared import connection_of, deploy_task, read_declared
from tests.hogar_provider.folders import chain, stored
from tests.hogar_provider.running import build, prepared, run
from udgl.engines import ENGINES as NAMES

TASKS = ("deploy.A", "wire", "probe.A", "serve")


def built(meta: str = "", **params: Any) -> GraphDag:
    text = chain("One", "test/upper:1", meta=meta)
    return build_dag(udgl.parse(text), Path("one.udgl"), text)


def test_the_language_knows_the_engines_that_there_are() -> None:
    assert set(NAMES) == set(ENGINES)


@pytest.mark.parametrize(
    ("meta", "params", "connection"),
    [
        ("", {}, ""),
        ("engine docker\n", {}, "docker"),
        ("engine docker\n", {"engine": "kubernetes"}, "kubernetes"),
        ("engine docker\n", {"engine": "local"}, "local"),
        ("", {"engine": "docker"}, "docker"),
        ("engine docker\n", {"earg_conn_id": "gpu_boxes"}, "gpu_boxes"),
        ("", {"engine": "docker", "earg_conn_id": "gpu_boxes"}, "gpu_boxes"),
    ],
)
def test_a_run_uses_the_connection_of_its_params_or_of_its_engine_or_of_the_graphs(
    meta: str, params: dict[str, str], connection: str
) -> None:
    dag = built(meta)
    assert [prepared(dag, task, **params).earg_conn_id for task in TASKS] == [connection] * 4


@pytest.mark.parametrize("given", ["dokcer", "", 1])
def test_an_engine_that_there_is_not_is_refused_when_the_run_is_triggered(given: object) -> None:
    from airflow.sdk import ParamsDict

    dag = built()
    params = ParamsDict({name: dag.params.get_param(name) for name in dag.params})
    for engine in (None, *ENGINES):
        params.update({"engine": engine})
        params.validate()
    with pytest.raises((ValueError, AirflowException), match="Invalid input"):  # noqa: PT012
        params.update({"engine": given})
        params.validate()


def test_the_trigger_form_says_which_engine_is_meant_where_none_is_chosen() -> None:
    assert "[hogar] default_conn_id" in str(built().params.get_param("engine").description)
    docker = built("engine docker\n").params.get_param("engine")
    assert "Empty: docker, as the graph says." in str(docker.description)
    assert ", on the engine docker." in (built("engine docker\n").doc_md or "")
    assert docker.schema["enum"] == [None, "local", "docker", "kubernetes"]


def test_the_live_view_looks_where_a_graph_that_never_ran_would() -> None:
    for meta, param, wanted in (
        ("", None, ""),
        ("engine docker\n", None, "docker"),
        ("engine docker\n", "kubernetes", "kubernetes"),
    ):
        dag = built(meta)
        dag.params["engine"] = param
        kept = stored(dag)
        task = deploy_task(kept)
        assert task is not None
        found = read_declared("One", dag.text, task, connection_of(kept, task))
        assert found.conn_id == wanted


@dataclass(frozen=True)
class Containers:
    """An engine that runs images as they are; behind it is the agent of this machine."""

    agent: AgentClient | None = None
    name: str = "docker"
    runs_images: bool = True
    token: str = ""

    @contextmanager
    def connect(self, start: bool = True) -> Iterator[AgentClient]:
        assert self.agent is not None
        yield self.agent


@pytest.fixture
def containers(monkeypatch: pytest.MonkeyPatch, agent: AgentClient) -> None:
    monkeypatch.setattr(EargHook, "engine", lambda self: Containers(agent))


def test_no_images_file_is_asked_for_where_images_run_as_they_are(
    dags: Path, containers: None, capfd: pytest.CaptureFixture[str]
) -> None:
    dag = build(dags, "team/none:7")
    run(dag, "deploy.A", dry_run=True)
    assert "would start A 1 (image team/none:7) of graph Small" in capfd.readouterr().out
    assert dag.get_task("deploy.A").implementation("team/none:7", True) == Implementation("", "")
    with pytest.raises(AirflowFailException, match="maps no entrypoint"):
        dag.get_task("deploy.A").implementation("team/none:7")


def test_a_class_that_the_graph_names_is_in_its_image(dags: Path) -> None:
    text = chain("One", "team/model:1").replace("version 1, image", "entrypoint a:B, image")
    task = build_dag(udgl.parse(text), dags / "one.udgl", text).get_task("deploy.A")
    assert task.implementation("team/model:1", True) == Implementation("a:B", "")
    assert task.implementation("team/model:1") == Implementation("a:B", str(dags))


def test_a_class_without_an_image_fails_where_images_run(dags: Path, containers: None) -> None:
    text = "meta\nname One\nversion 1\noperator A\nentrypoint small:Upper\n"
    dag = build_dag(udgl.parse(text), dags / "one.udgl", text)
    with pytest.raises(AirflowFailException, match="small:Upper has no image, and this engine"):
        run(dag, "deploy.A", dry_run=True)


def test_the_log_names_the_engine_and_warns_of_what_it_does_not_heed(
    models: Path, agent: AgentClient, capfd: pytest.CaptureFixture[str]
) -> None:
    text = chain("Small", "test/upper:1") + "\n"
    text = text.replace("image test/upper:1", "image test/upper:1, memory 1GiB, host gpu-box")
    dag = build_dag(udgl.parse(text), models / "small.udgl", text)
    (first,) = run(dag, "deploy.A")
    log = capfd.readouterr().out
    assert "Deploy node 1 (A 1) of graph Small 1 on the engine local: image test/upper:1 is" in log
    assert "The engine local does not heed the memory, host of A" in log
    assert first["pairs"][0]["host"] == ""
    # Another share of the machine is no other process there, but it is told to who asks.
    text = text.replace("memory 1GiB", "memory 2GiB")
    dag = build_dag(udgl.parse(text), models / "small.udgl", text)
    (second,) = run(dag, "deploy.A")
    assert second["change"] == "unchanged"
    assert second["pairs"] == first["pairs"]
    assert json.loads(agent.plan("Small")[1])["nodes"]["A"]["memory"] == 2 * 2**30


PAIR = PairStatus(Role.PRIMARY, NodeState.READY, "10.1.0.7:22223", 0, 0, "", "", "", (), "box-1")


def test_the_log_says_on_which_host_a_pair_is() -> None:
    assert describe_pair(PAIR) == "primary on 10.1.0.7:22223 of host box-1"
    local = replace(PAIR, host="", model_pid=7, proxy_pid=8, model_pids=(7, 9))
    assert describe_pair(local) == "primary on 10.1.0.7:22223, model pids 7, 9, proxy pid 8"


class Silent:
    """An agent without events."""

    def events(self, graph: str = "", after: int = 0) -> tuple[()]:
        return ()


def test_a_container_that_was_replaced_is_told_although_it_has_no_pid() -> None:
    from hogar_provider.changes import _as_json

    node = NodeStatus(1, "A", "1", "image", NodeState.READY, "", (PAIR,))
    before = {"node": _as_json(node), "event": 0}
    assert change(Silent(), "G", before, node) == "unchanged"
    moved = replace(node, pairs=(replace(PAIR, host="box-2"),))
    assert change(Silent(), "G", before, moved).startswith("replaced because that was asked for")
