"""Graphs for plain Kubernetes: EARG's own processes as pods.

A stateless operator is a Deployment whose pod has two containers, the model and EARG's proxy; its
further replicas are a StatefulSet of models behind that proxy. A stateful one is a StatefulSet of
two such pods, the primary and its backup. The frontend takes requests, and ``earg wire --watch``
gives everybody the graph. Source: the Kubernetes API reference (apps/v1, v1, policy/v1,
networking.k8s.io/v1), and the Prometheus operator's API reference for ServiceMonitor.
"""

from __future__ import annotations

from dataclasses import dataclass

from udgl.diagnostics import Severity
from udgl.graph import Operator, ServingGraph
from udgl.targets import Compilation, OutputFile
from udgl.targets._limits import Limit, in_order, limits
from udgl.targets._manifest import (
    MANAGER,
    Object,
    documents,
    graph_annotations,
    label_name,
    labels,
    metadata,
    node_selector,
    object_names,
    operator_annotations,
    place,
    resources,
)
from udgl.targets._pairs import (
    CONFIG_FOLDER,
    HTTP_PORT,
    METRICS_PORT,
    MODEL_PORT,
    NODE_IMAGE,
    PROXY_PORT,
    WIRING_PORT,
    Codes,
    digest,
    digests_of_nodes,
    files,
    free_name,
    frontend_variables,
    in_wiring_order,
    lowered,
    model_variables,
    pairs_of,
    places,
    proxy_variables,
    wire_command,
)
from udgl.targets.earg import Lowered

DESCRIPTION = "Kubernetes objects that run EARG's own processes as pods"

WRITES = "{name}-{version}.kubernetes.yaml and .monitoring.yaml"

CODES: dict[str, str] = {
    "KUBERNETES101": "EARG, which the pods run, cannot express the graph.",
    "KUBERNETES102": "An operator has no image.",
    "KUBERNETES201": "The pods train no models (a warning).",
    "KUBERNETES301": "What has no meaning in Kubernetes (a note).",
}

_LIMITS = {
    "train": Limit(
        "KUBERNETES201",
        Severity.WARNING,
        "is trained by its DAG, and which model that leaves is not known here; the pods serve what "
        "its image holds already",
        "deploy it with the engine kubernetes, which mounts the trained model, or say where the "
        "image has it: env HOGAR_ARTIFACT=/folder/in/the/image",
    ),
    "schedule": Limit("KUBERNETES301", Severity.NOTE, "is that of the Airflow DAG"),
}

_USER = 10001
"""Who the pods run as: the token must be its reader's own file."""

_STATE_SECONDS = 10
"""Seconds that a new pod of a stateful operator is given to take over the state."""

_TOKEN_FOLDER = "/run/earg"  # noqa: S105
_TOKEN_FILE = f"{_TOKEN_FOLDER}/token"


@dataclass(frozen=True, slots=True)
class _Names:
    """The names of a graph's objects; ``more`` has those of further replicas by operator."""

    graph: str
    nodes: dict[str, str]
    more: dict[str, str]
    frontend: str
    wiring: str
    config: str
    token: str


def compile_graph(graph: ServingGraph) -> Compilation:
    """``{name}-{version}.kubernetes.yaml``, for ``kubectl apply -f``, and
    ``{name}-{version}.monitoring.yaml`` for a cluster that has the Prometheus operator.

    They need one Secret, which the first file's head tells how to make. Raises
    :class:`UdglError` where EARG cannot express ``graph``.
    """
    made = lowered(graph, Codes("KUBERNETES101", "KUBERNETES102"), "Kubernetes")
    names = _names(graph)
    objects: list[tuple[str, Object]] = [
        (f"{place(graph, graph.span)} what the pods are told", _config(graph, made, names))
    ]
    operators = in_wiring_order(graph, made)
    for node_digest, operator in zip(digests_of_nodes(made), operators, strict=True):
        where = f"{place(graph, operator.span)} operator {operator.name}"
        objects += [
            (f"{where}: {_SAID[one['kind']]}", one)
            for one in _node(graph, names, operator, node_digest)
        ]
    whole = place(graph, graph.span)
    objects += [(f"{whole} the frontend", one) for one in _frontend(graph, made, names)]
    objects += [
        (f"{whole} who gives the pods the graph{said}", one)
        for said, one in zip(("", ": its address"), _wiring(graph, made, names), strict=True)
    ]
    objects += [(f"{whole} who may reach the pods", one) for one in _network_policies(graph, names)]
    stem = f"{graph.name}-{graph.version}"
    head = (
        f"# Needs once: kubectl create secret generic {names.token} "
        '--from-literal=token="$(openssl rand -hex 32)"\n'
    )
    monitor = [(f"{whole} what Prometheus scrapes", _monitor(graph, names))]
    return Compilation(
        (
            OutputFile(f"{stem}.kubernetes.yaml", head + documents(objects)),
            OutputFile(f"{stem}.monitoring.yaml", documents(monitor)),
        ),
        in_order(limits(graph, _LIMITS)),
    )


