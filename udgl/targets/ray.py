"""Graphs for Ray Serve: a Serve config, and the builder that it imports.

Each operator is a deployment that computes its class in batches; one more, the graph, takes HTTP
requests and sends each along the flows. What can change without a new deployment (batch limits) is
in the config's ``user_config``. Source: the documentation of Ray Serve's config file, its
application builders and ``serve.batch``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pprint import pformat
from typing import Any

from udgl.diagnostics import Diagnostic, Severity, UdglError, listing, quote
from udgl.graph import FlowKind, Operator, ServingGraph
from udgl.targets import Compilation, OutputFile
from udgl.targets._limits import Limit, in_order, limits
from udgl.targets._manifest import place, to_yaml

DESCRIPTION = "a Ray Serve config with its application builder"

WRITES = "{name}-{version}.ray.yaml and the Python module that it imports"

CODES: dict[str, str] = {
    "RAY101": "An operator has several inputs that are no join and no alternatives.",
    "RAY102": "An operator is called as the deployment that runs the flows.",
    "RAY201": "An operator's class is not known (a warning).",
    "RAY202": "Ray Serve has no dynamic batch limit (a warning).",
    "RAY203": "State is in one replica, and has no backup (a warning).",
    "RAY204": "Ray trains nothing here (a warning).",
    "RAY301": "What has no meaning in Ray Serve (a note).",
}

GRAPH = "Graph"
"""The deployment that runs the flows."""

_LIMITS = {
    "batch dynamic": Limit(
        "RAY202", Severity.WARNING, "has a dynamic batch limit; the most is taken as a static one"
    ),
    "latency": Limit(
        "RAY202", Severity.WARNING, "has a latency objective, by which Ray Serve does not steer"
    ),
    "stateful": Limit(
        "RAY203", Severity.WARNING, "is stateful: its one replica's state is lost when it dies"
    ),
    "backup": Limit("RAY203", Severity.WARNING, "has a backup; Ray Serve has none"),
    "train": Limit("RAY204", Severity.WARNING, "is trained; Ray serves what its class loads"),
    **{
        word: Limit("RAY301", Severity.NOTE, "stands nowhere in a Serve config")
        for word in ("description", "owner", "tags", "schedule")
    },
}


def compile_graph(graph: ServingGraph) -> Compilation:
    """``{name}-{version}.ray.yaml`` for ``serve deploy``, and the module that it imports.

    Raises :class:`UdglError` where the builder could not express ``graph``.
    """
    found = [*limits(graph, _LIMITS), *_check(graph)]
    if any(diagnostic.severity is Severity.ERROR for diagnostic in found):
        raise UdglError(graph.source, in_order(found))
    module = module_name(graph)
    files = (
        OutputFile(f"{graph.name}-{graph.version}.ray.yaml", _config(graph, module)),
        OutputFile(f"{module}.py", _builder(graph)),
    )
    return Compilation(files, in_order(found))


def module_name(graph: ServingGraph) -> str:
    """The builder's module: a Python name."""
    return re.sub(r"[^a-z0-9_]", "_", f"{graph.name}_{graph.version}".lower()) + "_ray"


