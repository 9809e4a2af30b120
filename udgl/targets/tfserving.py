"""Graphs for TensorFlow Serving: the models, how they batch, and metrics.

TensorFlow Serving serves SavedModels and knows no flows between them: clients call each model.
Start it with ``--model_config_file``, ``--enable_batching --batching_parameters_file`` and
``--monitoring_config_file``, each with the file of that name; with
``--enable_per_model_batching_parameters`` it takes the limits of each model from the files beside
the models. Source: TensorFlow Serving's configuration guide, ``model_server_config.proto``,
``session_bundle_config.proto`` and ``monitoring_config.proto``.
"""

from __future__ import annotations

from collections.abc import Iterator

from udgl.diagnostics import Diagnostic, Severity, listing, quote
from udgl.graph import Operator, ServingGraph
from udgl.targets import Compilation, OutputFile
from udgl.targets._limits import Limit, in_order, limits
from udgl.targets._manifest import place
from udgl.targets._numbered import is_numbered, version_number
from udgl.targets._text_proto import Fields, string, text_proto

DESCRIPTION = "TensorFlow Serving's model, batching and monitoring configs"

WRITES = "a folder {name}-{version}.tfserving: models, batching and monitoring configs"

CODES: dict[str, str] = {
    "TFS201": "A flow is left to the client (a warning).",
    "TFS202": "A model is served from a SavedModel, not from an image or a class (a warning).",
    "TFS203": "A version that is no number (a warning).",
    "TFS204": "TensorFlow Serving keeps no state of a model (a warning).",
    "TFS205": "TensorFlow Serving has no dynamic batch limit (a warning).",
    "TFS206": "What is a matter of the server as a whole, or of its clients (a warning).",
    "TFS301": "What has no meaning in TensorFlow Serving (a note).",
}

_LIMITS = {
    "several exits": Limit("TFS201", Severity.WARNING, "is left to the client"),
    "several inputs": Limit("TFS201", Severity.WARNING, "gets its inputs from the client"),
    "entrypoint": Limit(
        "TFS202", Severity.WARNING, "has an entrypoint; TensorFlow Serving serves a SavedModel"
    ),
    "batch dynamic": Limit(
        "TFS205", Severity.WARNING, "has a dynamic batch limit; the most is taken as a static one"
    ),
    "latency": Limit(
        "TFS205", Severity.WARNING, "has a latency objective, by which nothing is steered there"
    ),
    "stateful": Limit(
        "TFS204", Severity.WARNING, "is stateful; TensorFlow Serving computes each request alone"
    ),
    "backup": Limit("TFS204", Severity.WARNING, "has a backup; TensorFlow Serving has none"),
    "train": Limit("TFS202", Severity.WARNING, "is trained; export its SavedModel into its folder"),
    **{
        word: Limit("TFS206", Severity.WARNING, f"has {what}, a matter of the server's clients")
        for word, what in (("timeout", "a timeout"), ("retries", "retries"))
    },
    **{
        word: Limit("TFS206", Severity.WARNING, f"has {what}, a matter of the server as a whole")
        for word, what in (
            ("replicas", "replicas"),
            ("cpu", "cpu"),
            ("memory", "memory"),
            ("gpu", "a gpu"),
            ("host", "a host"),
            ("env", "env"),
        )
    },
    **{
        word: Limit("TFS301", Severity.NOTE, "is in the SavedModel's signature")
        for word in ("input", "output")
    },
    **{
        word: Limit("TFS301", Severity.NOTE, "stands nowhere in TensorFlow Serving's files")
        for word in ("description", "owner", "tags", "schedule")
    },
}


def compile_graph(graph: ServingGraph) -> Compilation:
    """``models.config``, ``batching.config`` and ``monitoring.config``, and a
    ``batching_params.pbtxt`` for each model, below ``{name}-{version}.tfserving/``.
    """
    found = list(_check(graph))
    root = f"{graph.name}-{graph.version}.tfserving"
    head: Fields = [("#", f"{place(graph, graph.span)} graph {graph.name} version {graph.version}")]
    models: Fields = [
        *head,
        ("model_config_list", [("config", _model(graph, o)) for o in graph.operators]),
    ]
    # What a model without limits of its own gets.
    most = max(graph.operators, key=lambda operator: operator.batch)
    monitoring: Fields = [
        *head,
        (
            "prometheus_config",
            [("enable", "true"), ("path", string("/monitoring/prometheus/metrics"))],
        ),
    ]
    files = [
        OutputFile(f"{root}/models.config", text_proto(models)),
        OutputFile(f"{root}/batching.config", text_proto([*head, *_batching(most)])),
        OutputFile(f"{root}/monitoring.config", text_proto(monitoring)),
    ]
    for operator in graph.operators:
        comment = f"{place(graph, operator.span)} operator {operator.name}"
        text = text_proto([("#", comment), *_batching(operator)])
        name = f"{root}/{operator.name}/{version_number(operator)}/batching_params.pbtxt"
        files.append(OutputFile(name, text))
    return Compilation(tuple(files), in_order(found))


def _check(graph: ServingGraph) -> Iterator[Diagnostic]:
    yield from limits(graph, _LIMITS)
    for flow in graph.flows:
        message = f"{listing(flow.sources)} → {listing(flow.targets)} is left to the client"
        hint = "TensorFlow Serving knows no flows: the client calls each model"
        yield Diagnostic("TFS201", message, flow.span, hint, Severity.WARNING)
    for operator in graph.operators:
        if operator.image:
            message = f"image {quote(operator.image)} is not run by TensorFlow Serving"
            hint = f"put its SavedModel into {_folder(operator)}/{version_number(operator)}/"
            span = operator.span_of("image")
            yield Diagnostic("TFS202", message, span, hint, Severity.WARNING)
        if not is_numbered(operator):
            message = f"version {quote(operator.version)} is no whole number; 1 is served"
            span = operator.span_of("version")
            yield Diagnostic("TFS203", message, span, None, Severity.WARNING)


def _folder(operator: Operator) -> str:
    return f"/models/{operator.name}"


def _model(graph: ServingGraph, operator: Operator) -> Fields:
    return [
        ("#", f"{place(graph, operator.span)} operator {operator.name}"),
        ("name", string(operator.name)),
        ("base_path", string(_folder(operator))),
        ("model_platform", string("tensorflow")),
        ("model_version_policy", [("specific", [("versions", version_number(operator))])]),
    ]


def _batching(operator: Operator) -> Fields:
    return [
        ("max_batch_size", [("value", str(operator.batch))]),
        ("batch_timeout_micros", [("value", str(round(operator.wait * 1_000_000)))]),
    ]
