"""Statuses as the agent's messages, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from earg.protos import hogar_pb2
from earg.status import (
    Event,
    GraphStatus,
    HostStatus,
    NodeState,
    NodeStatus,
    PairStatus,
    QueueLoad,
    Role,
)

LOAD_KEY = "earg-load"
"""The trailing metadata of a ``ping``: queued requests, batch limit and capacity, with ',' between
them. An original sends none."""


def node_message(status: NodeStatus) -> hogar_pb2.NodeStatus:
    """The message of a node's status."""
    return hogar_pb2.NodeStatus(
        index=status.index,
        name=status.name,
        version=status.version,
        image=status.image,
        state=status.state.value,
        reason=status.reason,
        pairs=[
            hogar_pb2.PairStatus(
                role=pair.role.value,
                state=pair.state.value,
                address=pair.address,
                model_pid=pair.model_pid,
                proxy_pid=pair.proxy_pid,
                reason=pair.reason,
                model_log=pair.model_log,
                proxy_log=pair.proxy_log,
                model_pids=pair.model_pids,
                host=pair.host,
            )
            for pair in status.pairs
        ],
    )


def read_node(message: hogar_pb2.NodeStatus) -> NodeStatus:
    """A node's status from its message; raises ValueError for a state it does not know."""
    return NodeStatus(
        index=message.index,
        name=message.name,
        version=message.version,
        image=message.image,
        state=NodeState(message.state),
        reason=message.reason,
        pairs=tuple(
            PairStatus(
                role=Role(pair.role),
                state=NodeState(pair.state),
                address=pair.address,
                model_pid=pair.model_pid,
                proxy_pid=pair.proxy_pid,
                reason=pair.reason,
                model_log=pair.model_log,
                proxy_log=pair.proxy_log,
                model_pids=tuple(pair.model_pids),
                host=pair.host,
            )
            for pair in message.pairs
        ),
    )


def graph_message(status: GraphStatus, warnings: Iterable[str] = ()) -> hogar_pb2.GraphStatus:
    """The message of a graph's status; ``warnings`` are the agent's own."""
    return hogar_pb2.GraphStatus(
        name=status.name,
        version=status.version,
        url=status.url,
        operators=status.operators,
        nodes=[node_message(node) for node in status.nodes],
        warnings=[*warnings, *status.warnings],
        hosts=[
            hogar_pb2.HostStatus(
                name=host.name,
                dead=host.dead,
                reason=host.reason,
                since=host.since,
                nodes=host.nodes,
            )
            for host in status.hosts
        ],
        frontend_host=status.frontend_host,
    )


def read_graph(message: hogar_pb2.GraphStatus) -> GraphStatus:
    """A graph's status from its message; raises ValueError as :func:`read_node`."""
    return GraphStatus(
        name=message.name,
        version=message.version,
        url=message.url,
        operators=message.operators,
        nodes=tuple(read_node(node) for node in message.nodes),
        warnings=tuple(message.warnings),
        hosts=tuple(
            HostStatus(host.name, host.dead, host.reason, host.since, tuple(host.nodes))
            for host in message.hosts
        ),
        frontend_host=message.frontend_host,
    )


def event_message(event: Event) -> hogar_pb2.Event:
    """The message of an event."""
    return hogar_pb2.Event(
        time=event.time,
        graph=event.graph,
        node=event.node,
        what=event.what,
        before=event.before,
        after=event.after,
        number=event.number,
    )


def read_event(message: hogar_pb2.Event) -> Event:
    """An event from its message."""
    return Event(
        time=message.time,
        graph=message.graph,
        node=message.node,
        what=message.what,
        before=message.before,
        after=message.after,
        number=message.number,
    )


def load_metadata(load: QueueLoad) -> tuple[tuple[str, str], ...]:
    """A proxy's load as the trailing metadata of its ``ping``."""
    return ((LOAD_KEY, f"{load.queued},{load.limit},{load.capacity}"),)


def read_load(metadata: Iterable[Any]) -> QueueLoad | None:
    """The load from trailing metadata; None where there is none, or none that can be read."""
    for key, value in metadata:
        if key == LOAD_KEY:
            try:
                queued, limit, capacity = (int(part) for part in str(value).split(","))
            except ValueError:
                return None
            return QueueLoad(queued, limit, capacity)
    return None