def _check(graph: ServingGraph) -> Iterator[Diagnostic]:
    inputs: dict[str, list[str]] = {}
    joined: set[str] = set()
    chosen: set[str] = set()
    for flow in graph.flows:
        if flow.kind is FlowKind.REDUCE:
            joined.add(flow.targets[0])
            continue
        for target in dict.fromkeys(flow.targets):
            inputs.setdefault(target, []).append(flow.sources[0])
            if flow.kind is not FlowKind.DISTRIBUTE:
                chosen.add(target)
    behind = _behind(graph, chosen)
    entry, exits = graph.entry(), {operator.name for operator in graph.exits()}
    for operator in graph.operators:
        name, sources = operator.name, inputs.get(operator.name, [])
        # Where a choice lies before all but one of them, they are alternatives.
        certain = [s for s in sources if s not in behind and name not in chosen]
        if (len(certain) > 1) or (sources and name in joined):
            message = f"{quote(name)} gets requests from {listing(sources)} one by one"
            hint = "the builder computes an operator once a request: write them under 'reduce'"
            yield Diagnostic("RAY101", message, operator.span, hint)
        if name == GRAPH:
            message = f"an operator {quote(name)} is called as the deployment of the flows"
            yield Diagnostic("RAY102", message, operator.span, "rename it")
        for word, payload, told in (
            ("input", operator.input, operator is entry and operator.input in ("text", "json")),
            ("output", operator.output, operator.name in exits and "/" in (operator.output or "")),
        ):
            if payload and not told:
                message = f"the {word} of {quote(name)} is what its class makes of it"
                yield Diagnostic("RAY301", message, operator.span_of(word), None, Severity.NOTE)
        if operator.entrypoint is None:
            message = f"the class of image {quote(operator.image)} is not known to Ray"
            hint = (
                f"write it in the config at args, entrypoints, {name}, or add "
                "'entrypoint package.module:Class'"
            )
            span = operator.span_of("image")
            yield Diagnostic("RAY201", message, span, hint, Severity.WARNING)


def _behind(graph: ServingGraph, chosen: set[str]) -> set[str]:
    """The operators that a choice may leave out."""
    out: dict[str, list[str]] = {}
    for source, target in graph.edges():
        out.setdefault(source, []).append(target)
    found, waiting = set(chosen), list(chosen)
    while waiting:
        for target in out.get(waiting.pop(), ()):
            if target not in found:
                found.add(target)
                waiting.append(target)
    return found


def _config(graph: ServingGraph, module: str) -> str:
    entrypoints = {operator.name: operator.entrypoint for operator in graph.operators}
    head: dict[str, Any] = {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "127.0.0.1", "port": 8000},
    }
    application: dict[str, Any] = {
        "name": graph.name,
        "route_prefix": "/",
        "import_path": f"{module}:build",
        "args": {"entrypoints": entrypoints},
    }
    lines = [f"# {place(graph, graph.span)} graph {graph.name} version {graph.version}"]
    lines.append(to_yaml(head).rstrip("\n"))
    lines += ["applications:", _indented(to_yaml([application]))]
    lines.append("    deployments:")
    for operator in graph.operators:
        lines.append(f"      # {place(graph, operator.span)} operator {operator.name}")
        lines.append(_indented(to_yaml([_deployment(operator)]), 6))
    lines.append(_indented(to_yaml([_FLOWS]), 6))
    return "\n".join(lines) + "\n"


_FLOWS = {
    "name": GRAPH,
    "max_ongoing_requests": 1000,
    "ray_actor_options": {"num_cpus": 0},
}


def _indented(text: str, by: int = 2) -> str:
    return "\n".join(" " * by + line for line in text.rstrip("\n").split("\n"))


def _deployment(operator: Operator) -> dict[str, Any]:
    # Without it Ray takes a whole core for each replica.
    options: dict[str, Any] = {"num_cpus": 0 if operator.cpu is None else operator.cpu}
    if operator.gpu:
        options["num_gpus"] = operator.gpu
    if operator.memory is not None:
        options["memory"] = operator.memory
    if operator.host is not None:
        # A custom resource that the hosts are started with; every replica takes a trifle of it.
        options["resources"] = {operator.host: 0.001}
    if operator.env:
        options["runtime_env"] = {"env_vars": dict(operator.env)}
    return {
        "name": operator.name,
        "num_replicas": operator.replicas,
        "max_ongoing_requests": max(100, 2 * operator.batch),
        "user_config": {
            "version": operator.version,
            "max_batch_size": operator.batch,
            "batch_wait_timeout_s": operator.wait,
        },
        "ray_actor_options": options,
    }


