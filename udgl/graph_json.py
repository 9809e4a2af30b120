"""A graph as JSON, for programs; ``schema/graph.schema.json`` says the form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from udgl.graph import Flow, FlowKind, Operator, ServingGraph, Training

FORMAT = 1
"""Rises where a program that reads the form before would misread this one."""

SCHEMA = Path(__file__).parent / "schema" / "graph.schema.json"
"""The JSON schema (draft 2020-12) that each graph's JSON fulfils."""


def graph_json(graph: ServingGraph) -> dict[str, Any]:
    """The graph as JSON's values. All keys are always there, null where nothing is said. Times are
    seconds, memory is bytes."""
    fed = {target for flow in graph.flows for target in flow.targets}
    return {
        "format": FORMAT,
        "name": graph.name,
        "version": graph.version,
        "description": graph.description,
        "owner": graph.owner,
        "tags": list(graph.tags),
        "schedule": graph.schedule,
        "platforms": list(graph.platforms),
        "engine": graph.engine,
        "entries": [one.name for one in graph.operators if one.name not in fed],
        "exits": [one.name for one in graph.exits()],
        "operators": [operator_json(operator) for operator in graph.operators],
        "flows": [flow_json(flow) for flow in graph.flows],
    }


def operator_json(operator: Operator) -> dict[str, Any]:
    """The operator as JSON's values; see :func:`graph_json`."""
    return {
        "name": operator.name,
        "version": operator.version,
        "image": operator.image or None,
        "entrypoint": operator.entrypoint,
        "batch": operator.batch,
        "dynamic": operator.dynamic,
        "stateful": operator.stateful,
        "wait": operator.wait,
        "latency": operator.latency,
        "timeout": operator.timeout,
        "retries": operator.retries,
        "replicas": operator.replicas,
        "backup": operator.backup,
        "cpu": operator.cpu,
        "memory": operator.memory,
        "gpu": operator.gpu,
        "host": operator.host,
        "env": dict(operator.env),
        "input": operator.input,
        "output": operator.output,
        "training": None if operator.training is None else _training_json(operator.training),
    }


def flow_json(flow: Flow) -> dict[str, Any]:
    """The flow as JSON's values: ``conditions`` of a switch and ``weights`` of a split have one for
    each target."""
    found: dict[str, Any] = {
        "kind": flow.kind.value,
        "sources": list(flow.sources),
        "targets": list(flow.targets),
    }
    if flow.kind is FlowKind.SWITCH:
        found["conditions"] = list(flow.conditions)
    elif flow.kind is FlowKind.SPLIT:
        found["weights"] = list(flow.weights)
    return found


def _training_json(training: Training) -> dict[str, Any]:
    stop = training.early_stop
    return {
        "function": training.function,
        "epochs": training.epochs,
        "schedule": [{"epoch": one.epoch, "batch": one.batch} for one in training.schedule],
        "learning_rate": training.learning_rate,
        "early_stop": None if stop is None else {"metric": stop.metric, "patience": stop.patience},
        "dataset": training.dataset,
        "params": dict(training.params),
    }
