"""Taking a deployed graph down, and the DAG ``hogar_undeploy`` that does it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import DAG

    from earg.client import AgentClient

DAG_ID = "hogar_undeploy"

DRAIN, AT_ONCE = "drain", "at once"
"""How a graph is taken down."""

DOCS = """\
Takes a deployed graph down. Trigger it with the graph's name:

```sh
airflow dags trigger hogar_undeploy --conf '{"graph": "SentiAnalyzer"}'
```

`how` is `drain` (take no new requests, answer what was accepted, then stop) or `at once`. Where a
drain takes longer than `timeout` seconds the graph serves again and the run fails, unless `force`
is set. A graph that is not deployed is no failure: it is down already. One that runs on another
engine than the default needs `engine`, such as `"engine": "docker"`. To see what is deployed:
`airflow hogar status`.
"""

log = logging.getLogger(__name__)


def take_down(
    client: AgentClient,
    graph: str,
    *,
    now: bool = False,
    timeout: float = 60.0,
    force: bool = False,
) -> int:
    """Stop a graph; how many requests it left without a reply, which is not known (0) where it is
    stopped ``now``.

    Otherwise it answers what it has accepted first. Raises :class:`earg.client.UndrainedError`
    where that takes longer than ``timeout`` seconds, and then it serves again; with ``force`` it
    is stopped all the same.
    """
    if now:
        client.down(graph)
        return 0
    return client.drain(graph, timeout, force)


def undeploy(params: dict[str, Any]) -> dict[str, Any]:
    """What the DAG's task does; ``params`` are the run's. Returns
    ``{"graph", "was_deployed", "unanswered"}``. Starts no agent where none runs."""
    from earg.client import AgentError, NoAgentError
    from hogar_provider.configuration import drain_timeout
    from hogar_provider.deployers import deployed_as
    from hogar_provider.exceptions import AirflowException
    from hogar_provider.hooks.earg import EargHook

    wanted = params["graph"].strip()
    timeout = drain_timeout() if params["timeout"] is None else float(params["timeout"])
    now = params["how"] == AT_ONCE
    engine = EargHook(params["earg_conn_id"] or params["engine"]).engine()
    try:
        client = engine.connect(start=False)
    except NoAgentError as error:
        return _nothing_to_do(wanted, str(error))
    except AgentError as error:
        raise AirflowException(str(error)) from None
    try:
        with client:
            graphs = {graph.name: graph for graph in client.graphs()}
            graph = graphs.get(wanted) or graphs.get(deployed_as(wanted))
            if graph is None:
                known = ", ".join(graphs) or "none"
                return _nothing_to_do(wanted, f"on the engine {engine.name} are: {known}")
            log.info("Take down %s %s (%s).", graph.name, graph.version, params["how"])
            left = take_down(client, graph.name, now=now, timeout=timeout, force=params["force"])
    except AgentError as error:
        raise AirflowException(str(error)) from None
    log.info("Graph %s is down; requests left without a reply: %d.", graph.name, left)
    return {"graph": graph.name, "was_deployed": True, "unanswered": left}


def _nothing_to_do(graph: str, why: str) -> dict[str, Any]:
    log.info("Graph %s is not deployed (%s): there is nothing to do.", graph, why)
    return {"graph": graph, "was_deployed": False, "unanswered": 0}


def undeploy_dag() -> DAG:
    """The DAG ``hogar_undeploy``: one task, with the graph as a parameter of the run."""
    from airflow.sdk import DAG, Param, task

    from hogar_provider.engines.registry import ENGINES

    dag = DAG(
        DAG_ID,
        description="Take a deployed graph down",
        doc_md=DOCS,
        schedule=None,
        catchup=False,
        tags=["hogar-admin"],
        is_paused_upon_creation=False,
        params={
            "graph": Param(
                type="string",
                minLength=1,
                title="Graph",
                description="The deployed graph, or the DAG of one",
            ),
            "how": Param(
                DRAIN,
                type="string",
                enum=[DRAIN, AT_ONCE],
                title="How",
                description="Answer what the graph has accepted first, or stop it at once",
            ),
            "timeout": Param(
                None,
                type=["null", "number"],
                minimum=0,
                title="Seconds to drain",
                description="Empty: [hogar] drain_timeout",
            ),
            "force": Param(
                False,
                type="boolean",
                title="By force",
                description="Stop it all the same when these seconds have passed",
            ),
            "engine": Param(
                None,
                type=["null", "string"],
                enum=[None, *ENGINES],
                title="Engine",
                description="What it runs on: the connection of this name. Empty: that of "
                "[hogar] default_conn_id",
            ),
            "earg_conn_id": Param(
                None,
                type=["null", "string"],
                title="Connection",
                description="Another connection that it runs on. Empty: that of the engine",
            ),
        },
    )
    with dag:

        @task(task_id="undeploy")
        def undeploy_graph(params: dict[str, Any]) -> dict[str, Any]:
            return undeploy(dict(params))

        undeploy_graph()
    return dag
