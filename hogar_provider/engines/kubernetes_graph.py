"""A graph's Kubernetes objects, by what they are for: made from its plan, and found again by it.

The plan is the graph's EARG config with its extras, as every agent gets it; it is in the cluster as
well, in the ConfigMap that the wiring mounts. So an agent keeps nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from earg.config import NodeSpec
from earg.images import Implementation
from earg.plan import Plan, read_plan
from earg.wiring_places import Places, read_places
from hogar_provider.engines.kubernetes_api import Object, labels_of, name_of
from hogar_provider.engines.kubernetes_apply import NODE_LABEL
from udgl.diagnostics import UdglError
from udgl.targets import target
from udgl.targets._earg_back import to_graph
from udgl.targets._pairs import CONFIG, EXTRAS, PLACES

WORKLOADS = ("Deployment", "StatefulSet")

MODEL = "model"
"""The container of a node's pods that computes; the other is ``proxy``."""


class GraphError(ValueError):
    """A graph that cannot run in Kubernetes, as sentences."""


@dataclass(frozen=True, slots=True)
class GraphObjects:
    """The objects of a graph, each kind of them in the order of the compiled file.

    ``nodes`` has those of each node by its index; ``shared`` are what all pods need. ``frontend``
    and ``wiring`` are names of Deployments, ``public`` is that of the Service for clients,
    ``secret`` of the Secret with the token.
    """

    name: str
    version: str
    plan: Plan = field(repr=False)
    places: Places
    config: Object
    nodes: tuple[tuple[Object, ...], ...]
    frontend_objects: tuple[Object, ...]
    wiring_objects: tuple[Object, ...]
    shared: tuple[Object, ...]
    frontend: str
    wiring: str
    public: str
    secret: str

    @property
    def all(self) -> Iterator[Object]:
        """All of them."""
        yield self.config
        yield from self.shared
        for one in self.nodes:
            yield from one
        yield from self.frontend_objects
        yield from self.wiring_objects

    @property
    def kept(self) -> frozenset[tuple[str, str]]:
        """Kind and name of all of them."""
        return frozenset((one["kind"], name_of(one)) for one in self.all)

    def node_label(self, index: int) -> str:
        """The label of the pods that hold the proxies of node ``index``; 0 is the frontend."""
        if index == 0:
            return self.frontend
        return _service_of(self.places.nodes[index - 1][0].proxy)

    def labels_of_node(self, index: int) -> tuple[str, ...]:
        """The labels of all of a node's pods: of its pairs, and of further replicas."""
        if index == 0:
            return (self.frontend,)
        workloads = (one for one in self.nodes[index - 1] if one["kind"] in WORKLOADS)
        return tuple(labels_of(one)[NODE_LABEL] for one in workloads)


def check_image(spec: NodeSpec, implementation: Implementation) -> None:
    """Raise :class:`GraphError` where a node's image is none: an operator that has a Python class
    alone is named by that."""
    if spec.image and spec.image == implementation.entrypoint:
        raise GraphError(
            f"operator {spec.name!r} has no image, only the class {spec.image}; the kubernetes "
            "engine runs images: add 'image', one with the class in it is three lines "
            "(docs/containers.md)"
        )


def with_implementation(
    objects: tuple[Object, ...], implementation: Implementation
) -> tuple[Object, ...]:
    """A node's objects whose models run this class, with this environment. Of two values of a
    variable that of the graph's own extras, which is there already, wins."""
    given = dict(implementation.environment)
    if implementation.entrypoint:
        given["EARG_ENTRYPOINT"] = implementation.entrypoint
    if not given:
        return objects
    return tuple(
        _with_environment(one, given) if one["kind"] in WORKLOADS else one for one in objects
    )


def _with_environment(workload: Object, given: dict[str, str]) -> Object:
    found = copy.deepcopy(workload)
    for container in found["spec"]["template"]["spec"]["containers"]:
        if container["name"] == MODEL:
            known = {variable["name"] for variable in container["env"]}
            container["env"] += [
                {"name": name, "value": value} for name, value in given.items() if name not in known
            ]
    return found


@lru_cache(maxsize=64)
def compile_objects(name: str, version: str, plan: Plan) -> GraphObjects:
    """What ``udgl compile -t kubernetes`` writes for the graph of a plan. Raises
    :class:`GraphError`. The objects are shared: change copies of them."""
    import yaml

    graph = to_graph(name, version, plan.config, plan.extras)
    try:
        compilation = target("kubernetes").compile_graph(graph)
    except UdglError as error:
        raise GraphError("; ".join(one.message for one in error.diagnostics)) from None
    (text,) = (file.text for file in compilation.files if file.name.endswith("kubernetes.yaml"))
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return _sort(name, version, plan, list(yaml.load_all(text, Loader=loader)))


def _sort(name: str, version: str, plan: Plan, objects: list[Object]) -> GraphObjects:
    (compiled,) = (one for one in objects if one["kind"] == "ConfigMap")
    # The plan's own texts, letter by letter: by them it is known again.
    data = compiled["data"] | {CONFIG: plan.text}
    if plan.extras_text:
        data[EXTRAS] = plan.extras_text
    config = compiled | {"data": data}
    places = read_places(data[PLACES], plan.config)
    node_of: dict[str, int] = {}
    for index, pairs in enumerate(places.nodes):
        for pair in pairs:
            for host in (pair.proxy, *pair.models):
                node_of[_service_of(host)] = index
    nodes: list[list[Object]] = [[] for _ in places.nodes]
    frontend, wiring, shared = [], [], []
    for one in objects:
        own = name_of(one)
        if one["kind"] == "NetworkPolicy":
            shared.append(one)
        elif own in node_of:
            nodes[node_of[own]].append(one)
        elif own == places.frontend or _selects(one, places.frontend):
            frontend.append(one)
        elif one is not compiled:
            wiring.append(one)
    (public,) = (one for one in frontend if one["kind"] == "Service" and _is_public(one))
    (wirer,) = (one for one in wiring if one["kind"] == "Deployment")
    volumes = wirer["spec"]["template"]["spec"]["volumes"]
    (secret,) = (one["secret"]["secretName"] for one in volumes if "secret" in one)
    return GraphObjects(
        name=name,
        version=version,
        plan=plan,
        places=places,
        config=config,
        nodes=tuple(map(tuple, nodes)),
        frontend_objects=tuple(frontend),
        wiring_objects=tuple(wiring),
        shared=tuple(shared),
        frontend=places.frontend,
        wiring=name_of(wirer),
        public=name_of(public),
        secret=secret,
    )


def _service_of(host: str) -> str:
    """The Service that gives a pod its name: ``pod.service``, or the Service's own."""
    first, _, service = host.partition(".")
    return service or first


def _selects(one: Object, label: str) -> bool:
    selected = one["spec"].get("selector", {}) if one["kind"] == "Service" else {}
    return bool(selected.get(NODE_LABEL) == label)


def _is_public(service: Object) -> bool:
    return bool(service["spec"].get("clusterIP") != "None")


def read_config_map(one: Object) -> GraphObjects:
    """The graph that a ConfigMap in the cluster holds; raises :class:`GraphError` where its texts
    are no graph."""
    data = one.get("data") or {}
    try:
        plan = read_plan(data[CONFIG], data.get(EXTRAS, ""))
        places = read_places(data[PLACES], plan.config)
    except KeyError as error:
        raise GraphError(f"ConfigMap {name_of(one)} has no {error.args[0]}") from None
    except ValueError as error:
        raise GraphError(f"ConfigMap {name_of(one)}: {error}") from None
    return compile_objects(places.name, places.version, plan)
