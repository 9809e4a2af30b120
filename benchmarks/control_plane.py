"""The control plane at 1,000 graphs, 10,000 nodes and 100 hosts: a simulation of measured steps.

    PYTHONPATH=. .venv/bin/python benchmarks/control_plane.py [--costs FILE] [--seconds 20]

First it measures what one step costs on this machine, with the real agent, proxies, models and API
code: a statistics call, a heartbeat, a look at a graph, a message to a viewer, an event, a death, a
start, the DAG of a graph. Then it simulates one agent a host, as a control plane of several hosts
would have them, with those costs: who watches what, what that takes, what happens when hosts die,
and at which size which part is full first. ``--save FILE`` keeps the costs, ``--costs FILE`` uses
kept ones instead of measuring: the same file and seed give the same tables.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields, replace
from importlib.metadata import version
from pathlib import Path

import control_model as model
from control_model import Costs, Fleet, line

NODES_A_GRAPH, NODES_A_HOST = 10, 100
SIZES = (1, 10, 100)
"""Hosts."""

PARSERS = 2
"""Processes of Airflow's DAG processor, as Airflow has them unless told otherwise."""

MOST_POLLS, MOST_STREAMS, MOST_LISTED, MOST_CONNECTIONS, EVENTS_KEPT = 100, 1000, 200, 32, 1000
"""Bounds that HOGAR sets itself; tests hold them and the code's together."""


