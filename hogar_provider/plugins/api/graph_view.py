"""The view of a graph: a function of what is declared and what the agent tells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hogar_provider.plugins.api.batch_view import batch_view
from hogar_provider.plugins.api.causes import causes_of, with_cause
from hogar_provider.plugins.api.datamodels.events import EventView
from hogar_provider.plugins.api.datamodels.graphs import GraphSummary, GraphView
from hogar_provider.plugins.api.datamodels.nodes import DeclaredView, NodeView, PairView
from hogar_provider.plugins.api.drift import (
    choices_drift,
    drift_of,
    more_words,
    topology_drift,
)
from hogar_provider.plugins.api.flow_rates import flows_of, slowest_path
from hogar_provider.plugins.api.hosts import host_of, host_views
from hogar_provider.plugins.api.troubles import troubles
from hogar_provider.plugins.api.window import milliseconds, recent, report_of

if TYPE_CHECKING:
    from earg.config import NodeSpec, StaticConfig
    from earg.extras import Extras, NodeExtras
    from earg.request_wire import GraphLoad
    from earg.statistics import GraphStatistics, NodeReport
    from earg.status import Event, GraphStatus, NodeStatus
    from hogar_provider.plugins.api.declared import Declared

LOCAL = "local"
"""The engine of one machine, whose models share it."""

NO_SHARE: Mapping[str, Any] = {"cpu": None, "memory": None, "gpu": 0, "host": None}
"""Of the extras of a node."""

UNDEPLOYED = "undeployed"
"""The state of what is declared and not deployed."""

UNKNOWN = "unknown"
"""The state of what may serve, or not: the agent does not answer."""

WORST_FIRST = (
    *("dead", "recovering", "degraded", "draining", "starting", UNDEPLOYED),
    *("busy", "ready"),
)
"""A graph's state is the first of these that a node of it has."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the agent told at one time, ``at`` in Unix seconds. ``status`` is None where the graph
    is not deployed, or the agent not ``reachable``; ``trouble`` is the sentence that says why
    something is missing. ``config`` and ``extras`` are what the graph runs from, ``engine`` is
    what on. An agent is ``silent`` that does not answer while its graphs may serve."""

    at: float
    reachable: bool
    status: GraphStatus | None = None
    statistics: GraphStatistics | None = None
    config: StaticConfig | None = None
    extras: Extras | None = None
    load: GraphLoad | None = None
    trouble: str = ""
    engine: str = LOCAL
    silent: bool = False

    @property
    def missing(self) -> str:
        """The state of what it tells nothing of."""
        return UNKNOWN if self.silent else UNDEPLOYED


def graph_view(declared: Declared, look: Look, events: Sequence[Event] = ()) -> GraphView:
    """The view at ``look``. ``events`` are those that the agent still knows of the graph."""
    status = look.status
    load = look.load if status is not None else None
    config = look.config if status is not None and look.config is not None else declared.config
    extras = look.extras if status is not None and look.config is not None else declared.extras
    running = {} if status is None else {node.index: node for node in status.nodes}
    wanted = {} if declared.config is None else {node.name: node for node in declared.config.nodes}
    specs: dict[int, NodeSpec | None] = dict.fromkeys(running)
    if config is not None:
        specs.update(enumerate(config.nodes, start=1))
    since = _since(events)
    said = _extras_by_name(declared.config, declared.extras)
    nodes = [
        _node_view(index, spec, running.get(index), wanted, said, look, since)
        for index, spec in sorted(specs.items())
    ]
    causes = causes_of(events)
    for node in nodes:
        node.reason = with_cause(node.state, node.reason, causes.get(node.name, ""))
    if status is not None:
        lately = troubles(events, look.at)
        for one in nodes:
            one.trouble = lately.get(one.name)
    rates = {node.index: node.requests_per_second for node in nodes}
    flows = [] if config is None else flows_of(config, extras, rates)
    messages = [declared.problem, look.trouble]
    if status is not None:
        messages += topology_drift(declared.config, look.config)
        messages += choices_drift(
            _both(declared.config, declared.extras), _both(look.config, look.extras)
        )
    return GraphView(
        dag_id=declared.dag_id,
        name=declared.name if status is None else status.name,
        version=declared.version if status is None else status.version,
        deployed=status is not None,
        reachable=look.reachable,
        state=look.missing if status is None else graph_state(status, nodes),
        url="" if status is None else status.url,
        warnings=[] if status is None else list(status.warnings),
        message=" ".join(_sentence(one) for one in messages if one),
        at=look.at,
        nodes=nodes,
        flows=flows,
        in_graph=None if load is None else load.in_graph,
        errors_per_second=None if load is None or load.failing is None else round(load.failing, 3),
        engine=look.engine,
        hosts=host_views(status),
        frontend_host="" if status is None else status.frontend_host,
    )


def graph_state(status: GraphStatus, nodes: Iterable[NodeView]) -> str:
    """The worst state of its nodes; starting until it is wired."""
    states = {node.state for node in nodes}
    worst = next((state for state in WORST_FIRST if state in states), "starting")
    if worst == UNDEPLOYED or (not status.url and worst in ("ready", "busy")):
        return "starting"
    return worst


def summary(view: GraphView, orphaned: bool = False) -> GraphSummary:
    """A graph's line in the list: its rate is that of its entry, its p95 an upper estimate."""
    entry = next((node for node in view.nodes if node.index == 1), None)
    return GraphSummary(
        dag_id=view.dag_id,
        name=view.name,
        version=view.version,
        state=view.state,
        url=view.url,
        nodes=len(view.nodes),
        nodes_dead=sum(node.state == "dead" for node in view.nodes),
        requests_per_second=None if entry is None else entry.requests_per_second,
        errors_per_second=view.errors_per_second,
        p95_ms=slowest_path(view.flows, {node.index: node.p95_ms for node in view.nodes}),
        warnings=view.warnings,
        orphaned=orphaned,
        engine=view.engine,
        hosts=len(view.hosts),
        dead_hosts=[host.name for host in view.hosts if host.dead],
    )


