"""What a graph does, as far as the Kubernetes API tells: from its workloads and pods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from earg.status import SERVING, GraphStatus, HostStatus, NodeState, NodeStatus, PairStatus, Role
from hogar_provider.engines.kubernetes_api import Object, labels_of, name_of
from hogar_provider.engines.kubernetes_apply import NODE_LABEL
from hogar_provider.engines.kubernetes_graph import MODEL, GraphObjects
from hogar_provider.engines.kubernetes_logs import is_at, pods_of_node, replicas_of_node
from hogar_provider.engines.kubernetes_rollout import condition, is_ready, is_up, pod_troubles
from hogar_provider.engines.timestamp import seconds
from udgl.targets._pairs import PROXY_PORT

Workloads = Mapping[tuple[str, str], Object]
"""The workloads of a graph by kind and name."""


def api_status(
    objects: GraphObjects, workloads: Workloads, pods: Sequence[Object], url: str
) -> GraphStatus:
    """The status of a graph, from what the API tells alone."""
    wired = ("Deployment", objects.wiring) in workloads
    nodes = [
        _node(objects, index, pods, wired)
        for index in range(1, len(objects.nodes) + 1)
        if is_deployed(objects, index, workloads)
    ]
    return GraphStatus(
        name=objects.name,
        version=objects.version,
        url=url,
        operators=len(objects.nodes),
        nodes=tuple(nodes),
        hosts=hosts_of(pods),
        frontend_host=host_of_first(pods_of_node(objects, 0, pods)),
    )


def is_deployed(objects: GraphObjects, index: int, workloads: Workloads) -> bool:
    """Whether all workloads of a node are there."""
    names = [
        (one["kind"], name_of(one))
        for one in objects.nodes[index - 1]
        if one["kind"] in ("Deployment", "StatefulSet")
    ]
    return all(name in workloads for name in names)


def with_wiring(
    status: GraphStatus, told: GraphStatus, objects: GraphObjects, pods: Sequence[Object]
) -> GraphStatus:
    """The status that the API tells, with what the wiring tells of the nodes: it asks their
    proxies. What is in the way of a node that does not serve the API knows better."""
    by_index = {node.index: node for node in told.nodes}
    nodes = []
    for node in status.nodes:
        said = by_index.get(node.index)
        nodes.append(node if said is None else joined(said, node, objects, pods))
    return replace(
        status,
        nodes=tuple(nodes),
        warnings=(*status.warnings, *told.warnings),
    )


def joined(
    said: NodeStatus, known: NodeStatus, objects: GraphObjects, pods: Sequence[Object]
) -> NodeStatus:
    """What the wiring has ``said`` of a node, with what is ``known`` of it by the API."""
    own = pods_of_node(objects, said.index, pods)
    pairs = []
    for pair in said.pairs:
        pod = next((one for one in own if is_at(one, pair.address)), None)
        if pod is None and len(own) == len(said.pairs) == 1:
            # A Service's name stands for it.
            pod = own[0]
        if pod is None:
            pairs.append(pair)
            continue
        troubles = pod_troubles(pod)
        reason = pair.reason
        if troubles and pair.state not in SERVING:
            reason = troubles[0].sentence
        pairs.append(
            replace(
                pair,
                host=host_of(pod),
                reason=reason,
                model_log=f"pod/{name_of(pod)} -c {MODEL}",
                proxy_log=f"pod/{name_of(pod)} -c proxy",
            )
        )
    state, reason = said.state, said.reason
    if state not in SERVING and known.reason:
        reason = known.reason
        if known.state is NodeState.DEAD:
            state = NodeState.DEAD
    return replace(said, state=state, reason=reason, pairs=tuple(pairs) or known.pairs)


def _node(objects: GraphObjects, index: int, pods: Sequence[Object], wired: bool) -> NodeStatus:
    spec = objects.plan.config.nodes[index - 1]
    own = pods_of_node(objects, index, pods)
    others = replicas_of_node(objects, index, pods)
    wanted = len(objects.places.nodes[index - 1])
    replicas = len(objects.places.nodes[index - 1][0].models) - 1
    ready = [pod for pod in own if is_ready(pod)]
    troubles = [one for pod in (*own, *others) for one in pod_troubles(pod)]
    if len(ready) >= wanted and sum(map(is_ready, others)) >= replicas:
        state = NodeState.READY
    elif ready:
        state = NodeState.DEGRADED
    elif any(one.patience == 0.0 for one in troubles):
        state = NodeState.DEAD
    else:
        state = NodeState.RECOVERING if wired else NodeState.STARTING
    reason = troubles[0].sentence if troubles else ""
    if not reason and state not in SERVING:
        missing = wanted - len(own)
        reason = f"{missing} of {wanted} pods are not there yet" if missing > 0 else ""
        if not reason and all(map(is_up, own)):
            reason = "its proxy has no graph yet"
    return NodeStatus(
        index=index,
        name=spec.name,
        version=spec.version,
        image=spec.image,
        state=state,
        reason=reason,
        pairs=tuple(_pair(pod, number, state) for number, pod in enumerate(own[:2])),
    )


def _pair(pod: Object, number: int, node: NodeState) -> PairStatus:
    ip = (pod.get("status") or {}).get("podIP", "")
    troubles = pod_troubles(pod)
    if is_ready(pod):
        state = NodeState.READY
    elif any(one.patience == 0.0 for one in troubles):
        state = NodeState.DEAD
    else:
        state = NodeState.STARTING if node is NodeState.STARTING else NodeState.RECOVERING
    return PairStatus(
        role=Role.BACKUP if number else Role.PRIMARY,
        state=state,
        address=f"{ip}:{PROXY_PORT}" if ip else name_of(pod),
        model_pid=0,
        proxy_pid=0,
        reason=troubles[0].sentence if troubles else "",
        model_log=f"pod/{name_of(pod)} -c {MODEL}",
        proxy_log=f"pod/{name_of(pod)} -c proxy",
        host=host_of(pod),
    )


# --- hosts ----------------------------------------------------------------------------------


def host_of(pod: Object) -> str:
    """The node of the cluster that a pod is on; empty before it is scheduled."""
    return str(pod["spec"].get("nodeName") or "")


def host_of_first(pods: Sequence[Object]) -> str:
    """The host of the first pod; empty where there is none."""
    return host_of(pods[0]) if pods else ""


def hosts_of(pods: Sequence[Object]) -> tuple[HostStatus, ...]:
    """The cluster's nodes that pods are on. One whose kubelet is silent is told by its pods, which
    Kubernetes marks then; the nodes themselves belong to the cluster, and are not asked."""
    by_host: dict[str, list[Object]] = {}
    for pod in pods:
        if host_of(pod) and labels_of(pod).get(NODE_LABEL):
            by_host.setdefault(host_of(pod), []).append(pod)
    return tuple(_host(name, own) for name, own in sorted(by_host.items()))


def _host(name: str, pods: Sequence[Object]) -> HostStatus:
    lost = [pod for pod in pods if is_lost(pod)]
    if len(lost) < len(pods):
        return HostStatus(name)
    ready = condition(lost[0], "Ready")
    reason = f"Kubernetes calls node {name} not ready: its pods are marked so"
    return HostStatus(name, True, reason, seconds(ready.get("lastTransitionTime")))


def is_lost(pod: Object) -> bool:
    """Whether Kubernetes has marked a pod since its node is silent."""
    status = pod.get("status") or {}
    return "NodeNotReady" in (condition(pod, "Ready").get("reason"), status.get("reason")) or (
        status.get("reason") == "NodeLost"
    )
