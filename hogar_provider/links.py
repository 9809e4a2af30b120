"""Extra links of the provider's tasks, shown on the task's page.

A link is made when the task ends, and never leads nowhere: where its own target is not there (a
graph that is not wired has no frontend, a node that failed no metrics), it leads to the task's log.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.sdk import BaseOperator


def _base() -> str:
    from airflow.configuration import conf

    return (conf.get("api", "base_url", fallback="") or "").rstrip("/")


def live_view(operator: BaseOperator, ti_key: Any, part: str = "") -> str:
    """Where Airflow shows the task's graph, or its node, live (and that part of the node's panel);
    empty for a task of a DAG that is not the graph's own."""
    # As udgl.targets.earg.deployed_name has it.
    if ti_key.dag_id.replace("-", "_") != getattr(operator, "graph", ""):
        return ""
    place = f"{_base()}/dags/{quote(ti_key.dag_id, safe='')}/plugin/hogar"
    index = getattr(operator, "index", 0)
    if not index:
        return place
    return f"{place}#hogar?node={index}" + (f"&part={part}" if part else "")


def task_page(ti_key: Any) -> str:
    """The page of a task instance in Airflow's web UI, which shows its log."""
    parts = [quote(str(part), safe="") for part in (ti_key.dag_id, ti_key.run_id, ti_key.task_id)]
    path = "/dags/{}/runs/{}/tasks/{}".format(*parts)
    index = getattr(ti_key, "map_index", -1)
    if index is not None and index >= 0:
        path += f"/mapped/{index}"
    return _base() + path


class _NodeLink(BaseOperatorLink):
    """A link that the task has left in its attribute ``shown``."""

    key = ""

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """As of Airflow's operator links."""
        return getattr(operator, "shown", {}).get(self.key) or task_page(ti_key)


class LiveViewLink(_NodeLink):
    """The graph, live, at this task's node; in a DAG of somebody's own the frontend's description
    of it."""

    name = "Live view"
    key = "live"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """As of Airflow's operator links."""
        served = getattr(operator, "shown", {}).get(self.key)
        return (served and live_view(operator, ti_key)) or served or task_page(ti_key)


class NodeLogLink(_NodeLink):
    """The last lines of the node's log; else the task's own log, which ends with the first ones and
    says where it is."""

    name = "Node log"
    key = "log"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """As of Airflow's operator links."""
        served = getattr(operator, "shown", {}).get("live")
        return (served and live_view(operator, ti_key, "log")) or task_page(ti_key)


class MetricsLink(_NodeLink):
    """The node's metrics, as Prometheus reads them from its proxy."""

    name = "Metrics"
    key = "metrics"


NODE_LINKS = (LiveViewLink(), NodeLogLink(), MetricsLink())
GRAPH_LINKS = (LiveViewLink(), MetricsLink())


def shown(home: Path, graph: str, url: str, node: str = "") -> dict[str, str]:
    """What the links of a task show: of the node, or of the frontend where ``node`` is empty.

    ``home`` is the agent's folder and ``url`` the frontend's, empty before the graph is wired.
    """
    found = {}
    if url:
        found["live"] = f"{url}/v2/models/{quote(graph, safe='')}"
    address = _metrics_address(home, graph, node)
    if address:
        from earg.security import security

        found["metrics"] = f"{security().http_scheme}://{address}/metrics"
    return found


def _metrics_address(home: Path, graph: str, node: str) -> str:
    """From the file that the agent writes for Prometheus; empty where there is none."""
    from earg.home import Home

    try:
        groups = json.loads(Home(home).metrics_targets.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    wanted = {"graph": graph, "role": "primary" if node else "frontend"}
    if node:
        wanted["node"] = node
    # Those of an engine with several hosts have the host as well.
    return next(
        (
            str(group["targets"][0])
            for group in groups
            if wanted.items() <= dict(group["labels"]).items()
        ),
        "",
    )