_SAID = {
    "Service": "its address",
    "Deployment": "its pod",
    "StatefulSet": "its pods",
    "PodDisruptionBudget": "how many of its pods a drain may take at a time",
}


def _names(graph: ServingGraph) -> _Names:
    nodes = object_names(graph)
    taken = set(nodes.values())
    more = {
        operator.name: free_name(f"{nodes[operator.name]}-more", taken)
        for operator in graph.operators
        if operator.replicas > 1
    }
    own = label_name(graph.name)
    return _Names(
        graph=free_name(own, taken),
        nodes=nodes,
        more=more,
        frontend=free_name(f"{own}-frontend", taken),
        wiring=free_name(f"{own}-wiring", taken),
        config=free_name(f"{own}-config", taken),
        token=free_name(f"{own}-token", taken),
    )


# --- nodes ----------------------------------------------------------------------------------


def _hosts(names: _Names, operator: Operator) -> list[str]:
    """The hosts of its pairs, as the other pods know them."""
    name = names.nodes[operator.name]
    if not operator.stateful:
        return [name]
    return [f"{name}-{number}.{name}" for number in range(pairs_of(operator))]


def _models(names: _Names, operator: Operator, host: str) -> list[str]:
    more = names.more.get(operator.name)
    others = [f"{more}-{number}.{more}" for number in range(operator.replicas - 1)]
    return [host, *(others if more else [])]


def _node(graph: ServingGraph, names: _Names, operator: Operator, node_digest: str) -> list[Object]:
    name = names.nodes[operator.name]
    ports = {"proxy": PROXY_PORT, "model": MODEL_PORT, "metrics": METRICS_PORT}
    containers = [
        _model(operator, _MODEL_NAME if operator.stateful else _value("PROXY_NAME", name)),
        _proxy(operator, _MODEL_NAME if operator.stateful else _value("PROXY_NAME", name)),
    ]
    pod = _pod(names, containers, operator)
    own = labels(graph, operator) | _selector(graph, name)
    annotations = {f"{MANAGER}/graph-digest": node_digest}
    found = [_service(name, own, _selector(graph, name), ports)]
    if operator.stateful:
        pod |= _spread(graph, name)
        found.append(_stateful_set(graph, operator, name, pod, pairs_of(operator), annotations))
    else:
        found.append(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": metadata(name, own, operator_annotations(operator)),
                "spec": {
                    "replicas": 1,
                    # A node has one proxy at a time; what is sent meanwhile waits.
                    "strategy": {"type": "Recreate"},
                    "selector": {"matchLabels": _selector(graph, name)},
                    "template": _template(own, annotations, pod),
                },
            }
        )
    more = names.more.get(operator.name)
    if more is not None:
        others = labels(graph, operator) | _selector(graph, more)
        model = _model(operator, _value("PROXY_NAME", name))
        replica = _pod(names, [model], operator) | _spread(graph, more)
        found.append(_service(more, others, _selector(graph, more), {"model": MODEL_PORT}))
        found.append(_stateful_set(graph, operator, more, replica, operator.replicas - 1, {}))
        found.append(_budget(graph, operator, more))
    if operator.stateful and pairs_of(operator) > 1:
        found.append(_budget(graph, operator, name))
    return found


