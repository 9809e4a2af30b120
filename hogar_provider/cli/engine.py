"""The engine that a command talks to, and how a command fails."""

from __future__ import annotations

import functools
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.utils.cli import suppress_logs_and_warning

from hogar_provider.deployers import deployed_as

if TYPE_CHECKING:
    from earg.client import AgentClient
    from earg.status import GraphStatus
    from hogar_provider.hooks.earg import EargHook


def command(run: Callable[[Namespace], None]) -> Callable[[Namespace], None]:
    """A command as Airflow has them: no log lines between the output's, and what goes wrong is a
    sentence on standard error with exit code 1."""

    @functools.wraps(run)
    def guarded(args: Namespace) -> None:
        from earg.cli.errors import CommandError
        from earg.client import AgentError
        from hogar_provider.configuration import SettingError
        from hogar_provider.exceptions import AirflowException

        # As "airflow connections" does: else connections of the database are not found.
        os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
        try:
            suppress_logs_and_warning(run)(args)
        except (AgentError, AirflowException, CommandError, SettingError) as error:
            raise SystemExit(f"airflow hogar: {error}") from None
        except KeyboardInterrupt:
            raise SystemExit(130) from None

    return guarded


def hook_of(args: Namespace) -> EargHook:
    """The hook of ``--conn-id``."""
    from hogar_provider.hooks.earg import EargHook

    return EargHook(args.conn_id)


@contextmanager
def agent(args: Namespace) -> Iterator[AgentClient]:
    """A client of the agent that runs; AirflowException where none does, as none is started to
    look."""
    with hook_of(args).get_conn(start=False) as client:
        yield client


def deployed(args: Namespace) -> tuple[GraphStatus, ...]:
    """All deployed graphs, or that of ``args.graph``; none where no agent runs, which is said."""
    from earg.cli.errors import CommandError
    from earg.client import NoAgentError

    engine = hook_of(args).engine()
    wanted = getattr(args, "graph", None)
    try:
        with engine.connect(start=False) as client:
            if wanted:
                return (graph_of(client, wanted),)
            return client.graphs()
    except NoAgentError as error:
        if wanted:
            raise CommandError(f"no graph {wanted!r} is deployed: {error}") from None
        print(f"Nothing is deployed: {error}.", file=sys.stderr)
        return ()


def graph_of(client: AgentClient, wanted: str) -> GraphStatus:
    """The deployed graph of that name, or of the DAG of that name; AgentError where it is none."""
    graphs = {graph.name: graph for graph in client.graphs()}
    found = graphs.get(wanted) or graphs.get(deployed_as(wanted))
    return found or client.graph(wanted)