def _builder(graph: ServingGraph) -> str:
    entry = graph.entry()
    exits = [operator.name for operator in graph.exits()]
    media = {
        operator.name: operator.output
        for operator in graph.exits()
        if operator.output and "/" in operator.output
    }
    values = {
        "PLACE": f"{place(graph, graph.span)} graph {graph.name} version {graph.version}",
        "NAME": graph.name,
        "NODES_HERE": pformat(_nodes(graph), width=96, sort_dicts=False),
        "ENTRY_HERE": repr(entry.name),
        "INPUT_HERE": repr(entry.input),
        "EXITS_HERE": repr(exits),
        "MEDIA_HERE": repr(media),
    }
    # Not str.format: the template is code, with braces of its own. In one pass: what a graph says
    # is no template.
    return re.sub(r"@([A-Z_]+)@", lambda match: values[match[1]], _BUILDER)


def _nodes(graph: ServingGraph) -> dict[str, dict[str, Any]]:
    """What the builder's flows need of each operator."""
    nodes: dict[str, dict[str, Any]] = {operator.name: {} for operator in graph.operators}
    for flow in graph.flows:
        source = flow.sources[0]
        if flow.kind is FlowKind.REDUCE:
            nodes[flow.targets[0]]["join"] = list(flow.sources)
            continue
        for target in dict.fromkeys(flow.targets):
            nodes[target].setdefault("from", []).append(source)
        if flow.kind is FlowKind.SWITCH:
            nodes[source]["switch"] = [
                (target, _comparisons(condition))
                for target, condition in zip(flow.targets, flow.conditions, strict=True)
            ]
        elif flow.kind is FlowKind.SPLIT:
            nodes[source]["split"] = dict(zip(flow.targets, flow.weights, strict=True))
    for operator in graph.operators:
        if operator.timeout is not None:
            nodes[operator.name]["timeout"] = operator.timeout
        if operator.retries:
            nodes[operator.name]["retries"] = operator.retries
    return nodes


def _comparisons(condition: str | None) -> list[tuple[list[str | int], str, Any]]:
    """The condition as comparisons that all have to hold; none for ``otherwise``."""
    from earg.condition import parse_condition

    found: list[tuple[list[str | int], str, Any]] = []
    further = None if condition is None else parse_condition(condition)
    while further is not None:
        found.append((list(further.path), further.comparison.value, further.value))
        further = further.also
    return found


