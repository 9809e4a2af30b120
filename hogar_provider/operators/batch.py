"""Change how a node batches, while it serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hogar_provider.arguments import number, truth
from hogar_provider.exceptions import AirflowFailException
from hogar_provider.operators.base import EargOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class SetBatchOperator(EargOperator):
    """Change how a node batches from its next batch on; what is not given stays as it is.

    It holds until somebody sets something else, or the graph is deployed with another batch.
    Returns what was set before: ``{"limit", "who", "wait", "objective", "dynamic"}``.

    :param graph: the graph's name as deployed (templated).
    :param node: the operator's name (templated).
    :param limit: requests that a batch holds at most (templated).
    :param wait: seconds that a batch waits at most to fill (templated).
    :param objective: seconds that a batch of a dynamic limit may compute; 0 is the usual objective
        (templated).
    :param dynamic: whether the limit moves by itself below ``limit`` (templated).
    """

    template_fields: Sequence[str] = (
        *EargOperator.template_fields,
        *("node", "limit", "wait", "objective", "dynamic"),
    )
    ui_color = "#fce8e6"
    custom_operator_name = "Set batch"

    def __init__(
        self,
        *,
        node: str,
        limit: int | str | None = None,
        wait: float | str | None = None,
        objective: float | str | None = None,
        dynamic: bool | str | None = None,
        timeout: float = 30.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(timeout=timeout, **kwargs)
        self.node = node
        self.limit = limit
        self.wait = wait
        self.objective = objective
        self.dynamic = dynamic

    def perform(self, context: Context) -> dict[str, Any]:
        """Set it; see the class."""
        settings = self.settings()
        with self.agent() as agent:
            nodes = {node.name: node.index for node in agent.graph(self.graph).nodes}
            if self.node not in nodes:
                raise AirflowFailException(
                    f"Graph {self.graph} has no node {self.node!r}; it has {', '.join(nodes)}."
                )
            who = f"Airflow task {self.dag_id}.{self.task_id}"
            before = agent.set_batch_limit(self.graph, nodes[self.node], who=who, **settings)
        self.log.info("%s of graph %s: %s; before: %s", self.node, self.graph, settings, before)
        return asdict(before)

    def settings(self) -> dict[str, Any]:
        """What to set; AirflowFailException where it is nothing, or makes no sense."""
        limit = number(self.limit, "limit")
        if limit is not None and limit != int(limit):
            raise AirflowFailException(f"limit must be a whole number, not {self.limit!r}")
        settings = {
            "limit": None if limit is None else int(limit),
            "wait": number(self.wait, "wait"),
            "objective": number(self.objective, "objective"),
            "dynamic": (
                None
                if self.dynamic is None or str(self.dynamic).strip().lower() in ("", "none")
                else truth(self.dynamic, "dynamic")
            ),
        }
        settings = {name: value for name, value in settings.items() if value is not None}
        if not settings:
            raise AirflowFailException("Give one of limit, wait, objective and dynamic.")
        return settings

    def intent(self) -> str:
        """As of :class:`EargOperator`."""
        return f"would set {self.settings()} for the batches of {self.node} of graph {self.graph}"