def main() -> None:
    """Measure, simulate, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--costs", type=Path, help="use these instead of measuring")
    parser.add_argument("--save", type=Path, help="keep what was measured")
    parser.add_argument("--rest", type=float, default=10.0, help="seconds of each rest")
    parser.add_argument("--seconds", type=float, default=20.0, help="simulated")
    parser.add_argument("--cores", type=int, default=2, help="cores of a simulated host")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.costs:
        kept = json.loads(options.costs.read_text())
        where, costs = kept["where"], read_costs(kept["costs"])
    else:
        from control_costs import measure

        where = machine()
        costs = measure(options.rest, lambda what: print(f"measures {what}", file=sys.stderr))
    if options.save:
        options.save.write_text(json.dumps({"where": where, "costs": asdict(costs)}, indent=1))
    print(where)
    print(f"seed {options.seed}, {options.cores} cores a host, {options.seconds:g} s simulated")
    for title, rows in (
        ("What a step costs (measured)", measured(costs)),
        ("Nobody looks", standing(costs)),
        ("Who looks at what", watching(costs, options.seconds, options.seed)),
        ("Failures", failures(costs, options.cores, options.seed)),
        ("Airflow", airflow(costs)),
        ("What is full first", limits(costs, options.cores)),
        ("What would help", remedies(costs)),
    ):
        print(f"\n## {title}\n")
        print(table(rows))


def machine() -> str:
    """Where it was measured, and with what."""
    names = ("apache-airflow", "grpcio", "protobuf", "uvicorn", "starlette", "pydantic")
    return (
        f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, "
        + ", ".join(f"{one} {version(one)}" for one in names)
    )


def read_costs(kept: dict[str, object]) -> Costs:
    """Costs from JSON; raises TypeError for a file of another form."""
    unknown = set(kept) ^ {one.name for one in fields(Costs)}
    if unknown:
        raise TypeError(f"these costs are of another form ({', '.join(sorted(unknown))})")
    return Costs(
        **{  # type: ignore[arg-type]
            name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()
        }
    )


def fleet_of(hosts: float, **more: object) -> Fleet:
    """So many hosts, full; what is below ten is one host with so many times its nodes."""
    nodes = round(hosts * NODES_A_HOST)
    return Fleet(nodes // NODES_A_GRAPH, nodes, 1 if hosts < 10 else int(hosts), **more)  # type: ignore[arg-type]


# --- tables ---------------------------------------------------------------------------------------

Rows = list[Sequence[object]]


def measured(costs: Costs) -> Rows:
    """Every step."""
    ten = NODES_A_GRAPH
    frame = line(costs.frame_bytes, ten)
    return [
        ("step", "CPU, us", "bytes"),
        ("heartbeat to a proxy, on its lane", us(costs.beat), ""),
        ("heartbeat to a model", us(costs.model_ping), ""),
        ("ping of a proxy, for its node's state", us(costs.proxy_ping), ""),
        (
            "statistics of a proxy, the asking side",
            us(costs.statistics_call),
            costs.statistics_bytes,
        ),
        ("an agent, a second, a node, nobody asks", us(costs.standing), ""),
        ("of that: the four calls above, each by itself", us(costs.explained), ""),
        ("a node's own processes, a second, nobody asks", us(costs.node_standing), ""),
        (
            f"a look at {ten} nodes: agent",
            us(line(costs.look_agent, ten)),
            round(line(costs.reply_bytes, ten)),
        ),
        (f"a look at {ten} nodes: API worker, asking", us(line(costs.look_caller, ten)), ""),
        (
            f"a look at {ten} nodes: API worker, view and JSON",
            us(line(costs.view, ten)),
            round(frame),
        ),
        (f"a look at {ten} nodes: the nodes' processes", us(costs.look_node * ten), ""),
        (
            f"a look at {ten} nodes: time until it is answered",
            us(line(costs.look_latency, ten)),
            "",
        ),
        ("an SSE message of it to one viewer", us(line(costs.message, frame)), round(frame)),
        ("an event, to message and back", us(costs.event), costs.event_bytes),
        ("a death of a stateful primary: agent, until whole", us(costs.death_agent), ""),
        ("of that: the takeover, time", us(costs.takeover), ""),
        ("a start of a node: its processes", us(costs.start_node), ""),
        ("a start of a node: agent", us(costs.start_agent), ""),
        ("writing the ledger: 100 nodes", us(line(costs.ledger, 100)), 100 * costs.ledger_bytes),
        ("a DAG of 10 operators: parse and build", us(costs.dag_build), ""),
        ("a DAG of 10 operators: serialize", us(costs.dag_serialize), ""),
        ("a process that imports what a DAG needs", us(costs.dag_import), ""),
    ]


def standing(costs: Costs) -> Rows:
    """What goes on though nobody looks."""
    rows: Rows = [
        (
            "hosts",
            "nodes",
            "pairs",
            "heartbeats/s",
            "pings and statistics/s",
            "each agent, of a core",
            "all agents (or one for all), cores",
            "nodes' processes, cores",
        )
    ]
    for hosts in SIZES:
        nodes, pairs = hosts * NODES_A_HOST, fleet_of(hosts).pairs
        beats = pairs * (costs.beats_a_second + costs.model_pings_a_second)
        pings = pairs * costs.proxy_pings_a_second + nodes * costs.statistics_a_second
        rows.append(
            (
                hosts,
                f"{nodes:,}",
                f"{pairs:,.0f}",
                f"{beats:,.0f}",
                f"{pings:,.0f}",
                percent(costs.standing * pairs / hosts),
                f"{costs.standing * pairs:.2f}",
                f"{costs.node_standing * pairs:.1f}",
            )
        )
    return rows


def watching(costs: Costs, seconds: float, seed: int) -> Rows:
    """Viewers, at each size."""
    rows: Rows = [
        (
            "hosts",
            "nodes",
            "viewers",
            "graphs",
            "workers",
            "polls",
            "looks/s a poll",
            "look p50, ms",
            "p95, ms",
            "last viewer p95, ms",
            "asked of an agent mean/most",
            "of a worker mean/most",
            "proxies to agents, MB/s",
            "to workers, MB/s",
            "to viewers, MB/s",
        )
    ]
    cases = [
        (1, 10, 10, 1, False),
        (1.5, 10, 10, 1, False),
        (3, 10, 10, 1, False),
        (10, 50, 50, 1, False),
        (100, 10, 10, 1, False),
        (100, 100, 50, 4, False),
        (100, 100, 50, 4, True),
        (100, 1000, 200, 4, False),
        (100, 1000, 200, 4, True),
        (100, 1000, 1000, 8, False),
        (100, 1000, 1000, 32, True),
    ]
    for hosts, viewers, watched, workers, sharded in cases:
        fleet = fleet_of(hosts)
        found = model.watch(fleet, costs, viewers, watched, workers, seconds, seed, sharded)
        rows.append(
            (
                fleet.hosts,
                f"{fleet.nodes:,}",
                viewers,
                watched,
                f"{workers}{' sharded' if sharded else ''}",
                found.polls,
                f"{found.rate:.2f}",
                ms(found.p50),
                ms(found.p95),
                ms(found.told_p95),
                f"{percent(found.agent)} / {percent(found.agent_most)}",
                f"{percent(found.worker)} / {percent(found.worker_most)}",
                mega(found.proxy_bytes),
                mega(found.agent_bytes),
                mega(found.viewer_bytes),
            )
        )
    return rows


def failures(costs: Costs, cores: int, seed: int) -> Rows:
    """Hosts that die."""
    rows: Rows = [
        (
            "what dies",
            "primaries",
            "taken over",
            "state lost",
            "starts",
            "given up",
            "last takeover, s",
            "start median, s",
            "last, s",
            "ledger, of the agent's work",
            "events",
            "most of one agent",
        )
    ]
    rack = range(10)
    cases = [
        ("a host of 10", fleet_of(10, rack_aware=False), (0,), 0.0),
        ("a host of 100", fleet_of(100), (0,), 0.0),
        ("a rack of 10 hosts, of 100", fleet_of(100), rack, 0.0),
        ("the same, backups anywhere", fleet_of(100, rack_aware=False), rack, 0.0),
        ("a rack, each start fails by half", fleet_of(100), rack, 0.5),
        ("half of 100 hosts", fleet_of(100), range(50), 0.0),
    ]
    for title, fleet, dead, failing in cases:
        one = model.storm(fleet, costs, dead, cores, failing, seed)
        rows.append(
            (
                title,
                f"{one.primaries:,}",
                one.took_over,
                one.state_lost,
                f"{one.starts:,}",
                one.given_up,
                f"{one.last_takeover:.2f}",
                f"{one.median_start:.1f}",
                f"{one.last_start:.1f}",
                percent(one.ledger),
                f"{one.events:,.0f}",
                f"{one.events_most:,.0f}",
            )
        )
    return rows


def airflow(costs: Costs) -> Rows:
    """Airflow's part."""
    each = costs.dag_build + costs.dag_serialize
    tasks = 2 * NODES_A_GRAPH + 2
    return [
        ("what", "1 host", "10 hosts", "100 hosts"),
        ("graphs, so DAGs", *(f"{hosts * 10:,}" for hosts in SIZES)),
        (
            "CPU seconds to parse, build and serialize all",
            *(f"{hosts * 10 * each:.2f}" for hosts in SIZES),
        ),
        ("of a core, at one parse in 30 s", *(percent(hosts * 10 * each / 30) for hosts in SIZES)),
        ("task instances to deploy all", *(f"{hosts * 10 * tasks:,}" for hosts in SIZES)),
        (
            "CPU seconds of node starts, all hosts",
            *(f"{hosts * NODES_A_HOST * costs.start_node:,.0f}" for hosts in SIZES),
        ),
        ("the same a host of 2 cores, s", *(f"{NODES_A_HOST * costs.start_node / 2:.0f}",) * 3),
    ]