def _stateful_set(
    graph: ServingGraph,
    operator: Operator,
    name: str,
    pod: Object,
    replicas: int,
    annotations: dict[str, str],
) -> Object:
    own = labels(graph, operator) | _selector(graph, name)
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(name, own, operator_annotations(operator)),
        "spec": {
            "serviceName": name,
            "replicas": replicas,
            # None is ready before all are there.
            "podManagementPolicy": "Parallel",
            # A backup has its primary's state a while after it is ready: no rollout replaces the
            # primary before.
            **({"minReadySeconds": _STATE_SECONDS} if operator.stateful else {}),
            "selector": {"matchLabels": _selector(graph, name)},
            "template": _template(own, annotations, pod),
        },
    }


def _model(operator: Operator, proxy_name: Object) -> Object:
    probe = {"tcpSocket": {"port": "model"}}
    container: Object = {
        "name": "model",
        "image": operator.image,
        "env": [
            _value("MODEL_NAME", operator.name),
            proxy_name,
            *(_value(name, value) for name, value in model_variables(operator).items()),
            *_OWN_VARIABLES,
        ],
        "ports": [{"name": "model", "containerPort": MODEL_PORT}],
        # It may have much to load.
        "startupProbe": probe | {"periodSeconds": 5, "failureThreshold": 120},
        "readinessProbe": probe | {"periodSeconds": 10},
        "livenessProbe": probe | {"periodSeconds": 20, "failureThreshold": 3},
    }
    amounts = resources(operator)
    if amounts:
        container["resources"] = amounts
    # Its file system is its own matter: many models write a cache.
    container["securityContext"] = _CONFINED
    container["volumeMounts"] = _MOUNTS
    return container


def _proxy(operator: Operator, proxy_name: Object) -> Object:
    variables = proxy_variables(operator)
    alive = {"exec": {"command": ["earg", "ready", "--alive"]}, "timeoutSeconds": 5}
    return {
        "name": "proxy",
        "image": NODE_IMAGE,
        "command": ["python", "-m", "earg.proxy"],
        "env": [
            proxy_name,
            *(_value(name, value) for name, value in variables.items()),
            *_OWN_VARIABLES,
        ],
        "ports": [
            {"name": "proxy", "containerPort": PROXY_PORT},
            {"name": "metrics", "containerPort": METRICS_PORT},
        ],
        "startupProbe": {
            "tcpSocket": {"port": "proxy"},
            "periodSeconds": 2,
            "failureThreshold": 60,
        },
        "readinessProbe": {
            "exec": {"command": ["earg", "ready"]},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
        },
        "livenessProbe": alive | {"periodSeconds": 30, "failureThreshold": 3},
        "resources": _amounts("100m", "128Mi", "1Gi"),
        "securityContext": _READ_ONLY,
        "volumeMounts": _MOUNTS,
    }


# --- the graph's own ------------------------------------------------------------------------


def _config(graph: ServingGraph, made: Lowered, names: _Names) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(names.config, labels(graph) | _graph_label(graph)),
        "data": files(made, _places(graph, made, names)),
    }


def _places(graph: ServingGraph, made: Lowered, names: _Names) -> str:
    nodes = {
        operator.name: [(host, _models(names, operator, host)) for host in _hosts(names, operator)]
        for operator in in_wiring_order(graph, made)
    }
    return places(graph, names.frontend, nodes)


