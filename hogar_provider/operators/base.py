"""What the provider's Airflow operators share: the connection, the time limit, the errors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from hogar_provider.arguments import truth
from hogar_provider.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from hogar_provider.hooks.earg import EargHook

if TYPE_CHECKING:
    from airflow.sdk import Context

    from earg.client import AgentClient
    from earg.status import PairStatus

MARGIN = timedelta(seconds=60)
"""What a task may take beyond its call: starting the agent, and reading the node's log."""


class EargOperator(BaseOperator):
    """An Airflow operator that asks the agent for one thing about one deployed graph.

    A task that is killed cancels its call at the agent, which ends what it was starting for it.

    :param graph: the graph's name as deployed (templated).
    :param timeout: seconds that the agent may take. Unless given, ``execution_timeout`` is a
        minute more.
    :param earg_conn_id: the Airflow connection of type ``earg`` (templated); None or empty: that
        of ``[hogar] default_conn_id``.
    :param dry: a dry run: only say in the log what would be done (templated). A task with outlets
        is skipped then: nothing has been updated.
    """

    template_fields: Sequence[str] = ("graph", "earg_conn_id", "dry")
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        graph: str,
        timeout: float,
        earg_conn_id: str | None = None,
        dry: bool | str = False,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("execution_timeout", timedelta(seconds=timeout) + MARGIN)
        super().__init__(**kwargs)
        self.graph = graph
        self.timeout = timeout
        self.earg_conn_id = earg_conn_id
        # Airflow's operators have a method dry_run().
        self.dry = dry
        self._client: AgentClient | None = None
        self._killed = False

    def execute(self, context: Context) -> Any:
        """Do it, or say what would be done."""
        if not truth(self.dry, "dry"):
            return self.perform(context)
        sentence = f"Dry run: {self.intent()}"
        self.log.info("%s", sentence)
        if self.outlets:
            raise AirflowSkipException(sentence)
        return None

    @abstractmethod
    def perform(self, context: Context) -> Any:
        """Do it; see the class."""

    @abstractmethod
    def intent(self) -> str:
        """What the task would do, for a dry run: it may look at the agent, and changes nothing."""

    def on_kill(self) -> None:
        """Cancel the call: the agent ends what it was starting for it."""
        self._killed = True
        if self._client is not None:
            self._client.close()

    @contextmanager
    def agent(self) -> Iterator[AgentClient]:
        """The agent's client. What the agent refuses becomes an AirflowException, which Airflow may
        retry; a model that cannot be constructed an AirflowFailException, as a retry would only
        raise again, with the model's own traceback in the task's log."""
        from earg.client import AgentError, ModelFailed

        with EargHook(self.earg_conn_id).get_conn() as client:
            self._client = client
            try:
                yield client
            except ModelFailed as error:
                self.fail(error.sentence, error.traceback)
            except AgentError as error:
                if self._killed:
                    raise AirflowException("The task was killed; its call is cancelled.") from None
                raise AirflowException(str(error)) from None
            except ValueError:
                # What gRPC raises for a call on a closed channel.
                if not self._killed:
                    raise
                raise AirflowException("The task was killed.") from None
            finally:
                self._client = None

    def fail(self, sentence: str, traceback: str) -> None:
        """Raise AirflowFailException for a node that did not come up, with the model's own
        traceback in the log."""
        lines = traceback.strip().splitlines()
        for line in lines:
            self.log.error("%s", line)
        raise AirflowFailException(f"{sentence}: {lines[-1]}" if lines else sentence)

    def resumed(self, event: dict[str, Any]) -> None:
        """Raise what a trigger's event tells, unless it is done."""
        if event["status"] == "done":
            return
        if event.get("traceback"):
            self.fail(event["error"], event["traceback"])
        raise AirflowException(str(event["error"]))


def describe_pair(pair: PairStatus) -> str:
    """Where a pair runs, for the task's log; containers have no pids that are of use here."""
    where = f"{pair.role.value} on {pair.address}"
    if pair.host:
        where += f" of host {pair.host}"
    if not pair.proxy_pid:
        return where
    pids = pair.model_pids or (pair.model_pid,)
    models = f"model pid{'s' if len(pids) > 1 else ''} {', '.join(map(str, pids))}"
    return f"{where}, {models}, proxy pid {pair.proxy_pid}"
