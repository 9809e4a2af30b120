"""What the provider's Airflow operators share: the connection, the time limit, the errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from hogar_provider.exceptions import AirflowException, AirflowFailException
from hogar_provider.hooks.earg import EargHook

if TYPE_CHECKING:
    from earg.client import AgentClient
    from earg.status import PairStatus

MARGIN = timedelta(seconds=60)
"""What a task may take beyond its call: starting the agent, and reading the node's log."""


class EargOperator(BaseOperator):
    """An Airflow operator that asks the agent for one thing about one deployed graph.

    :param graph: the graph's name as deployed (templated).
    :param timeout: seconds that the agent may take. Unless given, ``execution_timeout`` is a
        minute more.
    :param earg_conn_id: the Airflow connection of type ``earg`` (templated); the default one need
        not be defined.
    """

    template_fields: Sequence[str] = ("graph", "earg_conn_id")
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        graph: str,
        timeout: float,
        earg_conn_id: str = EargHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("execution_timeout", timedelta(seconds=timeout) + MARGIN)
        super().__init__(**kwargs)
        self.graph = graph
        self.timeout = timeout
        self.earg_conn_id = earg_conn_id

    @contextmanager
    def agent(self) -> Iterator[AgentClient]:
        """The agent's client. What the agent refuses becomes an AirflowException, which Airflow may
        retry; a model that cannot be constructed an AirflowFailException, as a retry would only
        raise again, with the model's own traceback in the task's log."""
        from earg.client import AgentError, ModelFailed

        with EargHook(self.earg_conn_id).get_conn() as client:
            try:
                yield client
            except ModelFailed as error:
                lines = error.traceback.strip().splitlines()
                for line in lines:
                    self.log.error("%s", line)
                raise AirflowFailException(
                    f"{error.sentence}: {lines[-1]}" if lines else error.sentence
                ) from None
            except AgentError as error:
                raise AirflowException(str(error)) from None


def describe_pair(pair: PairStatus) -> str:
    """Where a pair runs, for the task's log."""
    return (
        f"{pair.role.value} on {pair.address}, "
        f"model pid {pair.model_pid}, proxy pid {pair.proxy_pid}"
    )
