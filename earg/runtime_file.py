"""The runtime config of a graph of this machine: EARG's text of where its nodes are."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from earg.config import RuntimeConfig, RuntimeNode, StaticConfig, write_runtime
from earg.extras import Extras
from earg.home import replace_file
from earg.node import RunningNode
from earg.pair import RunningPair
from earg.status import Role
from earg.warning import Warnings

WARNING = "runtime.earg"


class Graph(Protocol):
    """What it is written of."""

    name: str
    version: str

    wired: bool
    """Whether the proxies know it."""

    @property
    def config(self) -> StaticConfig:
        """Its nodes and edges."""

    @property
    def extras(self) -> Extras:
        """What it says beyond EARG's config."""


class RuntimeFile:
    """The runtime config as the proxies get it, and its copy in a file, for people. ``nodes`` are
    the graph's by index, ``frontend_ip`` where its frontend takes gRPC."""

    def __init__(
        self,
        graph: Graph,
        nodes: Mapping[int, RunningNode],
        frontend_ip: str,
        path: Path,
        warnings: Warnings,
    ) -> None:
        self._graph = graph
        self._nodes = nodes
        self._frontend_ip = frontend_ip
        self._path = path
        self._warnings = warnings

    def config(self) -> RuntimeConfig:
        """The graph as it serves, or is about to."""
        return self._config_of(self._runtime_nodes())

    def config_with(
        self, pair: RunningPair, node: RunningNode, primary_pair: RunningPair
    ) -> RuntimeConfig:
        """The graph in which ``pair`` is the primary of ``node``, or the backup of that one."""
        nodes = self._runtime_nodes()
        primary, backup = primary_pair.pair, None
        if pair.role is Role.BACKUP:
            backup = pair.pair
        else:
            primary = pair.pair
        if pair.spec.stateful and backup is None:
            # The place of its backup is not free yet, but the config has to name one.
            backup = next((p.pair for p in node.pairs if p.name != pair.name), None)
        nodes[node.index - 1] = RuntimeNode(pair.spec, primary, backup)
        return self._config_of(nodes)

    def _runtime_nodes(self) -> list[RuntimeNode]:
        indexes = range(1, len(self._graph.config.nodes) + 1)
        return [_runtime_node(self._nodes[index]) for index in indexes]

    def _config_of(self, nodes: Sequence[RuntimeNode]) -> RuntimeConfig:
        graph = self._graph
        if not graph.extras:
            # A node that had no backup by the extras before, and is about to get one: without
            # extras the config has to name one.
            nodes = [
                replace(node, backup=node.primary)
                if node.spec.stateful and node.backup is None
                else node
                for node in nodes
            ]
        return RuntimeConfig(
            name=graph.name,
            version=graph.version,
            frontend_name=f"{graph.name}.frontend",
            frontend_id=f"{graph.name}.frontend",
            frontend_ip=self._frontend_ip,
            nodes=tuple(nodes),
            dist=graph.config.dist,
            reduce=graph.config.reduce,
        )

    def text_of(self, config: RuntimeConfig) -> str:
        """A config as it is sent and written."""
        return write_runtime(config, choices=bool(self._graph.extras))

    def text(self) -> str:
        """The graph's; empty before it is wired."""
        return self.text_of(self.config()) if self._graph.wired else ""

    def write(self) -> None:
        """Write the file; where that fails, people are warned, and it is tried again later."""
        runtime = self.text_of(self.config())
        try:
            replace_file(self._path, runtime)
        except OSError as error:
            self._warnings.begin(
                WARNING,
                f"{self._path} cannot be written: {error.strerror}; it tells people where the "
                "nodes are, serving does not need it",
            )
        else:
            self._warnings.end(WARNING, f"{self._path} is written again")

    def retry(self) -> None:
        """Write the file where that has failed."""
        if WARNING in self._warnings and self._graph.wired:
            with contextlib.suppress(KeyError):
                self.write()

    def remove(self) -> None:
        """The graph is gone."""
        with contextlib.suppress(OSError):
            self._path.unlink()


def _runtime_node(node: RunningNode) -> RuntimeNode:
    backup = node.pairs[1].pair if len(node.pairs) > 1 else None
    return RuntimeNode(node.spec, node.pairs[0].pair, backup)
