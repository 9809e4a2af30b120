"""Where requests come from and go to: one node's place in the graph, and its joins."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from earg.config import RuntimeConfig
from earg.payload import join
from earg.protos import hogar_pb2
from earg.status import Role


class RoutingError(ValueError):
    """A request or a graph that does not fit this node."""


@dataclass(frozen=True, slots=True)
class Place:
    """One proxy's place in a runtime config.

    ``sources`` are in the join's order, and ``is_join`` tells whether they are joined.
    ``targets`` are empty for the sink, whose output goes to the frontend.
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


class Joiner:
    """Collects the parts of each request until all sources have sent theirs.

    At most ``capacity`` requests wait for parts: past that the oldest incomplete one is forgotten,
    since its client has long been told that its deadline passed.
    """

    def __init__(self, sources: Sequence[int], capacity: int) -> None:
        self._order = {source: place for place, source in enumerate(sources)}
        self._capacity = capacity
        self._waiting: OrderedDict[int, list[hogar_pb2.Payload | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(
        self, request_id: int, source: int, payload: hogar_pb2.Payload
    ) -> hogar_pb2.Payload | None:
        """Add one part; the joined payload once it is the last, else None.

        Raises :class:`RoutingError` for a source that does not flow in here. A part that comes
        twice counts once: a sender that had no answer sends again.
        """
        place = self._order.get(source)
        if place is None:
            raise RoutingError(f"node {source} does not flow into this join")
        parts = self._waiting.get(request_id)
        if parts is None:
            if len(self._waiting) >= self._capacity:
                self._waiting.popitem(last=False)
            parts = self._waiting[request_id] = [None] * len(self._order)
        if parts[place] is None:
            parts[place] = payload
        complete = [part for part in parts if part is not None]
        if len(complete) < len(parts):
            return None
        del self._waiting[request_id]
        return join(complete)