_BUILDER = '''\
# @PLACE@
"""The graph @NAME@ for Ray Serve: `serve run` or `serve deploy` its config beside this file.

It needs the packages of the operators' classes on Ray's PYTHONPATH.
"""

import asyncio
import json
import operator
import random
from importlib import import_module

from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

NODES = @NODES_HERE@
"""What each operator gets its requests from, and how it chooses whom it sends its reply to."""

ENTRY = @ENTRY_HERE@
INPUT = @INPUT_HERE@
EXITS = @EXITS_HERE@
MEDIA = @MEDIA_HERE@


class Computed:
    """An operator's class, computed in batches."""

    def __init__(self, entrypoint):
        module, _, name = entrypoint.partition(":")
        self.model = getattr(import_module(module), name)()

    def reconfigure(self, config):
        self.compute.set_max_batch_size(config["max_batch_size"])
        self.compute.set_batch_wait_timeout_s(config["batch_wait_timeout_s"])

    @serve.batch
    async def compute(self, requests):
        # Off the loop, which has to go on filling the next batch.
        return await asyncio.to_thread(self._batch, requests)

    def _batch(self, requests):
        if hasattr(self.model, "predict_batch"):
            return list(self.model.predict_batch(requests))
        return [self.model.predict(request) for request in requests]

    async def __call__(self, request):
        return await self.compute(request)


class Graph:
    """Sends each request along the flows."""

    def __init__(self, handles):
        self.handles = handles

    async def __call__(self, http: Request):
        body = await http.body()
        content = http.headers.get("content-type", "").partition(";")[0].strip()
        try:
            request = read(body, content)
        except ValueError as error:
            return JSONResponse({"error": f"the request is no {INPUT or content}: {error}"}, 400)
        try:
            replies = await self.run(request)
        except Exception as error:
            return JSONResponse({"error": str(error)}, 500)
        if len(replies) > 1:
            return JSONResponse(replies)
        ((name, reply),) = replies.items()
        return answer(reply, MEDIA.get(name))

    async def run(self, request):
        """The replies of the exits that the request reached, by their names."""
        reached = {name: asyncio.get_running_loop().create_future() for name in NODES}
        tasks = [asyncio.create_task(self.node(name, request, reached)) for name in NODES]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return {name: reached[name].result()[1] for name in EXITS if reached[name].result()[0]}

    async def node(self, name, request, reached):
        """Compute one operator once its inputs are there, unless a choice leaves it out."""
        node = NODES[name]
        if name != ENTRY:
            sources = node.get("join") or node["from"]
            inputs = [await asyncio.shield(reached[source]) for source in sources]
            taken = [
                reply
                for source, (computed, reply, to) in zip(sources, inputs)
                if computed and ("join" in node or to is None or to == name)
            ]
            if not taken or ("join" in node and len(taken) < len(sources)):
                reached[name].set_result((False, None, None))
                return
            request = taken if "join" in node else taken[0]
        reply = await self.ask(name, request)
        reached[name].set_result((True, reply, choose(name, reply)))

    async def ask(self, name, request):
        node = NODES[name]
        for left in range(node.get("retries", 0), -1, -1):
            try:
                reply = self.handles[name].remote(request)
                return await asyncio.wait_for(reply, node.get("timeout"))
            except TimeoutError:
                failure = RuntimeError(f"{name} took longer than {node['timeout']} s")
            except Exception as error:
                failure = RuntimeError(f"{name}: {error}")
            if not left:
                raise failure


def choose(name, reply):
    """Whom the operator sends its reply to; None where it sends it to all of its targets."""
    node = NODES[name]
    if "split" in node:
        (target,) = random.choices(list(node["split"]), list(node["split"].values()))
        return target
    for target, comparisons in node.get("switch", ()):
        if all(holds(reply, *comparison) for comparison in comparisons):
            return target
    if "switch" in node:
        raise ValueError(f"no case of {name} holds for its reply")
    return None


ORDERED = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def holds(value, path, comparison, wanted):
    """Whether the comparison holds for what the path leads to in the reply."""
    for step in path:
        if isinstance(value, dict) and isinstance(step, str) and step in value:
            value = value[step]
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return False
    if comparison == "contains":
        if isinstance(value, str):
            return isinstance(wanted, str) and wanted in value
        return isinstance(value, list) and any(same(one, wanted) for one in value)
    if comparison in ("==", "!="):
        return same(value, wanted) == (comparison == "==")
    alike = (number(value) and number(wanted)) or (
        isinstance(value, str) and isinstance(wanted, str)
    )
    return alike and ORDERED[comparison](value, wanted)


def number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def same(value, wanted):
    if number(value) and number(wanted):
        return value == wanted
    return type(value) is type(wanted) and value == wanted


def read(body, content):
    """The request as the entry's class takes it."""
    if INPUT == "json" or (INPUT is None and content == "application/json"):
        return json.loads(body)
    if INPUT == "text" or (INPUT is None and content.startswith("text/")):
        return body.decode()
    return body


def answer(reply, media):
    if isinstance(reply, bytes):
        return Response(reply, media_type=media or "application/octet-stream")
    if isinstance(reply, str):
        return Response(reply, media_type=media or "text/plain")
    return JSONResponse(reply)


def build(args):
    """The application; ``args`` has the class of each operator in ``entrypoints``."""
    entrypoints = args.get("entrypoints", {})
    handles = {}
    for name in NODES:
        entrypoint = entrypoints.get(name)
        if not entrypoint:
            raise ValueError(f"args.entrypoints.{name} names no class: package.module:Class")
        # A class of its own: what serve.batch keeps is kept by class.
        own = type(name.replace("-", "_").replace(".", "_"), (Computed,), {})
        handles[name] = serve.deployment(own, name=name).bind(entrypoint)
    return serve.deployment(Graph, name="Graph").bind(handles)
'''
