"""Start one node of a graph."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hogar_provider.arguments import agent_path, batches, default_deferrable, truth
from hogar_provider.configuration import deploy_timeout
from hogar_provider.exceptions import AirflowFailException
from hogar_provider.hooks.earg import EargHook
from hogar_provider.links import NODE_LINKS, shown
from hogar_provider.operators.base import MARGIN, EargOperator, describe_pair

if TYPE_CHECKING:
    from airflow.sdk import Context

    from earg.client import AgentClient
    from earg.config import NodeSpec, StaticConfig
    from earg.images import Implementation

FIRST_LINES = 20
"""How many lines of a model's log are repeated in the task's."""

PATIENCE = 10.0
"""Seconds that a deferrable task waits itself: most models are up by then, and handing over to the
triggerer and back takes some seconds, too."""


class DeployNodeOperator(EargOperator):
    """Start a node's model and proxy, and for a stateful operator the backup's.

    Succeeds once the model is constructed and its proxy has it; a node that runs already is left
    as it is, one whose batch alone differs is told its new limit, and one of which another version
    serves is replaced without a failed request. The log says which. Returns
    ``{"node", "change", "difference", "address", "pairs": [{"role", "host", "address",
    "model_pid", "proxy_pid"}]}``, with an empty host where the engine has one alone;
    ``difference`` is what ``udgl diff`` prints of the graph that was deployed when the task began
    and this one, None where none was. A model that raises on construction fails the task without a
    retry, with the model's own traceback in the log and nothing of it left running; the
    version before serves on.

    :param graph: the graph's name as deployed: no ``-`` in it (templated).
    :param version: the graph's version as deployed (templated).
    :param config: the text of the static EARG config of the whole graph (what
        ``udgl compile -t earg`` writes).
    :param index: which node of the config, from 1.
    :param images: the YAML file that maps images to Python classes (templated); a relative path
        starts at the folder of the DAG's file. An engine that runs images as they are needs none.
    :param timeout: seconds that the model may take to construct and warm up; unless given,
        ``[hogar] deploy_timeout``.
    :param extras: what the graph says beyond its config, as YAML or JSON text (docs/extras.md).
    :param entrypoint: the node's Python class, ``package.module:Class``, whose modules are found
        beside the DAG's file, or in its image where the engine runs that; the images file is not
        asked then.
    :param batch: batch limits that take the place of those in the config, by operator: a mapping or
        a JSON object (templated). All tasks that deploy nodes of one graph must give the same.
    :param artifact: the folder of the trained model, for one that is trained; its process finds it
        as ``HOGAR_ARTIFACT`` (templated). Another folder is another model: the node is replaced.
    :param force: replace the node also where it runs as asked (templated). A stateful one hands
        its state over.
    :param deferrable: where the model takes longer than ten seconds, wait in the triggerer and hold
        no worker; unless given, Airflow's setting ``[operators] default_deferrable``. The triggerer
        must run on the agent's machine.
    """

    template_fields: Sequence[str] = (
        *EargOperator.template_fields,
        *("version", "images", "batch", "artifact", "force"),
    )
    operator_extra_links = NODE_LINKS
    ui_color = "#d2e3fc"
    custom_operator_name = "Deploy node"

    def __init__(
        self,
        *,
        version: str,
        config: str,
        index: int,
        images: str | Path = "images.yaml",
        timeout: float | None = None,
        extras: str = "",
        entrypoint: str = "",
        batch: Mapping[str, int] | str | None = None,
        artifact: str | None = None,
        force: bool | str = False,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(timeout=deploy_timeout() if timeout is None else timeout, **kwargs)
        self.version = version
        self.config = config
        self.index = index
        self.images = str(images)
        self.extras = extras
        self.entrypoint = entrypoint
        self.batch = batch
        self.artifact = artifact
        self.force = force
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.shown: dict[str, str] = {}

    def perform(self, context: Context) -> dict[str, Any]:
        """Deploy; see the class."""
        from earg.client import DeadlineError
        from hogar_provider.changes import difference_from_deployed, look

        config = self.effective_config()
        node = self.node(config)
        engine = EargHook(self.earg_conn_id).engine()
        implementation = self.with_artifact(self.implementation(node.image, engine.runs_images))
        self.log.info(
            "Deploy node %d (%s %s) of graph %s %s on the engine %s: %s",
            *(self.index, node.name, node.version, self.graph, self.version, engine.name),
            describe_implementation(node.image, implementation),
        )
        if not engine.runs_images:
            self._warn_of_unheeded(engine.name, node.name, config)
        begin = time.time()
        arguments: dict[str, Any] = {
            "graph": self.graph,
            "version": self.version,
            "config": self._text(config),
            "index": self.index,
            "implementation": implementation,
            "extras": self.extras,
            "start": uuid.uuid4().hex,
            "start_timeout": self.timeout,
            "force": truth(self.force, "force"),
        }
        patience = min(PATIENCE, self.timeout) if self.deferrable else self.timeout
        with self.agent() as agent:
            before = {
                **look(agent, self.graph, self.index),
                "difference": difference_from_deployed(
                    *(agent, self.graph, self.version, config, self.extras)
                ),
                "begin": begin,
            }
            try:
                agent.deploy_node(**arguments, timeout=patience)
            except DeadlineError:
                if patience == self.timeout:
                    raise
            else:
                return self._report(agent, before)
        self._wait_in_triggerer(arguments["start"], before)
        raise AssertionError("unreachable")

    def _wait_in_triggerer(self, start: str, before: dict[str, Any]) -> None:
        from hogar_provider.triggers.node import DeployTrigger

        self.log.info(
            "The model is not up after %.0f s: the triggerer waits for it, %.0f s in all at most.",
            *(PATIENCE, self.timeout),
        )
        self.defer(
            trigger=DeployTrigger(
                agent_path(self.earg_conn_id), before["begin"] + self.timeout, start
            ),
            method_name="execute_complete",
            kwargs={"before": before},
            timeout=timedelta(seconds=self.timeout) + MARGIN,
        )

    def execute_complete(
        self, context: Context, event: dict[str, Any], before: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """After the trigger. Where the triggerer or the agent has ended meanwhile, and the start
        with it, the node is started again. ``airflow dags test``, which runs triggers itself, does
        not hand on what was ``before``: then it is not told what has changed."""
        if event["status"] == "gone":
            self.log.warning("Start again: %s.", event["error"])
            return self.perform(context)
        self.resumed(event)
        with self.agent() as agent:
            return self._report(agent, before)

    def _report(self, agent: AgentClient, before: dict[str, Any] | None) -> dict[str, Any]:
        from hogar_provider.changes import change

        graph = agent.graph(self.graph)
        status = next(node for node in graph.nodes if node.index == self.index)
        if before is None:
            changed = took = f"deployed as version {status.version}"
        else:
            changed = change(agent, self.graph, before, status)
            took = f"deployed after {time.time() - before['begin']:.2f} s: {changed}"
        for pair in status.pairs:
            log = f"; log {pair.model_log}" if pair.model_log else ""
            self.log.info("%s: %s%s", status.name, describe_pair(pair), log)
        for line in agent.node_log(self.graph, self.index, FIRST_LINES).splitlines():
            self.log.info("%s | %s", status.name, line)
        self.log.info("%s is %s", status.name, took)
        self.shown = shown(agent.home.path, self.graph, graph.url, status.name)
        return {
            "node": status.name,
            "change": changed,
            "difference": None if before is None else before["difference"],
            "address": status.pairs[0].address,
            "pairs": [
                {
                    "role": pair.role.value,
                    "host": pair.host,
                    "address": pair.address,
                    "model_pid": pair.model_pid,
                    "proxy_pid": pair.proxy_pid,
                }
                for pair in status.pairs
            ],
        }

    def intent(self) -> str:
        """As of :class:`EargOperator`."""
        from earg.client import AgentError
        from hogar_provider.changes import look

        node = self.node(self.effective_config())
        engine = EargHook(self.earg_conn_id).engine()
        implementation = self.implementation(node.image, engine.runs_images)
        what = f"{node.name} {node.version} ({describe_implementation(node.image, implementation)})"
        try:
            with engine.connect(start=False) as agent:
                old = look(agent, self.graph, self.index)["node"]
        except AgentError:
            old = None
        if old is None:
            return f"would start {what} of graph {self.graph}"
        if truth(self.force, "force"):
            return f"would replace {what} of graph {self.graph}, as asked for"
        differing = [
            f"{key} {old[key]} -> {new}"
            for key, new in (("version", node.version), ("image", node.image))
            if old[key] != new
        ]
        if differing:
            return f"would replace {what} of graph {self.graph}: {', '.join(differing)}"
        return (
            f"would leave {what} of graph {self.graph} as it is, unless its class, environment "
            f"or extras have changed, with batch {node.batch}"
        )

    def node(self, config: StaticConfig | None = None) -> NodeSpec:
        """The node in the config; AirflowFailException where there is none."""
        nodes = (config or self.effective_config()).nodes
        if not 1 <= self.index <= len(nodes):
            raise AirflowFailException(
                f"Graph {self.graph} has nodes 1 to {len(nodes)}; there is no node {self.index}."
            )
        return nodes[self.index - 1]

    def effective_config(self) -> StaticConfig:
        """The config with ``batch`` in it; AirflowFailException where one of them is wrong."""
        from earg.config import ConfigError, check_static, read_static

        limits = batches(self.batch)
        try:
            config = read_static(self.config, choices=bool(self.extras))
            if not limits:
                return config
            unknown = sorted(set(limits) - {node.name for node in config.nodes})
            if unknown:
                raise AirflowFailException(
                    f"batch: graph {self.graph} has no operator called {', '.join(unknown)}; it "
                    f"has {', '.join(node.name for node in config.nodes)}"
                )
            nodes = tuple(replace(n, batch=limits.get(n.name, n.batch)) for n in config.nodes)
            config = replace(config, nodes=nodes)
            check_static(config, choices=bool(self.extras))
        except ConfigError as error:
            raise AirflowFailException(
                f"The EARG config of graph {self.graph} is broken: {error}"
            ) from None
        return config

    def _text(self, config: StaticConfig) -> str:
        from earg.config import write_static

        return (
            write_static(config, choices=bool(self.extras))
            if batches(self.batch)
            else (self.config)
        )

    def implementation(self, image: str, runs_images: bool = False) -> Implementation:
        """The node's Python class: the one that the graph names, else the one that stands in for
        ``image`` on a machine without containers; AirflowFailException that names the image, the
        file and the lines to add where there is none. Where the engine ``runs_images`` as they
        are, no class has to stand in for one, and one that the graph names is in the image."""
        from earg.images import ImagesError, Implementation, implementation_of, read_images

        if runs_images:
            if image == self.entrypoint:
                raise AirflowFailException(
                    f"{image} has no image, and this engine runs images: add the one that has the "
                    "class, as `image` of its operator"
                )
            return Implementation(self.entrypoint, "")
        if self.entrypoint:
            beside = Path(os.path.normpath(Path(self.dag.fileloc).parent))
            return Implementation(self.entrypoint, str(beside.resolve()))
        path = Path(self.images).expanduser()
        if not path.is_absolute():
            # Without following links: a linked folder's images file is beside the link.
            path = Path(os.path.normpath(Path(self.dag.fileloc).parent / path))
        try:
            return implementation_of(image, read_images(path) if path.exists() else {}, path)
        except ImagesError as error:
            raise AirflowFailException(str(error)) from None

    def _warn_of_unheeded(self, engine: str, name: str, config: StaticConfig) -> None:
        """Say which share of a machine the node asks for in vain."""
        from earg.extras import ExtrasError, read_extras

        try:
            own = read_extras(self.extras, config).of(self.index)
        except ExtrasError:
            # The agent tells what is wrong with them.
            return
        words = [word for word in ("cpu", "memory", "gpu", "host") if getattr(own, word)]
        if words:
            self.log.warning(
                "The engine %s does not heed the %s of %s: its models are processes that share the "
                "machine.",
                *(engine, ", ".join(words), name),
            )

    def with_artifact(self, implementation: Implementation) -> Implementation:
        """With the trained model's folder in its environment, where it is trained;
        AirflowFailException where the training has left none."""
        from earg.artifact import VARIABLE

        if self.artifact is None:
            return implementation
        if not self.artifact.strip():
            raise AirflowFailException(
                "There is no trained model to deploy: clear the task that trains it, and run that."
            )
        pair = (VARIABLE, self.artifact.strip())
        return replace(implementation, environment=(*implementation.environment, pair))


def describe_implementation(image: str, implementation: Implementation) -> str:
    """What runs as a node, for logs."""
    if not implementation.entrypoint:
        return f"image {image}"
    if not implementation.folder:
        return f"image {image} with {implementation.entrypoint}"
    return f"image {image} is {implementation.entrypoint} from {implementation.folder}"
