"""The hosts that a graph's nodes are on, and what was on one that does not answer any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hogar_provider.plugins.api.datamodels.hosts import HostView

if TYPE_CHECKING:
    from earg.status import GraphStatus, PairStatus


def host_views(status: GraphStatus | None) -> list[HostView]:
    """The graph's hosts, those first that do not answer; none where there is the agent's alone."""
    if status is None:
        return []
    return [
        HostView(
            name=host.name,
            dead=host.dead,
            reason=host.reason,
            since=host.since or None,
            nodes=list(host.nodes),
        )
        for host in sorted(status.hosts, key=lambda host: (not host.dead, host.name))
    ]


def host_of(pair: PairStatus) -> str:
    """Where a pair is: the host, or the address without its port where the engine has one alone."""
    return pair.host or pair.address.rpartition(":")[0] or pair.address