def event_view(event: Event) -> EventView:
    """An event as the API shows it."""
    return EventView(
        number=event.number,
        at=event.time,
        node=event.node,
        what=event.what,
        before=event.before,
        after=event.after,
    )


def _since(events: Sequence[Event]) -> dict[str, tuple[str, float]]:
    """Node to the state that it was last seen to enter, and when."""
    return {event.node: (event.after, event.time) for event in events if event.after}


def _node_view(
    index: int,
    spec: NodeSpec | None,
    status: NodeStatus | None,
    wanted: dict[str, NodeSpec],
    said: dict[str, NodeExtras],
    look: Look,
    since: dict[str, tuple[str, float]],
) -> NodeView:
    name = status.name if status is not None else "" if spec is None else spec.name
    declared = wanted.get(name)
    version = status.version if status is not None else "" if spec is None else spec.version
    image = status.image if status is not None else "" if spec is None else spec.image
    stateful = spec.stateful if spec is not None else len(status.pairs) > 1 if status else False
    state = look.missing if status is None else status.state.value
    entered, when = since.get(name, ("", 0.0))
    report = _report(look, index)
    statistics = None if report is None or status is None else report.statistics
    extras = None
    if name in said and look.extras is not None:
        extras = said[name], look.extras.of(index)
        if look.engine == LOCAL:
            # It gives no model a share of its machine: another one is no difference there.
            extras = replace(extras[0], **NO_SHARE), replace(extras[1], **NO_SHARE)
    drift = []
    if status is not None:
        drift = drift_of(declared, version, image, stateful, statistics, extras)
    view = NodeView(
        index=index,
        name=name,
        version=version,
        image=image,
        stateful=stateful,
        state=state,
        reason="" if status is None else status.reason,
        since=when if entered == state else None,
        declared=None
        if declared is None
        else DeclaredView(
            version=declared.version,
            image=declared.image,
            batch=declared.batch,
            more=more_words(said[name]) if name in said else "",
        ),
        drift=drift,
        pairs=[]
        if status is None
        else [
            PairView(
                role=pair.role.value,
                state=pair.state.value,
                host=host_of(pair),
                address=pair.address,
                model_pids=list(pair.model_pids or (pair.model_pid,)),
                proxy_pid=pair.proxy_pid,
                reason=pair.reason,
            )
            for pair in status.pairs
        ],
    )
    if report is None or status is None:
        return view
    view.exits = report.exits
    if report.processes:
        from earg.usage import cores_used

        # As a mean of late, where the agent has watched them that long.
        used = report.cores if report.cores is not None else cores_used(report.processes, ())
        view.cpu = None if used is None else round(used, 4)
        view.memory = sum(one.memory for one in report.processes)
    if statistics is None:
        view.reason = view.reason or report.reason
        return view
    lately = recent(statistics, report.before)
    view.queued, view.running = statistics.queued, statistics.running
    view.leaving = statistics.leaving
    view.requests, view.errors = statistics.requests, statistics.errors
    view.requests_per_second = round(statistics.requests_per_second, 3)
    view.errors_per_second = round(statistics.errors_per_second, 3)
    view.p50_ms = milliseconds(lately.total, 0.5)
    view.p95_ms = milliseconds(lately.total, 0.95)
    view.p99_ms = milliseconds(lately.total, 0.99)
    view.queue_p95_ms = milliseconds(lately.queue, 0.95)
    view.compute_p95_ms = milliseconds(lately.compute, 0.95)
    view.lag_ms = round(statistics.lag * 1000, 3)
    view.batch = batch_view(
        statistics, lately.batches, None if declared is None else declared.batch
    )
    return view


def _both(config: StaticConfig | None, extras: Extras | None) -> tuple[StaticConfig, Extras] | None:
    return None if config is None or extras is None else (config, extras)


def _extras_by_name(config: StaticConfig | None, extras: Extras | None) -> dict[str, NodeExtras]:
    if config is None or extras is None:
        return {}
    return {node.name: extras.of(index) for index, node in enumerate(config.nodes, start=1)}


def _report(look: Look, index: int) -> NodeReport | None:
    if look.statistics is None:
        return None
    return report_of(look.statistics.nodes, index)


def _sentence(text: str) -> str:
    begun = text[:1].upper() + text[1:]
    return begun if begun.endswith((".", "!", "?")) else f"{begun}."
