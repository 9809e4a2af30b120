"""``airflow hogar nodes``: the nodes of deployed graphs and their processes."""

from __future__ import annotations

from argparse import Namespace

from hogar_provider.cli.engine import command, deployed
from hogar_provider.cli.table import show


@command
def run(args: Namespace) -> None:
    """Do it: a line for each pair of a model and a proxy."""
    graphs = deployed(args)
    several = any(graph.hosts for graph in graphs)
    rows = [
        {
            "graph": graph.name,
            "node": node.name,
            "version": node.version,
            "state": node.state.value,
            "role": pair.role.value,
            "pair": pair.state.value,
            **({"host": pair.host} if several else {}),
            "address": pair.address,
            "models": max(1, len(pair.model_pids)),
            "model_pid": pair.model_pid or "",
            "proxy_pid": pair.proxy_pid or "",
            # A model's traceback is in its log.
            "reason": (pair.reason or node.reason).partition("\n")[0],
        }
        for graph in graphs
        for node in graph.nodes
        for pair in node.pairs
    ]
    show(args, rows)