def _frontend(graph: ServingGraph, made: Lowered, names: _Names) -> list[Object]:
    first = in_wiring_order(graph, made)[0]
    variables = frontend_variables(graph, made, _hosts(names, first)[0])
    selector = _selector(graph, names.frontend)
    own = labels(graph) | selector
    health = {"httpGet": {"path": "/v2/health/ready", "port": "http"}}
    alive = {"httpGet": {"path": "/v2/health/live", "port": "http"}}
    container: Object = {
        "name": "frontend",
        "image": NODE_IMAGE,
        "command": ["python", "-m", "earg.frontend"],
        "env": [*(_value(name, value) for name, value in variables.items()), *_OWN_VARIABLES],
        "ports": [
            {"name": "http", "containerPort": HTTP_PORT},
            {"name": "proxy", "containerPort": PROXY_PORT},
        ],
        "startupProbe": alive | {"periodSeconds": 2, "failureThreshold": 60},
        "readinessProbe": health | {"periodSeconds": 5},
        "livenessProbe": alive | {"periodSeconds": 10, "failureThreshold": 3},
        "resources": _amounts("100m", "128Mi", "2Gi"),
        "securityContext": _READ_ONLY,
        "volumeMounts": _MOUNTS,
    }
    digested = digest(repr(sorted(variables.items())))
    deployment: Object = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(names.frontend, own, graph_annotations(graph)),
        "spec": {
            "replicas": 1,
            # The last nodes reply to one frontend.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": selector},
            "template": _template(
                own, {f"{MANAGER}/graph-digest": digested}, _pod(names, [container])
            ),
        },
    }
    public: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(names.graph, labels(graph) | _graph_label(graph)),
        "spec": {
            "selector": selector,
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        },
    }
    inner = _service(names.frontend, labels(graph), selector, {"proxy": PROXY_PORT})
    return [public, inner, deployment]


def _wiring(graph: ServingGraph, made: Lowered, names: _Names) -> list[Object]:
    selector = _selector(graph, names.wiring)
    own = labels(graph) | selector
    told = files(made, _places(graph, made, names))
    mounts = [*_MOUNTS, {"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True}]
    container: Object = {
        "name": "wiring",
        "image": NODE_IMAGE,
        # On every address: a port that is forwarded into the pod ends at its loopback.
        "command": [
            *wire_command(made),
            *("--serve", f"0.0.0.0:{WIRING_PORT}", "--url", f"http://{names.graph}"),
        ],
        "env": [_value("EARG_TOKEN_FILE", _TOKEN_FILE)],
        "ports": [{"name": "agent", "containerPort": WIRING_PORT}],
        "readinessProbe": {"tcpSocket": {"port": "agent"}, "periodSeconds": 5},
        "livenessProbe": {
            "tcpSocket": {"port": "agent"},
            "periodSeconds": 20,
            "failureThreshold": 3,
        },
        "resources": _amounts("50m", "96Mi", "512Mi"),
        "securityContext": _READ_ONLY,
        "volumeMounts": mounts,
    }
    pod = _pod(names, [container])
    pod["volumes"] = [
        *pod["volumes"],
        {"name": "config", "configMap": {"name": names.config}},
    ]
    deployment: Object = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(names.wiring, own),
        "spec": {
            "replicas": 1,
            # Two would contradict each other.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": selector},
            "template": _template(own, {f"{MANAGER}/graph-digest": digest(repr(told))}, pod),
        },
    }
    service: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(names.wiring, own),
        "spec": {
            "selector": selector,
            "ports": [{"name": "agent", "port": WIRING_PORT, "targetPort": "agent"}],
        },
    }
    return [deployment, service]


def _network_policies(graph: ServingGraph, names: _Names) -> list[Object]:
    """Into the pods only the graph's own may; into the frontend everybody, at its HTTP port; and
    whoever scrapes metrics, or asks the wiring, at those ports, which ask for the token."""
    everywhere: Object = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(names.graph, labels(graph) | _graph_label(graph)),
        "spec": {
            "podSelector": {"matchLabels": _graph_label(graph)},
            "policyTypes": ["Ingress"],
            "ingress": [
                # All ports: beside each gRPC port is a lane, at any port.
                {"from": [{"podSelector": {"matchLabels": _graph_label(graph)}}]},
                {
                    "from": [{"namespaceSelector": {}}],
                    "ports": [{"protocol": "TCP", "port": METRICS_PORT}],
                },
            ],
        },
    }
    frontend: Object = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(names.frontend, labels(graph) | _graph_label(graph)),
        "spec": {
            "podSelector": {"matchLabels": _selector(graph, names.frontend)},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"protocol": "TCP", "port": HTTP_PORT}]}],
        },
    }
    wiring: Object = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(names.wiring, labels(graph) | _graph_label(graph)),
        "spec": {
            "podSelector": {"matchLabels": _selector(graph, names.wiring)},
            "policyTypes": ["Ingress"],
            "ingress": [
                {
                    "from": [{"namespaceSelector": {}}],
                    "ports": [{"protocol": "TCP", "port": WIRING_PORT}],
                }
            ],
        },
    }
    return [everywhere, frontend, wiring]


