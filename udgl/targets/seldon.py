"""Graphs for Seldon Core 2: a Server and a Model for each operator, and Pipelines of them.

Seldon Core 2 runs no images as such: it loads artefacts into inference servers. So each operator
has a server of its own, an MLServer whose container is the operator's image, and a model there,
whose artefact is a folder with ``model-settings.json``; of an operator with an entrypoint the
folder holds a small runtime as well, which computes its class.

The flows are the inputs of a Pipeline's steps. A split chooses by weight alone, so it is made
before the request begins: there is a Pipeline for each alternative, and an Experiment that shares
the requests out. Batches are MLServer's: a Pipeline's own ``batch`` makes one request of several
and answers the last of them alone. Source: the public API reference, mlops.seldon.io/v1alpha1, and
MLServer's model settings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from udgl.diagnostics import Diagnostic, Severity, UdglError, listing, quote
from udgl.graph import FlowKind, Operator, ServingGraph
from udgl.targets import Compilation, OutputFile
from udgl.targets._alternatives import (
    MOST,
    Alternative,
    TooManyWaysError,
    alternatives,
    sources,
)
from udgl.targets._limits import Limit, in_order, limits
from udgl.targets._manifest import (
    Object,
    documents,
    environment,
    graph_annotations,
    label_name,
    labels,
    memory_quantity,
    metadata,
    node_selector,
    object_names,
    operator_annotations,
    place,
    resources,
)
from udgl.targets._payloads import as_tensor

DESCRIPTION = "Seldon Core 2 Servers, Models and Pipelines, with an Experiment for a split"

WRITES = (
    "{name}-{version}.seldon.yaml, and the models' folders to upload in {name}-{version}.seldon/"
)

CODES: dict[str, str] = {
    "SELDON101": "A switch: Seldon's pipelines do not choose by a value.",
    "SELDON102": "An operator has several inputs that are no join and no alternatives.",
    "SELDON103": "A join waits for an operator that a split leaves out.",
    "SELDON104": "The splits leave too many alternatives.",
    "SELDON201": "The models' folders have to be uploaded (a warning).",
    "SELDON202": "An image has to be an MLServer that knows its model (a warning).",
    "SELDON203": "Seldon has no dynamic batch limit (a warning).",
    "SELDON204": "Seldon keeps no state of a model and has no backup (a warning).",
    "SELDON205": "Seldon gives a step no time limit and computes none again (a warning).",
    "SELDON206": "Seldon trains no models (a warning).",
    "SELDON207": "A tensor of bf16 goes as fp32 (a warning).",
    "SELDON301": "What has no meaning in Seldon (a note).",
}

BUCKET = "s3://hogar"
"""Where the models' folders are loaded from: a bucket that the cluster's rclone knows."""

_LIMITS = {
    "batch dynamic": Limit(
        "SELDON203",
        Severity.WARNING,
        "has a dynamic batch limit; MLServer takes the most as a static one",
    ),
    "latency": Limit(
        "SELDON203", Severity.WARNING, "has a latency objective, by which MLServer does not steer"
    ),
    "stateful": Limit(
        "SELDON204",
        Severity.WARNING,
        "is stateful: its state is in one replica of its server, and lost with the pod",
    ),
    "backup": Limit("SELDON204", Severity.WARNING, "has a backup; Seldon has none"),
    "timeout": Limit("SELDON205", Severity.WARNING, "has a timeout; a step of a Pipeline has none"),
    "retries": Limit(
        "SELDON205", Severity.WARNING, "has retries; Seldon does not compute a failed batch again"
    ),
    "train": Limit(
        "SELDON206", Severity.WARNING, "is trained; Seldon serves what is in its artefact"
    ),
    "schedule": Limit("SELDON301", Severity.NOTE, "is that of the Airflow DAG"),
}


def compile_graph(graph: ServingGraph) -> Compilation:
    """``{name}-{version}.seldon.yaml`` for ``kubectl apply -f``, and below
    ``{name}-{version}.seldon/`` the models' folders, to be uploaded to :data:`BUCKET`.

    Raises :class:`UdglError` where Seldon cannot express ``graph``.
    """
    found = [*limits(graph, _LIMITS), *_check(graph)]
    ways: tuple[Alternative, ...] = ()
    try:
        ways = alternatives(graph)
    except TooManyWaysError as error:
        message = f"the splits leave more than {MOST} ways through the graph, a Pipeline each"
        found.append(Diagnostic("SELDON104", message, error.flow.span, "split in fewer places"))
    found += _check_ways(graph, ways)
    if any(diagnostic.severity is Severity.ERROR for diagnostic in found):
        raise UdglError(graph.source, in_order(found))
    names = object_names(graph)
    root = f"{graph.name}-{graph.version}.seldon"
    inputs = {name: tensors for one in ways for name, tensors in _inputs(graph, one).items()}
    objects: list[tuple[str, Object]] = []
    files = []
    for operator in graph.operators:
        name = names[operator.name]
        comment = f"{place(graph, operator.span)} operator {operator.name}"
        objects += [
            (comment, _server(graph, operator, name)),
            (comment, _model(graph, operator, name, f"{BUCKET}/{root}/{name}")),
        ]
        settings = _settings(graph, operator, name, inputs[operator.name])
        text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
        files.append(OutputFile(f"{root}/{name}/model-settings.json", text))
        if operator.entrypoint is not None:
            files.append(OutputFile(f"{root}/{name}/{_MODULE}.py", _RUNTIME))
    objects += _flows(graph, ways, names)
    yaml = OutputFile(f"{root}.yaml", documents(objects))
    return Compilation((yaml, *files), in_order(found))


def _check(graph: ServingGraph) -> Iterator[Diagnostic]:
    root = f"{graph.name}-{graph.version}.seldon"
    message = f"the folder {root} has to be uploaded to {BUCKET}/{root}: Seldon loads models"
    hint = "rclone copy it there, or write your own bucket at each storageUri"
    yield Diagnostic("SELDON201", message, graph.span, hint, Severity.WARNING)
    for flow in graph.flows:
        if flow.kind is FlowKind.SWITCH:
            source = flow.sources[0]
            message = f"the switch of {quote(source)} chooses by what is in a reply"
            hint = "a Pipeline's steps wait for tensors, whatever their values: choose in a model"
            yield Diagnostic("SELDON101", message, flow.span, hint)
    for operator in graph.operators:
        if operator.image:
            classes = "its class's package" if operator.entrypoint else "its own runtime"
            message = f"image {quote(operator.image)} has to be an MLServer with {classes}"
            hint = (
                "start it FROM seldonio/mlserver"
                if operator.entrypoint
                else "start it FROM seldonio/mlserver and set MLSERVER_MODEL_IMPLEMENTATION in it"
            )
        else:
            message = (
                f"the package of {quote(operator.entrypoint or '')} is not in MLServer's image"
            )
            hint = "add an 'image' that holds it, FROM seldonio/mlserver"
        span = operator.span_of("image" if operator.image else "entrypoint")
        yield Diagnostic("SELDON202", message, span, hint, Severity.WARNING)
        for word, payload in (("input", operator.input), ("output", operator.output)):
            if as_tensor(payload).element == "bf16":
                message = f"the {word} of {quote(operator.name)} is fp32 in Seldon"
                span = operator.span_of(word)
                yield Diagnostic("SELDON207", message, span, None, Severity.WARNING)


def _check_ways(graph: ServingGraph, ways: tuple[Alternative, ...]) -> Iterator[Diagnostic]:
    seen: set[tuple[str, str]] = set()
    for one in ways:
        for name, (single, joined) in sources(graph, one).items():
            operator = graph.operator(name)
            missing = [source for source in joined if source not in one.reached]
            if missing and ("join", name) not in seen:
                seen.add(("join", name))
                message = f"the join {quote(name)} waits for {listing(missing)}, which a split "
                message += "may leave out"
                yield Diagnostic("SELDON103", message, operator.span, "join what is always sent")
            if (len(single) > 1 or (single and joined)) and ("several", name) not in seen:
                seen.add(("several", name))
                message = f"{quote(name)} gets requests from {listing([*single, *joined])} one by "
                message += "one"
                hint = "a Pipeline computes a step once a request: write them under 'reduce'"
                yield Diagnostic("SELDON102", message, operator.span, hint)


def _server(graph: ServingGraph, operator: Operator, name: str) -> Object:
    # A container of this name is merged with the one of the server's configuration.
    container: Object = {"name": "mlserver"}
    if operator.image:
        container["image"] = operator.image
    env = environment(operator)
    if env:
        container["env"] = env
    amounts = resources(operator)
    if amounts:
        container["resources"] = amounts
    pod: Object = {}
    selector = node_selector(operator)
    if selector:
        pod["nodeSelector"] = selector
    if len(container) > 1:
        pod["containers"] = [container]
    spec: Object = {"serverConfig": "mlserver", "replicas": operator.replicas}
    if pod:
        spec["podSpec"] = pod
    return _object("Server", name, labels(graph, operator), {}, spec)


def _model(graph: ServingGraph, operator: Operator, name: str, uri: str) -> Object:
    spec: Object = {"storageUri": uri, "server": name, "replicas": operator.replicas}
    if operator.memory is not None:
        spec["memory"] = memory_quantity(operator.memory)
    own = operator_annotations(operator)
    return _object("Model", name, labels(graph, operator), own, spec)


def _object(
    kind: str, name: str, own: dict[str, str], annotations: dict[str, str], spec: Object
) -> Object:
    return {
        "apiVersion": "mlops.seldon.io/v1alpha1",
        "kind": kind,
        "metadata": metadata(name, own, annotations),
        "spec": spec,
    }


def _inputs(graph: ServingGraph, one: Alternative) -> dict[str, list[tuple[str, str]]]:
    """For each operator that is reached its inputs as (name of the tensor, operator it comes from,
    or '' for the client's request)."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, (single, joined) in sources(graph, one).items():
        if joined:
            found[name] = [(f"INPUT{number}", source) for number, source in enumerate(joined)]
        else:
            found[name] = [("INPUT", single[0] if single else "")]
    return found


def _flows(
    graph: ServingGraph, ways: tuple[Alternative, ...], names: dict[str, str]
) -> Iterator[tuple[str, Object]]:
    """The Pipelines, and the Experiment where there are several."""
    whole = label_name(graph.name)
    where = place(graph, graph.span)
    annotations = graph_annotations(graph)
    if len(ways) == 1:
        spec = _pipeline(graph, ways[0], names)
        yield f"{where} the flows", _object("Pipeline", whole, labels(graph), annotations, spec)
        return
    candidates: list[Object] = []
    taken: set[str] = set()
    for one in ways:
        targets = [target for _, target in one.chosen]
        name = label_name(f"{graph.name}-by-{'-'.join(targets)}")
        if name in taken:
            name = label_name(f"{name}-{len(taken)}")
        taken.add(name)
        candidates.append({"name": name, "weight": one.weight})
        spec = _pipeline(graph, one, names)
        comment = f"{where} the flows by way of {', '.join(targets)}"
        yield comment, _object("Pipeline", name, labels(graph), {}, spec)
    span = next(flow.span for flow in graph.flows if flow.kind is FlowKind.SPLIT)
    comment = f"{place(graph, span)} requests go to {whole}.experiment"
    spec = {"resourceType": "pipeline", "candidates": candidates}
    yield comment, _object("Experiment", whole, labels(graph), annotations, spec)


def _pipeline(graph: ServingGraph, one: Alternative, names: dict[str, str]) -> Object:
    steps = []
    sending: set[str] = set()
    for name, tensors in _inputs(graph, one).items():
        step: Object = {"name": names[name]}
        given = [(tensor, source) for tensor, source in tensors if source]
        sending.update(source for _, source in given)
        if given:
            step["inputs"] = [names[source] for _, source in given]
            if len(given) > 1:
                step["inputsJoinType"] = "inner"
            step["tensorMap"] = {_output(names[source]): tensor for tensor, source in given}
        steps.append(step)
    exits = [name for name in one.reached if name not in sending]
    output: Object = {"steps": [names[name] for name in exits]}
    if len(exits) > 1:
        output["stepsJoin"] = "inner"
        output["tensorMap"] = {_output(names[name]): f"OUTPUT_{name}" for name in exits}
    return {"steps": steps, "output": output}


def _output(step: str) -> str:
    return f"{step}.outputs.OUTPUT"


def _settings(
    graph: ServingGraph, operator: Operator, name: str, inputs: list[tuple[str, str]]
) -> Object:
    """What MLServer reads of a model's folder."""
    settings: Object = {"name": name}
    if operator.entrypoint is not None:
        settings["implementation"] = f"{_MODULE}.HogarRuntime"
    if operator.batch > 1:
        settings["max_batch_size"] = operator.batch
        # Without a time to wait MLServer makes no batches.
        settings["max_batch_time"] = max(operator.wait, 0.001)
    tensors = []
    for tensor, source in inputs:
        declared = operator.input
        if source and (len(inputs) > 1 or declared is None):
            declared = graph.operator(source).output or declared
        tensors.append(_tensor(tensor, declared))
    settings["inputs"] = tensors
    settings["outputs"] = [_tensor("OUTPUT", operator.output)]
    parameters: Object = {"version": operator.version}
    if operator.entrypoint is not None:
        declared = operator.input
        parameters["extra"] = {
            "entrypoint": operator.entrypoint,
            "content": declared
            if declared in ("text", "json")
            else "bytes"
            if declared
            else "text",
        }
    settings["parameters"] = parameters
    return settings


def _tensor(name: str, payload: str | None) -> Object:
    tensor = as_tensor(payload)
    kind = {"bf16": "fp32"}.get(tensor.element, tensor.element).upper()
    return {"name": name, "datatype": kind, "shape": [-1, *tensor.shape]}


_MODULE = "hogar_runtime"

_RUNTIME = '''\
"""MLServer's runtime of an operator's class, which model-settings.json beside this file names.

It needs the class's package in the server's image.
"""

import asyncio
import json
from importlib import import_module

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceResponse, ResponseOutput


class HogarRuntime(MLModel):
    async def load(self):
        extra = self.settings.parameters.extra
        module, _, name = extra["entrypoint"].partition(":")
        self.content = extra["content"]
        self.model = getattr(import_module(module), name)()
        return True

    async def predict(self, payload):
        given = {tensor.name: tensor for tensor in payload.inputs}
        missing = [tensor.name for tensor in self.inputs if tensor.name not in given]
        if missing:
            raise InferenceError(f"the request has no tensor {', '.join(missing)}")
        columns = [self.rows(given[tensor.name]) for tensor in self.inputs]
        requests = [
            list(row) if len(columns) > 1 else row[0] for row in zip(*columns, strict=True)
        ]
        replies = await asyncio.to_thread(self.compute, requests)
        return InferenceResponse(
            id=payload.id,
            model_name=self.name,
            model_version=self.version,
            outputs=[self.output(replies)],
        )

    def compute(self, requests):
        if hasattr(self.model, "predict_batch"):
            return list(self.model.predict_batch(requests))
        return [self.model.predict(request) for request in requests]

    def rows(self, tensor):
        """A tensor's requests, as the class takes them."""
        if tensor.datatype != "BYTES":
            return list(NumpyCodec.decode_input(tensor))
        return [self.take(element) for element in flat(tensor.data)]

    def take(self, element):
        data = element.encode() if isinstance(element, str) else bytes(element)
        if self.content == "bytes":
            return data
        return json.loads(data) if self.content == "json" else data.decode()

    def output(self, replies):
        declared = self.outputs[0]
        if declared.datatype != "BYTES":
            kind = declared.datatype.lower().replace("fp", "float")
            return NumpyCodec.encode_output("OUTPUT", np.asarray(replies, dtype=kind))
        data = [give(reply) for reply in replies]
        return ResponseOutput(
            name="OUTPUT", datatype="BYTES", shape=[len(data), 1], data=data
        )


def flat(data):
    """The elements of a tensor of BYTES, which JSON may nest."""
    data = getattr(data, "root", data)
    if isinstance(data, (bytes, str)):
        return [data]
    found = []
    for one in data:
        found.extend(flat(one) if isinstance(one, list) else [one])
    return found


def give(reply):
    if isinstance(reply, bytes):
        return reply
    return (reply if isinstance(reply, str) else json.dumps(reply)).encode()
'''
