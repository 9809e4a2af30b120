"""Which network a graph has on a Docker host, and which address in it each container gets.

Addresses are fixed, so that a container that is restarted is found where it was. A graph has a
bridge of its own on every host, cut from the host's subnet; or all share a network that exists.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from earg.plan import Plan
from earg.platform import PlatformError
from hogar_provider.engines.docker_daemon import LOOK_TIMEOUT, Daemon, DaemonError
from hogar_provider.engines.docker_names import plain_name, short_mark
from udgl.targets._manifest import MANAGER

log = logging.getLogger(__name__)

SMALLEST_PREFIX = 26
"""A graph's network has at least 64 addresses."""

GATEWAY_MODE = "com.docker.network.bridge.gateway_mode_ipv4"
GATEWAY_MODE_SINCE = (28,)
"""The first version of Docker that lets no packets for containers in from other hosts, unless a
network says so."""

MOST_TRIES = 64


@dataclass(frozen=True, slots=True)
class GraphNetwork:
    """A network that containers join. ``addresses`` is the part of it that may be given out, but
    for those ``kept`` for others."""

    name: str
    addresses: IPv4Network
    kept: frozenset[str] = frozenset()


class Addresses:
    """Gives out addresses in turn: one that was somebody's is given to another one as late as
    possible, as others may still send to it."""

    def __init__(self) -> None:
        self._last: dict[IPv4Network, IPv4Address] = {}

    def take(self, network: GraphNetwork, used: Iterable[str], count: int) -> tuple[str, ...]:
        """So many addresses that nobody uses; raises PlatformError where there are none left."""
        taken = {*used, *network.kept}
        found: list[str] = []
        for address in self._from_last(network.addresses, taken):
            if str(address) in taken:
                continue
            found.append(str(address))
            if len(found) == count:
                self._last[network.addresses] = address
                return tuple(found)
        raise PlatformError(
            f"the network {network.name} has no {count} free addresses left in "
            f"{network.addresses}; take the graph down and deploy it anew, or give the hosts a "
            "larger 'subnet'"
        )

    def _from_last(self, addresses: IPv4Network, taken: set[str]) -> Iterator[IPv4Address]:
        # The first one is the gateway's.
        first, last = int(addresses[2]), int(addresses[-2])
        begin = self._last.get(addresses)
        if begin is None:
            mine = [one for one in map(_address, taken) if one is not None and one in addresses]
            begin = max(mine, default=addresses[1])
        start = min(max(int(begin) + 1, first), last + 1)
        for number in (*range(start, last + 1), *range(first, start)):
            yield IPv4Address(number)