def limits(costs: Costs, cores: int) -> Rows:
    """Sizes at which a part is full, smallest share of the goal first."""
    ten = NODES_A_GRAPH
    fleet = fleet_of(100)
    rack = model.storm(fleet, costs, range(10))
    found = [
        ("nodes of one agent that has all (today)", model.most_nodes_of_an_agent(costs), 10_000),
        (
            f"nodes of a host of {cores} cores, by what they do at rest",
            model.most_nodes_of_a_host(costs, cores),
            100,
        ),
        ("nodes of an agent, one a host; nobody looks", model.most_nodes_of_an_agent(costs), 100),
        (
            "nodes of an agent, one a host; a worker polls all graphs",
            model.most_nodes_of_an_agent(costs, 1.0),
            100,
        ),
        (
            "nodes of an agent, one a host; eight workers poll all",
            model.most_nodes_of_an_agent(costs, 8.0),
            100,
        ),
        ("graphs in the list within 2 s, asked one by one", model.most_listed(costs, ten), 1000),
        (
            "graphs in the list within 2 s, asked at once, by CPU",
            model.most_listed_at_once(costs, ten),
            1000,
        ),
        ("graphs of one agent in the list: a bound", MOST_LISTED, 10),
        ("agents in the list: a bound", MOST_CONNECTIONS, 100),
        ("graphs polled by an API worker, by CPU", model.most_polls_of_a_worker(costs, ten), 1000),
        ("graphs polled by an API worker: a bound", MOST_POLLS, 1000),
        ("viewers of an API worker, by CPU", model.most_streams_of_a_worker(costs, ten), 1000),
        ("viewers of an API worker: a bound", MOST_STREAMS, 1000),
        ("events that one agent for all keeps; a rack's storm", EVENTS_KEPT, round(rack.events)),
        ("events that an agent a host keeps; a rack's storm", EVENTS_KEPT, round(rack.events_most)),
        (f"DAGs parsed in 30 s by {PARSERS} processes", model.most_dags(costs, PARSERS), 1000),
    ]
    rows: Rows = [("part", "is full at", "1,000 graphs need", "share of what is needed")]
    for title, full, needed in sorted(found, key=lambda one: one[1] / max(1, one[2])):
        rows.append((title, f"{full:,}", f"{needed:,}", f"{full / max(1, needed):.2f}"))
    return rows


