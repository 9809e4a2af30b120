"""What deploying a graph would change of what a real agent has deployed."""

from __future__ import annotations

from pathlib import Path

import pytest

import udgl
from earg.client import AgentClient
from earg.config import write_static
from earg.images import implementation_of, read_images
from hogar_provider.redeploy import deployed_graph, redeploy_difference
from tests.hogar_provider.folders import MODELS, chain
from udgl.graph import ServingGraph
from udgl.targets.earg import deployed_name, to_static

pytestmark = pytest.mark.slow

TEXT = chain("Small-One", "test/upper:1", "test/backwards:1", meta="owner ann")


def deploy(agent: AgentClient, graph: ServingGraph, *, wire: bool = True) -> None:
    images = MODELS / "images.yaml"
    config = to_static(graph)
    name, version = deployed_name(graph)
    for index, node in enumerate(config.nodes, start=1):
        implementation = implementation_of(node.image, read_images(images), images)
        agent.deploy_node(name, version, write_static(config), index, implementation)
    if wire:
        agent.wire(name)


def test_a_graph_is_compared_with_what_is_deployed_under_its_name(agent: AgentClient) -> None:
    graph = udgl.parse(TEXT)
    assert redeploy_difference(agent, graph) is None
    deploy(agent, graph)

    same = redeploy_difference(agent, graph)
    assert same is not None
    assert not same
    # What EARG does not know of is Airflow's alone.
    assert not redeploy_difference(agent, udgl.parse(TEXT.replace("owner ann", "tags new")))

    changed = TEXT.replace(
        "version 1, image test/upper:1", "version 2, image test/upper:1, batch 8"
    )
    found = redeploy_difference(agent, udgl.parse(changed))
    assert str(found) == "~ operator A: version 1 -> 2, batch 1 -> 8"
    assert found is not None
    assert not found.topology

    deploy(agent, udgl.parse(changed))
    assert not redeploy_difference(agent, udgl.parse(changed))
    back = redeploy_difference(agent, graph)
    assert str(back) == "~ operator A: version 2 -> 1, batch 8 -> 1"

    longer = udgl.parse(chain("Small-One", "test/upper:1", "test/backwards:1", "test/upper:1"))
    found = redeploy_difference(agent, longer)
    assert found is not None
    assert found.topology
    assert "+ operator C: version 1, image test/upper:1, batch 1, stateful No" in str(found)
    assert "+ distribute B -> C" in str(found)


def test_of_a_graph_that_is_not_wired_yet_names_versions_and_images_are_known(
    agent: AgentClient, home: Path
) -> None:
    graph = udgl.parse(TEXT)
    deploy(agent, graph, wire=False)
    found = deployed_graph(agent, "Small_One")
    assert found is not None
    assert [(o.name, o.version, o.image) for o in found.operators] == [
        (o.name, o.version, o.image) for o in graph.operators
    ]
    assert found.flows == ()
    assert deployed_graph(agent, "Other") is None
