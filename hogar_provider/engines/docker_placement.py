"""On which Docker host a pair is started."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from earg.platform import PlatformError
from hogar_provider.engines.docker_containers import Needs
from hogar_provider.engines.docker_settings import DockerHost


@dataclass(frozen=True, slots=True)
class Room:
    """A host that answers: its CPUs, bytes of memory, the cores that our pairs there stand for, how
    many pairs of the same graph there are, and the ids of GPUs that nobody has."""

    host: DockerHost
    cpus: int
    memory: int
    load: float = 0.0
    same_graph: int = 0
    free_gpus: tuple[str, ...] = ()


def choose(
    what: str,
    needs: Needs,
    rooms: Sequence[Room],
    silent: Mapping[str, str] = MappingProxyType({}),
    avoid: Collection[str] = (),
) -> Room:
    """The host for ``what``: one that fits and is not to be avoided if there is one, the least
    loaded of them, and one without GPUs for who needs none. ``silent`` says of the hosts that
    do not answer why. Raises PlatformError that says why no host fits."""
    reasons = {room.host.name: _misfit(needs, room) for room in rooms}
    fitting = [room for room in rooms if not reasons[room.host.name]]
    if not fitting:
        told = [f"{name} {reason}" for name, reason in reasons.items()]
        told += silent.values()
        raise PlatformError(f"no host fits {what}: {'; '.join(told) or 'there is none'}")
    apart = [room for room in fitting if room.host.name not in avoid] or fitting

    def rank(room: Room) -> tuple[float, int, bool]:
        after = (room.load + needs.load) / max(room.cpus, 1)
        return after, room.same_graph, bool(room.host.gpus) and not needs.gpus

    return min(apart, key=rank)


def _misfit(needs: Needs, room: Room) -> str:
    """Why a host does not fit, as the end of a sentence; empty where it does."""
    host = room.host
    if needs.host is not None and needs.host not in (host.name, *host.labels):
        labels = ", ".join((host.name, *host.labels))
        return f"is not labelled {needs.host} (its labels: {labels})"
    if needs.gpus > len(room.free_gpus):
        free = f"{len(room.free_gpus)} of its {len(host.gpus)} GPUs"
        return f"has {free} free, and {needs.gpus} are asked"
    if needs.cpu is not None and needs.cpu > room.cpus:
        return f"has {room.cpus} CPUs, and a model asks {needs.cpu:g}"
    if needs.memory is not None and 0 < room.memory < needs.memory:
        return f"has {room.memory} bytes of memory, and a model asks {needs.memory}"
    return ""
