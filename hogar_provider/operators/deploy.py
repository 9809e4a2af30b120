"""Start one node of a graph."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hogar_provider.exceptions import AirflowFailException
from hogar_provider.operators.base import EargOperator, describe_pair

if TYPE_CHECKING:
    from airflow.sdk import Context

    from earg.config import NodeSpec
    from earg.images import Implementation

FIRST_LINES = 20
"""How many lines of a model's log are repeated in the task's."""


class DeployNodeOperator(EargOperator):
    """Start a node's model and proxy, and for a stateful operator the backup's.

    Succeeds once the model is constructed and its proxy has it; a node that runs already is left
    as it is, and one of which another version serves is replaced without a failed request. Returns
    ``{"node", "address", "pairs": [{"role", "address", "model_pid", "proxy_pid"}]}``. A model that
    raises on construction fails the task without a retry, with the model's own traceback in the
    log and nothing of it left running; the version before serves on.

    :param graph: the graph's name as deployed: no ``-`` in it (templated).
    :param version: the graph's version as deployed (templated).
    :param config: the text of the static EARG config of the whole graph (what
        ``udgl compile -t earg`` writes).
    :param index: which node of the config, from 1.
    :param images: the YAML file that maps images to Python classes (templated); a relative path
        starts at the folder of the DAG's file.
    :param timeout: seconds that the model may take to construct.
    """

    template_fields: Sequence[str] = (*EargOperator.template_fields, "version", "images")

    def __init__(
        self,
        *,
        version: str,
        config: str,
        index: int,
        images: str | Path = "images.yaml",
        timeout: float = 300.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(timeout=timeout, **kwargs)
        self.version = version
        self.config = config
        self.index = index
        self.images = str(images)

    def execute(self, context: Context) -> dict[str, Any]:
        """Deploy; see the class."""
        node = self.node()
        implementation = self.implementation(node.image)
        self.log.info(
            "Deploy node %d (%s %s) of graph %s %s: image %s is %s from %s",
            *(self.index, node.name, node.version, self.graph, self.version),
            *(node.image, implementation.entrypoint, implementation.folder),
        )
        begin = time.monotonic()
        with self.agent() as agent:
            status = agent.deploy_node(
                *(self.graph, self.version, self.config, self.index, implementation),
                timeout=self.timeout,
            )
            took = time.monotonic() - begin
            text = agent.node_log(self.graph, self.index, FIRST_LINES)
        for pair in status.pairs:
            self.log.info("%s: %s; log %s", status.name, describe_pair(pair), pair.model_log)
        for line in text.splitlines():
            self.log.info("%s | %s", status.name, line)
        self.log.info("%s is deployed after %.2f s.", status.name, took)
        return {
            "node": status.name,
            "address": status.pairs[0].address,
            "pairs": [
                {
                    "role": pair.role.value,
                    "address": pair.address,
                    "model_pid": pair.model_pid,
                    "proxy_pid": pair.proxy_pid,
                }
                for pair in status.pairs
            ],
        }

    def node(self) -> NodeSpec:
        """The node in the config; AirflowFailException where there is none."""
        from earg.config import ConfigError, read_static

        try:
            nodes = read_static(self.config).nodes
        except ConfigError as error:
            raise AirflowFailException(
                f"The EARG config of graph {self.graph} is broken: {error}"
            ) from None
        if not 1 <= self.index <= len(nodes):
            raise AirflowFailException(
                f"Graph {self.graph} has nodes 1 to {len(nodes)}; there is no node {self.index}."
            )
        return nodes[self.index - 1]

    def implementation(self, image: str) -> Implementation:
        """The Python class that stands in for ``image`` on a machine without containers;
        AirflowFailException that names the image, the file and the lines to add where there is
        none."""
        from earg.images import ImagesError, implementation_of, read_images

        path = Path(self.images).expanduser()
        if not path.is_absolute():
            # Without following links: a linked folder's images file is beside the link.
            path = Path(os.path.normpath(Path(self.dag.fileloc).parent / path))
        try:
            return implementation_of(image, read_images(path) if path.exists() else {}, path)
        except ImagesError as error:
            raise AirflowFailException(str(error)) from None
