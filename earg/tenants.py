"""Which nodes a host has, and which it had when it last answered."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from earg.status import GraphStatus, HostStatus


class Tenants:
    """Remembers the nodes of hosts: what can be started elsewhere is, and then nothing tells any
    more what was lost with a host."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, ...]] = {}

    def follow(
        self, hosts: Iterable[HostStatus], nodes: Sequence[tuple[str, Collection[str]]]
    ) -> tuple[HostStatus, ...]:
        """The hosts with their nodes; of a dead one those that it had before as well, as far as
        they were seen. ``nodes`` are those of the graph by name, in order, and the hosts of each.
        """
        found = tuple(
            replace(
                host,
                nodes=tuple(
                    name
                    for name, places in nodes
                    if host.name in places or (host.dead and name in self._known.get(host.name, ()))
                ),
            )
            for host in hosts
        )
        self._known = {host.name: host.nodes for host in found}
        return found

    def follow_status(self, status: GraphStatus) -> GraphStatus:
        """A graph's status, its hosts with their nodes."""
        nodes = [(node.name, {pair.host for pair in node.pairs}) for node in status.nodes]
        return replace(status, hosts=self.follow(status.hosts, nodes))
