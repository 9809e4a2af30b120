"""What deploying a graph would change of what is deployed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from earg.config import ConfigError, NodeSpec, StaticConfig, read_runtime

if TYPE_CHECKING:
    from earg.client import AgentClient
    from earg.config import RuntimeConfig
    from earg.extras import Extras
    from earg.status import GraphStatus
    from udgl.difference import Difference
    from udgl.graph import ServingGraph


def deployed_graph(client: AgentClient, name: str) -> ServingGraph | None:
    """The graph that is deployed under this name, as far as EARG knows it; None where none is.

    A batch limit is the deployed config's, whatever people have set since. What it says beyond its
    config is that of the last deploy. Of a graph that is not
    wired yet, or whose runtime config the agent could not write, only the names, versions and
    images are known: it has no flows. Raises AgentError.
    """
    from udgl.targets.earg import from_static

    for status in client.graphs():
        if status.name == name:
            runtime = _runtime(client, status)
            config = runtime.static if runtime is not None else _known(status)
            return from_static(name, status.version, config, _extras(client, name, config))
    return None


def redeploy_difference(client: AgentClient, graph: ServingGraph) -> Difference | None:
    """What deploying ``graph`` would change of the deployed graph of its name; None where none is
    deployed. It is false (``not difference``) where nothing would change.

    Only what EARG knows is compared: an owner or a tag is Airflow's alone. Raises UdglError where
    EARG cannot express ``graph``, and AgentError.
    """
    from udgl.targets.earg import deployed_name, lower

    lowered = lower(graph)
    return config_difference(client, *deployed_name(graph), lowered.config, lowered.extras_text)


def config_difference(
    client: AgentClient, name: str, version: str, config: StaticConfig, extras: str = ""
) -> Difference | None:
    """As :func:`redeploy_difference`, of the graph that ``config`` and the text of its ``extras``
    are of; raises AgentError, and ExtrasError for extras that do not fit the config."""
    from earg.extras import read_extras
    from udgl.difference import difference
    from udgl.targets.earg import from_static

    old = deployed_graph(client, name)
    if old is None:
        return None
    return difference(old, from_static(name, version, config, read_extras(extras, config)))


def _extras(client: AgentClient, name: str, config: StaticConfig) -> Extras | None:
    """The extras of the deployed graph, where they are of this config."""
    from earg.extras import ExtrasError
    from earg.plan import read_plan

    with contextlib.suppress(ConfigError, ExtrasError):
        plan = read_plan(*client.plan(name))
        if [node.name for node in plan.config.nodes] == [node.name for node in config.nodes]:
            return plan.extras
    return None


def _runtime(client: AgentClient, status: GraphStatus) -> RuntimeConfig | None:
    """The runtime config that the agent has written beside its logs, where it is of this graph as
    it is now."""
    path = client.home.graph_folder(status.name) / "runtime.earg"
    with contextlib.suppress(OSError, UnicodeDecodeError, ConfigError):
        runtime = read_runtime(path.read_text(encoding="utf-8"), choices=True)
        running = {(node.name, node.version, node.image) for node in status.nodes}
        written = {(node.name, node.version, node.image) for node in runtime.static.nodes}
        if runtime.name == status.name and running == written:
            return runtime
    return None


def _known(status: GraphStatus) -> StaticConfig:
    from earg.status import Role

    return StaticConfig(
        tuple(
            NodeSpec(
                node.name,
                node.version,
                node.image,
                any(pair.role is Role.BACKUP for pair in node.pairs),
                1,
            )
            for node in status.nodes
        )
    )
