"""``earg nodes``: what is deployed, and what it does."""

from __future__ import annotations

import argparse

from earg.cli.errors import CommandError
from earg.cli.graphs import deployed
from earg.cli.printing import Commands, add_json, print_json, print_table
from earg.status import GraphStatus, NodeState, Role

HEADER = ("NODE", "VERSION", "STATE", "ROLE", "PAIR", "ADDRESS", "MODEL", "PROXY", "")
HEADER_WITH_HOST = (*HEADER[:6], "HOST", "")


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser("nodes", help="show what is deployed")
    parser.add_argument("graph", nargs="?", help="only this graph")
    add_json(parser, "a list of graphs")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do it."""
    graphs = deployed(options)
    if options.graph is not None:
        graphs = tuple(graph for graph in graphs if graph.name == options.graph)
        if not graphs:
            raise CommandError(f"no graph {options.graph!r} is deployed here")
    if options.json:
        print_json(graphs)
        return
    if not graphs:
        print("nothing is deployed")
    for graph in graphs:
        missing = graph.operators - len(graph.nodes)
        where = _where(graph) + (f", {missing} missing" if missing else "")
        print(f"{graph.name} {graph.version} {where}")
        print_table(rows(graph))
        for host in graph.hosts:
            if host.dead:
                print(f"  host {host.name} is dead: {host.reason}")
        for warning in graph.warnings:
            print(f"  warning: {warning}")


def _where(graph: GraphStatus) -> str:
    if any(node.state is NodeState.DRAINING for node in graph.nodes):
        return f"is drained at {graph.url}/predict: it takes no new requests"
    return f"serves at {graph.url}/predict" if graph.url else "is not wired"


def rows(graph: GraphStatus) -> list[tuple[str, ...]]:
    """A header and a row for each pair; the node's own cells are in its primary's. Where the engine
    has hosts, the pair's stands in the place of pids."""
    found: list[tuple[str, ...]] = [HEADER_WITH_HOST if graph.hosts else HEADER]
    for node in graph.nodes:
        for pair in node.pairs:
            own = ("", "", "")
            reason = ""
            if pair.role is Role.PRIMARY:
                own = (node.name, node.version, node.state.value)
                # A model's traceback is in its log.
                reason = node.reason.partition("\n")[0]
            where: tuple[str, ...] = (str(pair.model_pid or "-"), str(pair.proxy_pid or "-"))
            if graph.hosts:
                where = (pair.host,)
            found.append((*own, pair.role.value, pair.state.value, pair.address, *where, reason))
    return found
