"""EARG's files back to the graph that they say.

What EARG does not know of (an owner, a schedule, payload types, ...) is not in them, so it is not
in the graph either.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from udgl.graph import Flow, FlowKind, Operator, ServingGraph
from udgl.targets.earg import from_static

if TYPE_CHECKING:
    from collections.abc import Mapping

    from earg.choosing import Choice
    from earg.config import StaticConfig
    from earg.extras import Extras
    from earg.images import Implementation


def to_graph(
    name: str,
    version: str,
    config: StaticConfig,
    extras: Extras | None = None,
    images: Mapping[str, Implementation] | None = None,
) -> ServingGraph:
    """The graph that ``config`` says, with what ``extras`` say of its nodes, and the entrypoint and
    the environment that ``images`` has for each operator's image. ``extras`` are of ``config``."""
    graph = from_static(name, version, config)
    operators = tuple(
        _operator(operator, index, extras, (images or {}).get(operator.image))
        for index, operator in enumerate(graph.operators, start=1)
    )
    if extras is None or not (extras.switches or extras.splits):
        return replace(graph, operators=operators)
    names = [operator.name for operator in operators]
    every: tuple[Choice, ...] = (*extras.switches, *extras.splits)
    choices = {names[choice.source - 1]: choice for choice in every}
    flows: dict[str | int, Flow] = {}
    for number, flow in enumerate(graph.flows):
        source = flow.sources[0]
        if flow.kind is FlowKind.DISTRIBUTE and source in choices:
            # EARG may say a source's edges in several entries; its choice is one flow.
            flows.setdefault(source, _choice(choices[source], names))
        else:
            flows[number] = flow
    return replace(graph, operators=operators, flows=tuple(flows.values()))


def _operator(
    operator: Operator, index: int, extras: Extras | None, image: Implementation | None
) -> Operator:
    if operator.batch < 0:
        # EARG writes a dynamic limit as its most, below 0.
        operator = replace(operator, batch=-operator.batch, dynamic=True)
    elif operator.batch == 0:
        operator = replace(operator, batch=1)
    said: dict[str, Any] = {}
    if extras is not None:
        node = extras.of(index)
        said = {field.name: getattr(node, field.name) for field in fields(node)}
    if said.get("backup") or not operator.stateful:
        # One is what a stateful node has anyhow.
        said.pop("backup", None)
    if image is not None:
        said["entrypoint"] = image.entrypoint
        said["env"] = tuple({**dict(image.environment), **dict(said.get("env", ()))}.items())
        if operator.image == image.entrypoint:
            # An operator without an image: what runs is named by its class.
            said["image"] = ""
    return replace(operator, **said)


def _choice(choice: Choice, names: list[str]) -> Flow:
    from earg.choosing import Switch

    sources = (names[choice.source - 1],)
    if isinstance(choice, Switch):
        return Flow(
            FlowKind.SWITCH,
            sources,
            tuple(names[case.target - 1] for case in choice.cases),
            conditions=tuple(
                None if case.condition is None else str(case.condition) for case in choice.cases
            ),
        )
    return Flow(
        FlowKind.SPLIT,
        sources,
        tuple(names[share.target - 1] for share in choice.shares),
        weights=tuple(share.percent for share in choice.shares),
    )
