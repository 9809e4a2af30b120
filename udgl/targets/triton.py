"""Graphs for NVIDIA Triton: a model repository with a model for each operator, and their ensemble.

An operator with an entrypoint becomes a model of Triton's Python backend that is complete; of one
with an image alone the configuration is written, and its files have to be put beside it, as Triton
runs no containers. Source: Triton's model configuration (``model_config.proto``) and the
documentation of its repository, ensembles and Python backend.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from udgl.diagnostics import Diagnostic, Severity, UdglError, listing, quote
from udgl.graph import FlowKind, Operator, ServingGraph
from udgl.targets import Compilation, OutputFile
from udgl.targets._limits import Limit, in_order, limits
from udgl.targets._manifest import place
from udgl.targets._numbered import is_numbered, version_number
from udgl.targets._payloads import Tensor, as_tensor
from udgl.targets._text_proto import string

DESCRIPTION = "a Triton model repository with an ensemble"

WRITES = "a folder {name}-{version}.triton: config.pbtxt and model.py files"

CODES: dict[str, str] = {
    "TRITON101": "A flow that chooses: an ensemble sends every request along every edge.",
    "TRITON102": "An operator has several inputs that are no join.",
    "TRITON103": "The ensemble and a model would have the same name.",
    "TRITON201": "An image is not run; the model's files have to be put into the repository"
    " (a warning).",
    "TRITON202": "A version that is no number (a warning).",
    "TRITON203": "Triton has no dynamic batch limit (a warning).",
    "TRITON204": "State is kept by sequence, and has no backup (a warning).",
    "TRITON205": "Triton does not compute a failed batch again (a warning).",
    "TRITON206": "A timeout holds for the time in the queue alone (a warning).",
    "TRITON207": "What is a matter of the server as a whole (a warning).",
    "TRITON208": "Triton trains no models (a warning).",
    "TRITON301": "What has no meaning in Triton (a note).",
}

_LIMITS = {
    "switch": Limit(
        "TRITON101",
        Severity.ERROR,
        "chooses; an ensemble sends every request along every edge",
        "let an operator choose within its own code, or use another platform",
    ),
    "split": Limit(
        "TRITON101",
        Severity.ERROR,
        "chooses; an ensemble sends every request along every edge",
        "let clients choose between two ensembles",
    ),
    "batch dynamic": Limit(
        "TRITON203", Severity.WARNING, "has a dynamic batch limit; Triton takes the most as static"
    ),
    "latency": Limit(
        "TRITON203", Severity.WARNING, "has a latency objective, by which Triton does not steer"
    ),
    "stateful": Limit(
        "TRITON204",
        Severity.WARNING,
        "is stateful: in Triton clients name the sequence of each request, and its state is lost "
        "with the server",
    ),
    "backup": Limit("TRITON204", Severity.WARNING, "has a backup; Triton has none"),
    "retries": Limit(
        "TRITON205", Severity.WARNING, "has retries; Triton does not compute a failed batch again"
    ),
    "timeout": Limit(
        "TRITON206", Severity.WARNING, "has a timeout; Triton's holds for the time in the queue"
    ),
    "cpu": Limit("TRITON207", Severity.WARNING, "asks for cpu; Triton's models share the server's"),
    "memory": Limit(
        "TRITON207", Severity.WARNING, "asks for memory; Triton's models share the server's"
    ),
    "host": Limit(
        "TRITON207", Severity.WARNING, "names a host; a repository is served where its server is"
    ),
    "train": Limit(
        "TRITON208", Severity.WARNING, "is trained; Triton serves what is in its repository"
    ),
    "schedule": Limit("TRITON301", Severity.NOTE, "is that of the Airflow DAG"),
}

_TYPES = {"bytes": "TYPE_STRING", "bool": "TYPE_BOOL"}


def compile_graph(graph: ServingGraph) -> Compilation:
    """The repository's files, below ``{name}-{version}.triton/``.

    Raises :class:`UdglError` where an ensemble cannot express ``graph``.
    """
    found = [*limits(graph, _LIMITS), *_check(graph)]
    if any(diagnostic.severity is Severity.ERROR for diagnostic in found):
        raise UdglError(graph.source, in_order(found))
    root = f"{graph.name}-{graph.version}.triton"
    inputs = _inputs(graph)
    files = []
    for operator in graph.operators:
        folder = f"{root}/{operator.name}"
        text = _config(graph, operator, inputs[operator.name])
        files.append(OutputFile(f"{folder}/config.pbtxt", text))
        if operator.entrypoint is not None:
            model = f"{folder}/{version_number(operator)}/model.py"
            files.append(OutputFile(model, _python_model(graph, operator, inputs[operator.name])))
    if len(graph.operators) > 1:
        text = _ensemble(graph, inputs)
        files.append(OutputFile(f"{root}/{graph.name}/config.pbtxt", text))
        # Triton wants a version of an ensemble as well; a folder has to hold something to be one.
        note = "An ensemble has no files of its own.\n"
        files.append(OutputFile(f"{root}/{graph.name}/1/README", note))
    return Compilation(tuple(files), in_order(found))


def _check(graph: ServingGraph) -> Iterator[Diagnostic]:
    spread: dict[str, list[str]] = {}
    joined: set[str] = set()
    for flow in graph.flows:
        for target in flow.targets:
            if flow.kind is FlowKind.DISTRIBUTE:
                spread.setdefault(target, []).append(flow.sources[0])
            elif flow.kind is FlowKind.REDUCE:
                joined.add(target)
    for operator in graph.operators:
        name, sources = operator.name, spread.get(operator.name, [])
        if len(sources) > 1 or (sources and name in joined):
            message = f"{quote(name)} gets requests from {listing(sources)} one by one"
            hint = "an ensemble computes a model once: write them under 'reduce'"
            yield Diagnostic("TRITON102", message, operator.span, hint)
        if name == graph.name and len(graph.operators) > 1:
            message = f"operator {quote(name)} is called as the graph, whose name the ensemble has"
            yield Diagnostic("TRITON103", message, operator.span, "rename one of them")
        if operator.entrypoint is None:
            message = f"image {quote(operator.image)} is not run by Triton"
            hint = (
                f"put the files of the model into {name}/{version_number(operator)}/ and name its "
                "backend, or add 'entrypoint'"
            )
            span = operator.span_of("image")
            yield Diagnostic("TRITON201", message, span, hint, Severity.WARNING)
        if not is_numbered(operator):
            message = f"version {quote(operator.version)} is no whole number; Triton's is 1"
            span = operator.span_of("version")
            yield Diagnostic("TRITON202", message, span, None, Severity.WARNING)


def _inputs(graph: ServingGraph) -> dict[str, list[tuple[str, str]]]:
    """For each operator its inputs as (name of the input, operator it comes from, or '' for the
    client's request). The name is that of Triton's tensor."""
    fed: dict[str, list[str]] = {operator.name: [] for operator in graph.operators}
    for flow in graph.flows:
        for target in flow.targets:
            fed[target].extend(flow.sources)
    return {
        name: [("INPUT", "")]
        if not sources
        else [("INPUT", sources[0])]
        if len(sources) == 1
        else [(f"INPUT{number}", source) for number, source in enumerate(sources)]
        for name, sources in fed.items()
    }


def _config(graph: ServingGraph, operator: Operator, inputs: list[tuple[str, str]]) -> str:
    lines = [f"# {place(graph, operator.span)} operator {operator.name}"]
    if operator.image:
        lines.append(f"# image {operator.image}")
    lines.append(f"name: {json.dumps(operator.name)}")
    # Without a backend Triton refuses the model: that of an image is for its author to say.
    lines.append('backend: "python"')
    lines.append(f"max_batch_size: {operator.batch}")
    for name, source in inputs:
        declared = operator.input
        if source and (len(inputs) > 1 or declared is None):
            declared = graph.operator(source).output or declared
        lines += _tensor("input", name, as_tensor(declared))
    lines += _tensor("output", "OUTPUT", as_tensor(operator.output))
    if is_numbered(operator):
        lines += [
            "version_policy {",
            f"  specific {{ versions: [ {version_number(operator)} ] }}",
            "}",
        ]
    lines += _instances(operator)
    lines += _scheduling(operator)
    for name, value in _parameters(operator):
        lines += [
            "parameters {",
            f"  key: {json.dumps(name)}",
            f"  value {{ string_value: {string(value)} }}",
            "}",
        ]
    return "\n".join(lines) + "\n"


def _parameters(operator: Operator) -> Iterator[tuple[str, str]]:
    if operator.entrypoint is not None:
        yield "entrypoint", operator.entrypoint
    for name, value in operator.env:
        yield f"env.{name}", value


def _tensor(what: str, name: str, tensor: Tensor) -> list[str]:
    kind = _TYPES.get(tensor.element, f"TYPE_{tensor.element.upper()}")
    return [
        f"{what} {{",
        f'  name: "{name}"',
        f"  data_type: {kind}",
        f"  dims: [ {', '.join(map(str, tensor.shape))} ]",
        "}",
    ]


def _instances(operator: Operator) -> list[str]:
    lines = ["instance_group {", f"  count: {operator.replicas}"]
    if operator.gpu:
        gpus = ", ".join(map(str, range(operator.gpu)))
        lines += ["  kind: KIND_GPU", f"  gpus: [ {gpus} ]"]
    else:
        lines.append("  kind: KIND_CPU")
    return [*lines, "}"]


def _scheduling(operator: Operator) -> list[str]:
    wait = round(operator.wait * 1_000_000)
    if operator.stateful:
        lines = ["sequence_batching {", "  oldest {", "    max_candidate_sequences: 1024"]
        if wait:
            lines.append(f"    max_queue_delay_microseconds: {wait}")
        return [
            *lines,
            "  }",
            *_control("START", "CONTROL_SEQUENCE_START", "int32_false_true: [ 0, 1 ]"),
            *_control("CORRID", "CONTROL_SEQUENCE_CORRID", "data_type: TYPE_UINT64"),
            "}",
        ]
    if operator.batch == 1 and not wait and operator.timeout is None:
        return []
    lines = ["dynamic_batching {"]
    if wait:
        lines.append(f"  max_queue_delay_microseconds: {wait}")
    if operator.timeout is not None:
        lines += [
            "  default_queue_policy {",
            "    timeout_action: REJECT",
            f"    default_timeout_microseconds: {round(operator.timeout * 1_000_000)}",
            "  }",
        ]
    return [*lines, "}"]


def _control(name: str, kind: str, value: str) -> list[str]:
    return [
        "  control_input {",
        f'    name: "{name}"',
        f"    control {{ kind: {kind} {value} }}",
        "  }",
    ]


def _ensemble(graph: ServingGraph, inputs: dict[str, list[tuple[str, str]]]) -> str:
    entry, exits = graph.entry(), graph.exits()
    lines = [
        f"# {place(graph, graph.span)} graph {graph.name} version {graph.version}",
        f"name: {json.dumps(graph.name)}",
        'platform: "ensemble"',
        # An ensemble may take no more at once than each of its models.
        f"max_batch_size: {min(operator.batch for operator in graph.operators)}",
        *_tensor("input", "INPUT", as_tensor(entry.input)),
    ]
    for operator in exits:
        name = "OUTPUT" if len(exits) == 1 else f"OUTPUT_{operator.name}"
        lines += _tensor("output", name, as_tensor(operator.output))
    lines.append("ensemble_scheduling {")
    last = {operator.name for operator in exits}
    for operator in graph.operators:
        lines += [
            f"  # {place(graph, operator.span)}",
            "  step {",
            f"    model_name: {json.dumps(operator.name)}",
            f"    model_version: {version_number(operator)}",
        ]
        for name, source in inputs[operator.name]:
            tensor = _wire(source, last, len(exits)) if source else "INPUT"
            lines.append(f'    input_map {{ key: "{name}" value: {json.dumps(tensor)} }}')
        tensor = _wire(operator.name, last, len(exits))
        lines += [f'    output_map {{ key: "OUTPUT" value: {json.dumps(tensor)} }}', "  }"]
    lines.append("}")
    for word, value in (
        ("version", graph.version),
        ("description", graph.description),
        ("owner", graph.owner),
        ("tags", ", ".join(graph.tags)),
    ):
        if value:
            lines += [
                "parameters {",
                f'  key: "{word}"',
                f"  value {{ string_value: {string(value)} }}",
                "}",
            ]
    return "\n".join(lines) + "\n"


def _wire(operator: str, last: set[str], exits: int) -> str:
    """The name within the ensemble of what the operator replies."""
    if operator not in last:
        return f"reply of {operator}"
    return "OUTPUT" if exits == 1 else f"OUTPUT_{operator}"


def _python_model(graph: ServingGraph, operator: Operator, inputs: list[tuple[str, str]]) -> str:
    assert operator.entrypoint is not None
    module, _, name = operator.entrypoint.partition(":")
    words = as_tensor(operator.input).element == "bytes"
    take = _TAKE[_content(operator.input)] if words else "return element"
    # The elements of a tensor of TYPE_STRING are in an array of shape [batch, 1].
    row = "one[number].reshape(-1)[0]" if words else "one[number]"
    give, shape = _GIVE_TENSOR, ""
    if as_tensor(operator.output).element == "bytes":
        give, shape = _GIVE_BYTES, ".reshape((count, 1))"
    tensors = ", ".join(f'"{tensor}"' for tensor, _ in inputs)
    return _PYTHON_MODEL.format(
        place=place(graph, operator.span),
        operator=operator.name,
        module=module,
        name=name,
        inputs=f"{tensors}," if len(inputs) == 1 else tensors,
        take=take,
        give=give,
        row=row,
        parts="parts" if len(inputs) > 1 else "parts[0]",
        shape=shape,
    )


def _content(payload: str | None) -> str:
    """How the bytes of a request are handed to the model."""
    if payload in ("text", "json"):
        return payload
    return "text" if payload is None else "bytes"


_TAKE = {
    "text": "return bytes(element).decode()",
    "json": "return json.loads(bytes(element))",
    "bytes": "return bytes(element)",
}

_GIVE_TENSOR = "return np.asarray(reply)"
_GIVE_BYTES = """\
if isinstance(reply, bytes):
        return reply
    return (reply if isinstance(reply, str) else json.dumps(reply)).encode()"""

_PYTHON_MODEL = '''\
# {place} operator {operator}
"""The model of operator {operator}, for Triton's Python backend.

It needs the package of {module} on Triton's PYTHONPATH, or beside this file.
"""

import json
import os
from importlib import import_module

import numpy as np
import triton_python_backend_utils as pb_utils

INPUTS = ({inputs})


def take(element):
    """A request's payload, as the model takes it."""
    {take}


def give(reply):
    """A reply as an element of the output."""
    {give}


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        for name, value in config.get("parameters", {{}}).items():
            if name.startswith("env."):
                os.environ[name[4:]] = value["string_value"]
        self.model = getattr(import_module("{module}"), "{name}")()
        output = pb_utils.get_output_config_by_name(config, "OUTPUT")
        self.type = pb_utils.triton_string_to_numpy(output["data_type"])

    def execute(self, requests):
        rows, counts = [], []
        for request in requests:
            tensors = [pb_utils.get_input_tensor_by_name(request, name) for name in INPUTS]
            batch = [tensor.as_numpy() for tensor in tensors]
            counts.append(len(batch[0]))
            for number in range(len(batch[0])):
                parts = [take({row}) for one in batch]
                rows.append({parts})
        try:
            if hasattr(self.model, "predict_batch"):
                replies = list(self.model.predict_batch(rows))
            else:
                replies = [self.model.predict(row) for row in rows]
        except Exception as error:
            failed = pb_utils.TritonError(f"{operator}: {{error}}")
            return [pb_utils.InferenceResponse(error=failed) for _ in requests]
        responses, start = [], 0
        for count in counts:
            own = [give(reply) for reply in replies[start : start + count]]
            start += count
            values = np.array(own, dtype=self.type){shape}
            output = pb_utils.Tensor("OUTPUT", values)
            responses.append(pb_utils.InferenceResponse(output_tensors=[output]))
        return responses
'''