def _monitor(graph: ServingGraph, names: _Names) -> Object:
    token = {"type": "Bearer", "credentials": {"name": names.token, "key": "token"}}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": metadata(names.graph, labels(graph) | _graph_label(graph)),
        "spec": {
            "selector": {"matchLabels": _graph_label(graph)},
            "endpoints": [
                {"port": port, "path": "/metrics", "authorization": token}
                for port in ("metrics", "http")
            ],
        },
    }


# --- parts ----------------------------------------------------------------------------------


def _graph_label(graph: ServingGraph) -> dict[str, str]:
    return {f"{MANAGER}/graph": label_name(graph.name)}


def _selector(graph: ServingGraph, name: str) -> dict[str, str]:
    """What selects the pods of one object; never a version, which may change."""
    return _graph_label(graph) | {f"{MANAGER}/node": name}


def _service(
    name: str, own: dict[str, str], selector: dict[str, str], ports: dict[str, int]
) -> Object:
    """A name for the pods' own addresses, before they are ready, too: being wired makes them."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name, own),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector,
            "ports": [{"name": port, "port": number} for port, number in ports.items()],
        },
    }


def _budget(graph: ServingGraph, operator: Operator, name: str) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(name, labels(graph, operator) | _selector(graph, name)),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _selector(graph, name)}},
    }


def _spread(graph: ServingGraph, name: str) -> Object:
    """On different hosts and in different zones, where there are several."""
    selector = {"matchLabels": _selector(graph, name)}
    host = {"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"}
    return {
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 100, "podAffinityTerm": host}
                ]
            }
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": selector,
            }
        ],
    }


def _template(own: dict[str, str], annotations: dict[str, str], pod: Object) -> Object:
    about: Object = {"labels": own}
    if annotations:
        about["annotations"] = annotations
    return {"metadata": about, "spec": pod}


def _pod(names: _Names, containers: list[Object], operator: Operator | None = None) -> Object:
    """A pod's ``spec``. The token is copied for the pod's user: a process takes none that others
    could read, and a volume of a Secret is readable by a group at the least."""
    pod: Object = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    selector = node_selector(operator) if operator is not None else {}
    if selector:
        pod["nodeSelector"] = selector
    copy = f"umask 077 && cp /run/secret/token {_TOKEN_FILE}"
    pod["initContainers"] = [
        {
            "name": "token",
            "image": NODE_IMAGE,
            "command": ["sh", "-c", copy],
            "resources": _amounts("10m", "16Mi", "64Mi"),
            "securityContext": _READ_ONLY,
            "volumeMounts": [
                {"name": "secret", "mountPath": "/run/secret", "readOnly": True},
                {"name": "token", "mountPath": _TOKEN_FOLDER},
            ],
        }
    ]
    pod["containers"] = containers
    pod["volumes"] = [
        {"name": "secret", "secret": {"secretName": names.token}},
        {"name": "token", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    return pod


_CONFINED: Object = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
_READ_ONLY: Object = _CONFINED | {"readOnlyRootFilesystem": True}

_MOUNTS: list[Object] = [
    {"name": "token", "mountPath": _TOKEN_FOLDER, "readOnly": True},
    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  a folder of the pod's own
]


def _value(name: str, value: str) -> Object:
    return {"name": name, "value": value}


def _field(name: str, path: str) -> Object:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


_MODEL_NAME = _field("PROXY_NAME", "metadata.name")
_OWN_VARIABLES: list[Object] = [
    _field("LISTEN_IP", "status.podIP"),
    _value("EARG_TOKEN_FILE", _TOKEN_FILE),
]


def _amounts(cpu: str, memory: str, most: str) -> Object:
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": most}}