def _address(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(text)
    except ValueError:
        return None


def containers_of(plan: Plan) -> int:
    """How many containers a graph has in all."""
    count = 1
    for index, node in enumerate(plan.config.nodes, 1):
        pairs = 2 if node.stateful and not plan.without_backup(index) else 1
        count += pairs * (1 + plan.extras.of(index).replicas)
    return count


def prefix_for(containers: int) -> int:
    """The prefix of a network with room for twice so many: those that replace others are there
    beside them for a while."""
    return min(SMALLEST_PREFIX, 32 - (2 * containers + 2).bit_length())


def free_subnets(
    host: IPv4Network, prefix: int, used: Iterable[IPv4Network]
) -> Iterator[IPv4Network]:
    """The parts of a host's subnet that nobody uses, in order."""
    taken = [one for one in used if one.overlaps(host)]
    for part in host.subnets(new_prefix=max(prefix, host.prefixlen)):
        if not any(part.overlaps(one) for one in taken):
            yield part


def network_name(mark: str, graph: str) -> str:
    """Of a graph's own network."""
    return f"hogar-{short_mark(mark)}-{plain_name(graph)}"


async def ensure_network(
    daemon: Daemon,
    host: IPv4Network,
    name: str,
    labels: Mapping[str, str],
    containers: int,
    routed: bool,
) -> GraphNetwork:
    """The graph's own bridge on a host, made where it is not there; ``routed`` where other hosts
    reach its containers. Raises :class:`DaemonError`."""
    listed = await daemon.ask(lambda client: client.networks(), LOOK_TIMEOUT)
    for one in listed:
        if one.get("Name") == name and _is_labelled(one, labels):
            for subnet in _subnets(one):
                return GraphNetwork(name, subnet)
    options = {}
    if routed and (await daemon.info()).version >= GATEWAY_MODE_SINCE:
        options[GATEWAY_MODE] = "nat-unprotected"
    used = [subnet for one in listed for subnet in _subnets(one)]
    refused: DaemonError | None = None
    for tries, subnet in enumerate(free_subnets(host, prefix_for(containers), used)):
        if tries >= MOST_TRIES:
            break
        try:
            await daemon.ask(_creating(name, subnet, labels, options))
        except DaemonError as error:
            if "overlap" not in str(error).lower():
                raise
            # Another network of the machine, which Docker does not list.
            refused = error
            continue
        log.info("host %s has the network %s with %s", daemon.name, name, subnet)
        return GraphNetwork(name, subnet)
    raise refused or DaemonError(
        f"host {daemon.name}: no part of its subnet {host} is free for the network of another "
        "graph; take a graph down, or give the host a larger 'subnet'"
    )


def _creating(name: str, subnet: IPv4Network, labels: Mapping[str, str], options: dict[str, str]):  # type: ignore[no-untyped-def]
    def create(client: Any) -> None:
        from docker.types import IPAMConfig, IPAMPool

        pool = IPAMPool(subnet=str(subnet), gateway=str(subnet[1]))
        client.create_network(
            name,
            driver="bridge",
            ipam=IPAMConfig(pool_configs=[pool]),
            labels=dict(labels),
            options=options,
        )

    return create


async def existing_network(daemon: Daemon, name: str, part: IPv4Network | None) -> GraphNetwork:
    """A network that people have made for all hosts; ``part`` of it is this host's, None: what the
    network says itself. Raises :class:`DaemonError`."""
    try:
        found = await daemon.ask(lambda client: client.inspect_network(name), LOOK_TIMEOUT)
    except DaemonError as error:
        if error.status != 404:
            raise
        raise DaemonError(
            f"host {daemon.name}: there is no network {name}, which the engine's 'network' names; "
            "make it there, with a subnet"
        ) from None
    kept = set()
    for one in (found.get("IPAM") or {}).get("Config") or ():
        kept.add(str(one.get("Gateway", "")).partition("/")[0])
        kept.update(str(other) for other in (one.get("AuxiliaryAddresses") or {}).values())
        if part is None and one.get("IPRange"):
            part = ipaddress.IPv4Network(one["IPRange"], strict=False)
    for one in (found.get("Containers") or {}).values():
        kept.add(str(one.get("IPv4Address", "")).partition("/")[0])
    subnets = list(_subnets(found))
    if part is None and subnets:
        part = subnets[0]
    if part is None or not any(part.subnet_of(one) for one in subnets):
        raise DaemonError(
            f"host {daemon.name}: the network {name} has no IPv4 subnet"
            + (f" that holds {part}" if part is not None else "")
        )
    return GraphNetwork(name, part, frozenset(kept))


async def remove_networks(daemon: Daemon, labels: Mapping[str, str]) -> None:
    """Remove the networks with these labels."""
    filters = {"label": [f"{key}={value}" for key, value in labels.items()]}
    found = await daemon.ask(lambda client: client.networks(filters=filters), LOOK_TIMEOUT)
    for one in found:
        try:
            await daemon.ask(lambda client, one=one: client.remove_network(one["Id"]))  # type: ignore[misc]
        except DaemonError as error:
            if error.status != 404:
                # Somebody has attached a container of theirs.
                log.warning("the network %s stays: %s", one.get("Name"), error)


def network_labels(mark: str, graph: str) -> dict[str, str]:
    """Of a graph's own network."""
    return {
        "app.kubernetes.io/managed-by": MANAGER,
        f"{MANAGER}/engine": mark,
        f"{MANAGER}/graph": graph,
    }


def _is_labelled(network: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    found = network.get("Labels") or {}
    return all(found.get(key) == value for key, value in labels.items())


def _subnets(network: Mapping[str, Any]) -> Iterator[IPv4Network]:
    for one in (network.get("IPAM") or {}).get("Config") or ():
        try:
            yield IPv4Network(one["Subnet"], strict=False)
        except (KeyError, ValueError):
            continue
