"""Graphs for Clipper: a script of ``clipper_admin`` calls that deploys the models and links one.

Clipper serves models behind an application and knows no flows between models: the entry is linked
to the application, the others are deployed for clients to ask. Source: the documentation of
``clipper_admin.ClipperConnection`` (release 0.4).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from udgl.diagnostics import Diagnostic, Severity, UdglError, listing, quote
from udgl.graph import Operator, ServingGraph
from udgl.targets import Compilation, OutputFile
from udgl.targets._limits import Limit, in_order, limits
from udgl.targets._manifest import label_name, object_names, place
from udgl.targets._payloads import as_tensor

DESCRIPTION = "a script of clipper_admin calls"

WRITES = "{name}-{version}.clipper.py"

CODES: dict[str, str] = {
    "CLIPPER101": "Two operators' models would have the same name.",
    "CLIPPER201": "A flow is left to the client (a warning).",
    "CLIPPER202": "Clipper's adaptive batching has no bounds and no wait (a warning).",
    "CLIPPER203": "Clipper keeps no state of a model, and has no backup (a warning).",
    "CLIPPER204": "What is a matter of Clipper's containers as a whole (a warning).",
    "CLIPPER205": "Clipper trains no models (a warning).",
    "CLIPPER301": "What has no meaning in Clipper (a note).",
}

_LIMITS = {
    "several exits": Limit("CLIPPER201", Severity.WARNING, "is left to the client"),
    "several inputs": Limit("CLIPPER201", Severity.WARNING, "gets its inputs from the client"),
    "batch dynamic": Limit(
        "CLIPPER202", Severity.WARNING, "has a dynamic limit; Clipper adapts without a most"
    ),
    "wait": Limit("CLIPPER202", Severity.WARNING, "has a wait; Clipper's batches do not wait"),
    "stateful": Limit(
        "CLIPPER203", Severity.WARNING, "is stateful; its state is lost with its container"
    ),
    "backup": Limit("CLIPPER203", Severity.WARNING, "has a backup; Clipper has none"),
    "timeout": Limit(
        "CLIPPER204", Severity.WARNING, "has a timeout; Clipper answers by its application's slo"
    ),
    "retries": Limit("CLIPPER204", Severity.WARNING, "has retries; Clipper has none"),
    **{
        word: Limit("CLIPPER204", Severity.WARNING, f"has {what}; Clipper's containers have none")
        for word, what in (
            ("cpu", "cpu"),
            ("memory", "memory"),
            ("gpu", "a gpu"),
            ("host", "a host"),
        )
    },
    "output": Limit("CLIPPER301", Severity.NOTE, "is text: Clipper's models reply with strings"),
    "train": Limit("CLIPPER205", Severity.WARNING, "is trained; its image holds what it serves"),
    **{
        word: Limit("CLIPPER301", Severity.NOTE, "stands nowhere in Clipper")
        for word in ("description", "owner", "schedule")
    },
}

_INPUTS = {"fp32": "floats", "fp64": "doubles", "int32": "integers"}
"""Clipper's name of a tensor's element type; all else is bytes, or strings for text and JSON."""


def compile_graph(graph: ServingGraph) -> Compilation:
    """The one file ``{name}-{version}.clipper.py``; it needs ``clipper_admin`` and Docker.

    Raises :class:`UdglError` where two models would have the same name.
    """
    found = list(_check(graph))
    if any(diagnostic.severity is Severity.ERROR for diagnostic in found):
        raise UdglError(graph.source, in_order(found))
    file = OutputFile(f"{graph.name}-{graph.version}.clipper.py", _script(graph))
    return Compilation((file,), in_order(found))


def _check(graph: ServingGraph) -> Iterator[Diagnostic]:
    yield from limits(graph, _LIMITS)
    for flow in graph.flows:
        message = f"{listing(flow.sources)} → {listing(flow.targets)} is left to the client"
        hint = "Clipper knows no flows: the client asks each model"
        yield Diagnostic("CLIPPER201", message, flow.span, hint, Severity.WARNING)
    entry = graph.entry()
    names: dict[str, str] = {}
    for operator in graph.operators:
        other = names.setdefault(_model_name(operator), operator.name)
        if other != operator.name:
            message = f"{quote(other)} and {quote(operator.name)} are one name to Clipper"
            yield Diagnostic("CLIPPER101", message, operator.span, "rename one of them")
        if operator.latency is not None and operator is not entry:
            message = f"{quote(operator.name)} has a latency objective; Clipper takes the entry's"
            span = operator.span_of("latency")
            yield Diagnostic("CLIPPER202", message, span, None, Severity.WARNING)
        if operator.env and not _from_class(operator):
            message = f"{quote(operator.name)} has env; Clipper sets none in a container"
            span = operator.span_of("env")
            yield Diagnostic("CLIPPER204", message, span, None, Severity.WARNING)
        if operator.image and operator.entrypoint is not None:
            message = f"{quote(operator.name)} has an entrypoint; its image decides"
            span = operator.span_of("entrypoint")
            yield Diagnostic("CLIPPER301", message, span, None, Severity.NOTE)


def _from_class(operator: Operator) -> bool:
    """Whether the model's container is made from a Python class."""
    return not operator.image


