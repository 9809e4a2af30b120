"""Deployed graphs as Airflow assets, which other DAGs can be scheduled on."""

from __future__ import annotations

from airflow.sdk import Asset


def graph_asset(graph: str) -> Asset:
    """The asset of the graph that is deployed under this name: ``Asset("earg://<name>")``.

    It is updated whenever a task has seen the graph serve; the event's extra holds ``graph``,
    ``version`` and ``url``.
    """
    return Asset(f"earg://{graph}")


def compiled_asset(graph: str) -> Asset:
    """The asset of a graph's compiled files: ``Asset("earg://<graph>/compiled")``.

    It is updated whenever a task has published them; the event's extra holds ``graph``,
    ``version``, ``folder`` and ``digests`` by target.
    """
    return Asset(f"earg://{graph}/compiled")
