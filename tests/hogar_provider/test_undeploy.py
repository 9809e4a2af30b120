"""The DAG hogar_undeploy: its form, and what its task says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from earg.client import AgentClient
from earg.config import write_static
from earg.images import implementation_of, read_images
from hogar_provider.engines.engine import Engine
from hogar_provider.exceptions import AirflowException
from hogar_provider.hooks.earg import EargHook
from hogar_provider.undeploy import AT_ONCE, DRAIN, undeploy, undeploy_dag
from tests.hogar_provider.folders import MODELS, ROOT, chain, parse
from udgl import parser
from udgl.targets.earg import to_static


def params(**given: Any) -> dict[str, Any]:
    """A run's parameters as Airflow hands them over: those given, else the form's defaults."""
    form = undeploy_dag().params
    form.update(given)
    return dict(form.validate())


def test_the_dags_folder_gives_the_dag(tmp_path: Path) -> None:
    shutil.copy(ROOT / "dags/hogar_undeploy.py", tmp_path)
    bag = parse(tmp_path)
    assert bag.import_errors == {}
    dag = bag.dags["hogar_undeploy"]
    assert dag.task_ids == ["undeploy"]
    assert dag.schedule is None
    assert "hogar" not in dag.tags  # That one is for DAGs that deploy a graph.


def test_the_form_asks_for_the_graph_and_knows_the_rest() -> None:
    assert params(graph="G") == {
        "graph": "G",
        "how": DRAIN,
        "timeout": None,
        "force": False,
        "engine": None,
        "earg_conn_id": None,
    }
    for wrong in ({}, {"graph": ""}, {"graph": "G", "how": "soon"}, {"graph": "G", "timeout": -1}):
        with pytest.raises(Exception, match=r"Invalid input for param|No value passed"):
            params(**wrong)


def test_a_graph_that_is_not_deployed_is_no_failure(agent: AgentClient) -> None:
    assert undeploy(params(graph="Nowhere")) == {
        "graph": "Nowhere",
        "was_deployed": False,
        "unanswered": 0,
    }


def test_no_agent_is_started_to_take_nothing_down(connection: Path) -> None:
    assert undeploy(params(graph="Nowhere"))["was_deployed"] is False
    assert not connection.exists()


def test_a_graph_is_looked_for_on_the_engine_that_is_named(
    monkeypatch: pytest.MonkeyPatch, agent: AgentClient
) -> None:
    asked: list[str] = []
    of_the_hook = EargHook.engine

    def engine(self: EargHook) -> Engine:
        asked.append(self.earg_conn_id)
        return of_the_hook(EargHook())

    monkeypatch.setattr(EargHook, "engine", engine)
    undeploy(params(graph="G", engine="docker"))
    undeploy(params(graph="G", engine="docker", earg_conn_id="boxes"))
    undeploy(params(graph="G"))
    assert asked == ["docker", "boxes", "earg_default"]


def test_a_connection_that_is_not_defined_fails(agent: AgentClient) -> None:
    with pytest.raises(AirflowException, match="earg_elsewhere"):
        undeploy(params(graph="G", earg_conn_id="earg_elsewhere"))


@pytest.mark.slow
@pytest.mark.parametrize("how", [DRAIN, AT_ONCE])
def test_the_graph_of_a_dag_is_taken_down_by_either_of_its_names(
    how: str, agent: AgentClient
) -> None:
    config = to_static(parser.parse(chain("Small-One", "test/upper:1")))
    images = MODELS / "images.yaml"
    implementation = implementation_of("test/upper:1", read_images(images), images)
    for name in ("Small-One", "Small_One"):
        agent.deploy_node("Small_One", "1", write_static(config), 1, implementation)
        agent.wire("Small_One")
        agent.serve("Small_One")
        done = undeploy(params(graph=f" {name} ", how=how))
        assert done == {"graph": "Small_One", "was_deployed": True, "unanswered": 0}
        assert agent.graphs() == ()