def _model_name(operator: Operator) -> str:
    return label_name(operator.name)


def _version(operator: Operator) -> str:
    """The version as a DNS subdomain (RFC 1123), which Clipper wants."""
    return re.sub(r"[^a-z0-9.-]+", "-", operator.version.lower()).strip(".-")


def _script(graph: ServingGraph) -> str:
    entry = graph.entry()
    application = label_name(graph.name)
    slo = round((0.1 if entry.latency is None else entry.latency) * 1_000_000)
    classes = [operator for operator in graph.operators if _from_class(operator)]
    lines = [
        "#!/usr/bin/env python3",
        f"# {place(graph, graph.span)} graph {graph.name} version {graph.version}",
        '"""Deploys the graph on Clipper; needs clipper_admin, and Docker."""',
        "",
    ]
    if classes:
        lines += ["import os", "from importlib import import_module", ""]
    lines += ["from clipper_admin import ClipperConnection, DockerContainerManager", ""]
    if classes:
        lines += [
            "from clipper_admin.deployers.python import deploy_python_closure",
            "",
            "",
            *_CLASS_FUNCTION,
        ]
    lines += ["", "def deploy(clipper):"]
    lines.append(f'    """Deploy and link the models of {graph.name}."""')
    names = object_names(graph)
    for operator in graph.operators:
        lines += _deployment(graph, operator, names[operator.name])
    lines += [
        f"    # {place(graph, graph.span)} the graph; its entry is {entry.name}",
        "    clipper.register_application(",
        f"        name={application!r},",
        f"        input_type={_input_type(entry)!r},",
        '        default_output="",',
        f"        slo_micros={slo},",
        "    )",
        f"    clipper.link_model_to_app(app_name={application!r}, "
        f"model_name={_model_name(entry)!r})",
        "",
        "",
        'if __name__ == "__main__":',
        "    connection = ClipperConnection(DockerContainerManager())",
        "    connection.start_clipper()",
        "    deploy(connection)",
    ]
    return "\n".join(lines) + "\n"


_CLASS_FUNCTION = [
    "def model_of(entrypoint, env):",
    '    """A function that computes a batch with the class of the entrypoint."""',
    "    made = []",
    "",
    "    def compute(requests):",
    "        if not made:",
    "            os.environ.update(env)",
    '            module, _, name = entrypoint.partition(":")',
    "            made.append(getattr(import_module(module), name)())",
    '        if hasattr(made[0], "predict_batch"):',
    "            replies = made[0].predict_batch(list(requests))",
    "        else:",
    "            replies = [made[0].predict(request) for request in requests]",
    "        return [str(reply) for reply in replies]",
    "",
    "    return compute",
    "",
]


def _deployment(graph: ServingGraph, operator: Operator, label: str) -> list[str]:
    arguments = [
        ("name", repr(_model_name(operator))),
        ("version", repr(_version(operator))),
        ("input_type", repr(_input_type(operator))),
    ]
    if _from_class(operator):
        assert operator.entrypoint is not None
        env = dict(operator.env)
        arguments.append(("func", f"model_of({operator.entrypoint!r}, {env!r})"))
        call, first = "deploy_python_closure", ["        clipper,"]
    else:
        arguments.append(("image", repr(operator.image)))
        call, first = "clipper.deploy_model", []
    arguments += [
        ("labels", repr([label, *graph.tags])),
        ("num_replicas", str(operator.replicas)),
        # -1 is Clipper's adaptive batching.
        ("batch_size", "-1" if operator.dynamic else str(operator.batch)),
    ]
    return [
        f"    # {place(graph, operator.span)} operator {operator.name}",
        f"    {call}(",
        *first,
        *(f"        {name}={value}," for name, value in arguments),
        "    )",
    ]


def _input_type(operator: Operator) -> str:
    element = as_tensor(operator.input).element
    if element != "bytes":
        return _INPUTS.get(element, "bytes")
    return "strings" if operator.input in (None, "text", "json") else "bytes"
