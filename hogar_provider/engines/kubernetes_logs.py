"""Which pod and container of a node somebody asks for the log of."""

from __future__ import annotations

from collections.abc import Sequence

from hogar_provider.engines.kubernetes_api import Api, Object, labels_of, name_of
from hogar_provider.engines.kubernetes_apply import NODE_LABEL
from hogar_provider.engines.kubernetes_graph import MODEL, GraphObjects

LARGEST = 1000
"""Lines that are told at most."""


def pods_of_node(objects: GraphObjects, index: int, pods: Sequence[Object]) -> list[Object]:
    """The pods of the node's pairs that are not being deleted, by their names: the first is the
    primary at first. Index 0 is the frontend."""
    label = objects.node_label(index)
    return [
        pod
        for pod in pods
        if labels_of(pod).get(NODE_LABEL) == label and "deletionTimestamp" not in pod["metadata"]
    ]


def replicas_of_node(objects: GraphObjects, index: int, pods: Sequence[Object]) -> list[Object]:
    """The pods of the node's further replicas."""
    labels = set(objects.labels_of_node(index)) - {objects.node_label(index)}
    return [pod for pod in pods if labels_of(pod).get(NODE_LABEL) in labels]


def primary_first(pods: Sequence[Object], primary: str) -> list[Object]:
    """The pods, that one first whose address or name ``primary`` is."""
    return sorted(pods, key=lambda pod: not is_at(pod, primary))


def is_at(pod: Object, address: str) -> bool:
    """Whether a pair's address (``ip``, ``ip:port`` or the host name of a pod) is this pod's."""
    host = address.rpartition(":")[0] if address.count(":") == 1 else address
    ip = (pod.get("status") or {}).get("podIP", "")
    return bool(host) and (host == ip or host.partition(".")[0] == name_of(pod))


async def read_log(api: Api, pod: Object, container: str, lines: int) -> tuple[str, str]:
    """The last lines of a container, of its last run where this one has written nothing; and where
    they are from, as ``kubectl logs`` names it."""
    number = min(max(1, lines), LARGEST)
    text = await api.log(name_of(pod), container, number)
    if not text.strip():
        text = await api.log(name_of(pod), container, number, previous=True)
    return text, f"pod/{name_of(pod)} -c {container}"


def container_of(index: int, proxy: bool) -> str:
    """The container that a request for a log means."""
    if index == 0:
        return "frontend"
    return "proxy" if proxy else MODEL
