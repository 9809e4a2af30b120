"""Graphs for KServe: an InferenceService for each operator, and an InferenceGraph of them.

The flows become the steps of an InferenceGraph: a Sequence from the entry on, with an Ensemble for
each fan-out whose branches meet in a join, a Switch and a Splitter for the flows that choose.
Source: KServe's public API reference, serving.kserve.io/v1beta1 (InferenceService) and v1alpha1
(InferenceGraph).
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from udgl.diagnostics import Diagnostic, Severity, UdglError, quote
from udgl.graph import Operator, ServingGraph
from udgl.targets import Compilation, OutputFile
from udgl.targets._composition import (
    CompositionError,
    Parallel,
    PartKind,
    Step,
    compose,
)
from udgl.targets._limits import Limit, in_order, limits
from udgl.targets._manifest import (
    Object,
    documents,
    environment,
    graph_annotations,
    label_name,
    labels,
    metadata,
    milliseconds,
    node_selector,
    object_names,
    operator_annotations,
    place,
    resources,
    whole_seconds,
)

if TYPE_CHECKING:
    from earg.condition import Condition

DESCRIPTION = "KServe InferenceServices and an InferenceGraph"

WRITES = "{name}-{version}.kserve.yaml"

CODES: dict[str, str] = {
    "KSERVE101": "An operator has no image.",
    "KSERVE102": "The flows have no composition of Sequence, Ensemble, Switch and Splitter.",
    "KSERVE103": "A condition that GJSON cannot say.",
    "KSERVE201": "A join is handed its replies in another form (a warning).",
    "KSERVE202": "KServe has no dynamic batch limit (a warning).",
    "KSERVE203": "KServe keeps no state of a model and has no backup (a warning).",
    "KSERVE204": "KServe does not compute a failed batch again (a warning).",
    "KSERVE205": "KServe trains no models (a warning).",
    "KSERVE206": "A condition on a value of another kind may hold otherwise (a warning).",
    "KSERVE301": "What has no meaning in KServe (a note).",
}

_LIMITS = {
    "reduce": Limit(
        "KSERVE201",
        Severity.WARNING,
        "hands its replies over as an object by operator, not as a list",
        "an Ensemble merges its replies so; the model has to take them by name",
    ),
    "several exits": Limit(
        "KSERVE201",
        Severity.WARNING,
        "is answered together with the others, as an object by operator",
    ),
    "switch": Limit(
        "KSERVE206",
        Severity.WARNING,
        "may choose another case where a value is of another kind than what it is compared with",
        'GJSON compares 0.7 and "0.7" as equal, and an object, a list or null with nothing',
    ),
    "batch dynamic": Limit(
        "KSERVE202",
        Severity.WARNING,
        "has a dynamic batch limit; KServe's batcher takes the most as a static one",
    ),
    "latency": Limit(
        "KSERVE202", Severity.WARNING, "has a latency objective, by which KServe does not steer"
    ),
    "stateful": Limit(
        "KSERVE203",
        Severity.WARNING,
        "is stateful: KServe runs one replica, whose state is lost with its pod",
    ),
    "backup": Limit("KSERVE203", Severity.WARNING, "has a backup; KServe has none"),
    "retries": Limit(
        "KSERVE204", Severity.WARNING, "has retries; KServe does not compute a failed batch again"
    ),
    "train": Limit(
        "KSERVE205", Severity.WARNING, "is trained; KServe serves what its image holds already"
    ),
    "entrypoint": Limit(
        "KSERVE301", Severity.NOTE, "has an entrypoint; in a container its image decides"
    ),
    "schedule": Limit("KSERVE301", Severity.NOTE, "is that of the Airflow DAG"),
}


def compile_graph(graph: ServingGraph) -> Compilation:
    """The one file ``{name}-{version}.kserve.yaml``, for ``kubectl apply -f``.

    Raises :class:`UdglError` where KServe cannot express ``graph``.
    """
    found: list[Diagnostic] = []
    for operator in graph.operators:
        if not operator.image:
            message = f"operator {quote(operator.name)} has no image; KServe runs containers"
            hint = "add 'image' beside 'entrypoint'"
            found.append(Diagnostic("KSERVE101", message, operator.span, hint))
    names = object_names(graph)
    flows = _Flows(names)
    try:
        flows.add_sequence("root", compose(graph))
    except CompositionError as error:
        hint = "an InferenceGraph nests: let every fan-out meet in one join"
        found.append(Diagnostic("KSERVE102", error.message, error.span, hint))
    found += flows.found
    if found:
        raise UdglError(graph.source, in_order(found))
    objects = [
        (
            f"{place(graph, operator.span)} operator {operator.name}",
            _service(graph, operator, names),
        )
        for operator in graph.operators
    ]
    if len(graph.operators) > 1:
        one = {
            "apiVersion": "serving.kserve.io/v1alpha1",
            "kind": "InferenceGraph",
            "metadata": metadata(label_name(graph.name), labels(graph), graph_annotations(graph)),
            "spec": {"nodes": flows.nodes},
        }
        objects.append((f"{place(graph, graph.span)} the flows", one))
    file = OutputFile(f"{graph.name}-{graph.version}.kserve.yaml", documents(objects))
    return Compilation((file,), in_order(limits(graph, _LIMITS)))


def _service(graph: ServingGraph, operator: Operator, names: dict[str, str]) -> Object:
    predictor: Object = {"minReplicas": operator.replicas, "maxReplicas": operator.replicas}
    if operator.timeout is not None:
        predictor["timeout"] = whole_seconds(operator.timeout)
    if operator.batch > 1:
        predictor["batcher"] = {
            "maxBatchSize": operator.batch,
            # Its least: without one, KServe's batcher waits for its own default.
            "maxLatency": milliseconds(operator.wait),
        }
    selector = node_selector(operator)
    if selector:
        predictor["nodeSelector"] = selector
    container: Object = {"name": "kserve-container", "image": operator.image}
    env = environment(operator)
    if env:
        container["env"] = env
    amounts = resources(operator)
    if amounts:
        container["resources"] = amounts
    predictor["containers"] = [container]
    own = operator_annotations(operator)
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata(names[operator.name], labels(graph, operator), own),
        "spec": {"predictor": predictor},
    }


@dataclass(slots=True)
class _Flows:
    """The nodes of the InferenceGraph as they are made, by their names, and what is wrong with
    them. ``services`` are the operators' InferenceServices."""

    services: dict[str, str]
    nodes: dict[str, Object] = field(default_factory=dict)
    found: list[Diagnostic] = field(default_factory=list)

    def add_sequence(self, node: str, steps: tuple[Step, ...]) -> None:
        """Add the node called ``node``, and those within it."""
        routes: list[Object] = []
        taken: set[str] = set()
        self.nodes[node] = {"routerType": "Sequence", "steps": routes}
        before = ""
        for step in steps:
            if isinstance(step, str):
                before = _unique(label_name(step), taken)
                taken.add(before)
                route: Object = {"serviceName": self.services[step], "name": before}
            else:
                inner = _unique(f"{before}-{_WORDS[step.kind]}", self.nodes)
                taken.add(inner)
                route = {"nodeName": inner, "name": inner}
                self._add_parallel(inner, step)
            if routes:
                route["data"] = "$response"
            # Without it a step that failed is passed over, and the next one gets its error.
            route["dependency"] = "Hard"
            routes.append(route)

    def _add_parallel(self, node: str, part: Parallel) -> None:
        routes: list[Object] = []
        taken: set[str] = set()
        self.nodes[node] = {"routerType": _ROUTERS[part.kind], "steps": routes}
        for number, branch in enumerate(part.branches):
            route: Object
            last = branch.steps[-1] if branch.steps else None
            if not branch.steps:
                target = part.flow.targets[number]
                message = f"the case of {quote(target)} passes what the other cases compute"
                raise CompositionError(message, part.flow.span)
            if len(branch.steps) == 1 and isinstance(last, str):
                name = label_name(last)
                route = {"serviceName": self.services[last]}
            else:
                first = branch.steps[0]
                assert isinstance(first, str)
                inner = _unique(f"{label_name(first)}-branch", self.nodes)
                # What the join gets is known by the operator that replies.
                name = label_name(last) if isinstance(last, str) else inner
                route = {"nodeName": inner}
                self.add_sequence(inner, branch.steps)
            route["name"] = _unique(name, taken)
            taken.add(route["name"])
            if part.kind is PartKind.SWITCH:
                condition = _gjson(branch.condition, number, part, self.found)
                if condition is not None:
                    route["condition"] = condition
            elif part.kind is PartKind.SPLIT:
                route["weight"] = branch.weight
            routes.append(route)


