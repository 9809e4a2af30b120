"""The hosts that a graph's nodes are on, and what was on one that does not answer any more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hogar_provider.plugins.api.datamodels.hosts import HostView

if TYPE_CHECKING:
    from earg.status import GraphStatus, PairStatus


class Tenants:
    """Remembers which nodes a host had when it last answered: what can be started elsewhere is, and
    then nothing tells any more what was lost with it."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, ...]] = {}

    def follow(self, status: GraphStatus) -> Mapping[str, tuple[str, ...]]:
        """Each of the graph's hosts with its nodes, by name, as they are in ``status``. Of a dead
        one those that it had before as well, as far as they were seen."""
        found: dict[str, tuple[str, ...]] = {}
        for host in status.hosts:
            before = self._known.get(host.name, ()) if host.dead else ()
            found[host.name] = tuple(
                node.name
                for node in status.nodes
                if node.name in before or any(pair.host == host.name for pair in node.pairs)
            )
        self._known = found
        return found


def host_views(
    status: GraphStatus | None, tenants: Mapping[str, tuple[str, ...]]
) -> list[HostView]:
    """The graph's hosts, those first that do not answer; none where there is the agent's alone."""
    if status is None:
        return []
    return [
        HostView(
            name=host.name,
            dead=host.dead,
            reason=host.reason,
            since=host.since or None,
            nodes=list(tenants.get(host.name, ())),
        )
        for host in sorted(status.hosts, key=lambda host: (not host.dead, host.name))
    ]


def host_of(pair: PairStatus) -> str:
    """Where a pair is: the host, or the address without its port where the engine has one alone."""
    return pair.host or pair.address.rpartition(":")[0] or pair.address