def remedies(costs: Costs) -> Rows:
    """What an agent of 100 nodes and a viewer's stream would cost with other designs."""
    by_proxy = costs.model_ping * costs.model_pings_a_second
    with_state = costs.proxy_ping * costs.proxy_pings_a_second
    frame = line(costs.frame_bytes, NODES_A_GRAPH)
    busy, rest = costs.delta_bytes[1] * NODES_A_GRAPH, costs.delta_bytes[0] * NODES_A_GRAPH
    cases: list[tuple[str, float, bool, float]] = [
        ("as it is", 0.0, False, frame),
        ("each proxy pings its model, the agent the proxies alone", by_proxy, False, frame),
        ("a node's state is told with its statistics, 2 s apart", with_state, False, frame),
        ("an agent makes one snapshot a second, for all workers", 0.0, True, frame),
        ("all three", by_proxy + with_state, True, frame),
        ("frames compressed", 0.0, False, costs.packed_bytes * NODES_A_GRAPH),
        ("differences alone, of nodes that work", 0.0, False, busy),
        ("differences alone, of nodes at rest", 0.0, False, rest),
    ]
    rows: Rows = [
        (
            "design",
            "agent, nobody looks",
            "agent, all graphs, 1 worker",
            "8 workers",
            "bytes a message of 10 nodes",
        )
    ]
    fleet = fleet_of(100)
    for title, spared, shared, size in cases:
        other = replace(costs, standing=max(0.0, costs.standing - spared))
        shares = [
            model.agent_share(fleet, other, 1 if shared and workers else workers)
            for workers in (0, 1, 8)
        ]
        rows.append((title, *map(percent, shares), f"{size:,.0f}"))
    return rows


# --- words ----------------------------------------------------------------------------------------


def us(seconds: float) -> str:
    """Microseconds."""
    return f"{seconds * 1e6:,.0f}"


def ms(seconds: float) -> str:
    """Milliseconds."""
    return f"{seconds * 1e3:,.0f}"


def percent(share: float) -> str:
    """Of a core."""
    return f"{share * 100:,.1f} %"


def mega(size: float) -> str:
    """Millions."""
    return f"{size / 1e6:.2f}"


def table(rows: Iterable[Sequence[object]]) -> str:
    """Markdown; all but the first column to the right."""
    head, *rest = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in (head, *rest)) for column in range(len(head))]

    def text(row: Sequence[str]) -> str:
        first, *others = row
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        return f"| {' | '.join(cells)} |"

    rule = ["-" * widths[0], *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    return "\n".join([text(head), f"| {' | '.join(rule)} |", *map(text, rest)])


if __name__ == "__main__":
    main()