_WORDS = {PartKind.ALL: "all", PartKind.SWITCH: "switch", PartKind.SPLIT: "split"}
_ROUTERS = {PartKind.ALL: "Ensemble", PartKind.SWITCH: "Switch", PartKind.SPLIT: "Splitter"}


def _unique(name: str, taken: Container[str]) -> str:
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}-{number}"
    return found


def _gjson(
    condition: str | None, number: int, part: Parallel, found: list[Diagnostic]
) -> str | None:
    """The condition as a GJSON path that exists where it holds; of ``otherwise`` a path that always
    exists."""
    from earg.condition import parse_condition

    if condition is None:
        return "@this"
    spans = part.flow.case_spans
    span = spans[number] if number < len(spans) else part.flow.span
    queries = []
    further: Condition | None = parse_condition(condition)
    while further is not None:
        query = _query(further)
        if isinstance(query, Diagnostic):
            found.append(replace(query, span=span))
            return None
        queries.append(query)
        further = further.also
    # The first of the replies (there is one) that all queries leave.
    return "[@this]." + "#|".join(f"#({query})" for query in queries)


def _query(one: Condition) -> str | Diagnostic:
    """The comparison as a GJSON query, or why there is none."""
    import json

    from earg.condition import Comparison

    problem = None
    if one.comparison is Comparison.CONTAINS and not isinstance(one.value, str):
        problem = "GJSON has no 'contains' but for text", "compare with =="
    elif one.value is None:
        problem = "GJSON compares nothing with null", "let the model say it in another way"
    elif one.value == "":
        problem = "GJSON does not compare with an empty text", "let the model say it in a word"
    elif isinstance(one.value, str) and one.value.startswith("~"):
        problem = "a text that begins with '~' means something else in GJSON", "use another text"
    if problem is not None:
        return Diagnostic("KSERVE103", problem[0], None, problem[1])
    path = ".".join(_key(step) for step in one.path)
    if one.comparison is Comparison.CONTAINS:
        assert isinstance(one.value, str)
        escaped = "".join(f"\\{c}" if c in "*?\\" else c for c in one.value)
        return f"{path}%{json.dumps(f'*{escaped}*', ensure_ascii=False)}"
    return f"{path}{one.comparison.value}{json.dumps(one.value, ensure_ascii=False)}"


def _key(step: str | int) -> str:
    """A step of a path; what GJSON would read as syntax is escaped."""
    return "".join(c if c.isalnum() or c in "_-" else f"\\{c}" for c in str(step))
