"""Where requests come from and go to: one node's place in the graph."""

from __future__ import annotations

from dataclasses import dataclass

from earg.config import RuntimeConfig
from earg.status import Role


class RoutingError(ValueError):
    """A request or a graph that does not fit this node."""


@dataclass(frozen=True, slots=True)
class Place:
    """One proxy's place in a runtime config.

    ``sources`` are in the join's order, and ``is_join`` tells whether they are joined; several
    that are not are a merge, and each request comes from one of them.
    ``targets`` are empty for a sink, whose output goes to the frontend.
    """

    index: int
    role: Role
    stateful: bool
    batch: int
    sources: tuple[int, ...]
    is_join: bool
    targets: tuple[int, ...]


def find_place(config: RuntimeConfig, proxy_name: str, address: str) -> Place:
    """The place of the proxy called ``proxy_name``; raises :class:`RoutingError`."""
    static = config.static
    for index, node in enumerate(config.nodes, 1):
        for role, pair in ((Role.PRIMARY, node.primary), (Role.BACKUP, node.backup)):
            if pair is not None and pair.proxy_name == proxy_name:
                if pair.proxy_ip != address:
                    raise RoutingError(
                        f"the config puts {proxy_name} on {pair.proxy_ip}, it runs on {address}"
                    )
                return Place(
                    index=index,
                    role=role,
                    stateful=node.spec.stateful,
                    batch=node.spec.batch,
                    sources=static.sources_of(index),
                    is_join=any(index in edge.targets for edge in static.reduce),
                    targets=static.targets_of(index),
                )
    raise RoutingError(f"the config has no proxy called {proxy_name!r}")
