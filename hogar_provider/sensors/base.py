"""What the provider's sensors share: the connection, and how they wait."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator

from hogar_provider.arguments import agent_path, default_deferrable
from hogar_provider.exceptions import AirflowException, AirflowSensorTimeout
from hogar_provider.hooks.earg import EargHook

if TYPE_CHECKING:
    from airflow.sdk import Context

    from earg.client import AgentClient
    from hogar_provider.triggers.graph import WatchTrigger

MARGIN = timedelta(seconds=60)
"""What a trigger may take beyond its own deadline before Airflow gives it up."""


class EargSensor(BaseSensorOperator):
    """An Airflow sensor that watches one deployed graph.

    :param graph: the graph's name as deployed (templated).
    :param earg_conn_id: the Airflow connection of type ``earg`` (templated); None or empty: that
        of ``[hogar] default_conn_id``.
    :param deferrable: wait in the triggerer and hold no worker; unless given, Airflow's setting
        ``[operators] default_deferrable``.
    """

    template_fields: Sequence[str] = ("graph", "earg_conn_id")
    ui_color = "#e6f4ea"

    def __init__(
        self,
        *,
        graph: str,
        earg_conn_id: str | None = None,
        deferrable: bool | None = None,
        poke_interval: timedelta | float = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.graph = graph
        self.earg_conn_id = earg_conn_id
        self.deferrable = default_deferrable() if deferrable is None else deferrable

    def execute(self, context: Context) -> Any:
        """Look once; wait then, in the triggerer or as sensors do it."""
        if not self.deferrable:
            return super().execute(context)
        if not self.poke(context):
            self.defer(
                trigger=self.trigger(agent_path(self.earg_conn_id), time.time() + self.timeout),
                method_name="execute_complete",
                timeout=timedelta(seconds=self.timeout) + MARGIN,
            )
        return None

    def execute_complete(self, context: Context, event: dict[str, Any]) -> None:
        """After the trigger: a time limit that has passed says what was waited for."""
        if event["status"] == "timeout":
            raise AirflowSensorTimeout(f"After {self.timeout:g} s {event['error']}")
        if event["status"] != "done":
            raise AirflowException(str(event["error"]))
        self.log.info("%s", event["sentence"])

    def poke(self, context: Context) -> bool:
        """Look once; who is waited for, and why, is in the log."""
        from earg.client import AgentError, NoAgentError

        engine = EargHook(self.earg_conn_id).engine()
        try:
            with engine.connect(start=False) as agent:
                done, sentence = self.look(agent)
        except NoAgentError as error:
            # No graph is deployed then; that may come.
            done, sentence = False, str(error)
        except AgentError as error:
            raise AirflowException(str(error)) from None
        self.log.info("%s", sentence)
        return done

    @abstractmethod
    def look(self, agent: AgentClient) -> tuple[bool, str]:
        """Whether it holds now, and a sentence about it."""

    @abstractmethod
    def trigger(self, folder: str, deadline: float) -> WatchTrigger:
        """The trigger that waits in place of the sensor."""
