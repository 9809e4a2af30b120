"""What deploying a graph would change of what is deployed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from earg.config import ConfigError, NodeSpec, StaticConfig, read_runtime

if TYPE_CHECKING:
    from earg.client import AgentClient
    from earg.config import RuntimeConfig
    from earg.status import GraphStatus
    from udgl.difference import Difference
    from udgl.graph import ServingGraph


def deployed_graph(client: AgentClient, name: str) -> ServingGraph | None:
    """The graph that is deployed under this name, as far as EARG knows it; None where none is.

    A batch limit is the deployed config's, whatever people have set since. Of a graph that is not
    wired yet, or whose runtime config the agent could not write, only the names, versions and
    images are known: it has no flows. Raises AgentError.
    """
    from udgl.targets.earg import from_static

    for status in client.graphs():
        if status.name == name:
            runtime = _runtime(client, status)
            config = runtime.static if runtime is not None else _known(status)
            return from_static(name, status.version, config)
    return None


def redeploy_difference(client: AgentClient, graph: ServingGraph) -> Difference | None:
    """What deploying ``graph`` would change of the deployed graph of its name; None where none is
    deployed. It is false (``not difference``) where nothing would change.

    Only what EARG knows is compared: an owner or a tag is Airflow's alone. Raises UdglError where
    EARG cannot express ``graph``, and AgentError.
    """
    from udgl.targets.earg import deployed_name, to_static

    return config_difference(client, *deployed_name(graph), to_static(graph))


def config_difference(
    client: AgentClient, name: str, version: str, config: StaticConfig
) -> Difference | None:
    """As :func:`redeploy_difference`, of the graph that ``config`` is of; raises AgentError."""
    from udgl.difference import difference
    from udgl.targets.earg import from_static

    old = deployed_graph(client, name)
    return None if old is None else difference(old, from_static(name, version, config))


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
