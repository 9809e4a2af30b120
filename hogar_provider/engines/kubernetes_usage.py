"""What the containers of all graphs use, as the cluster's Metrics API tells it.

That API is served by an add-on (``metrics-server``, or an adapter of Prometheus), which measures
every 15 s or so. Where a cluster has none, or the account may not ask it, there are no figures.
Source: ``metrics.k8s.io/v1beta1``, and Kubernetes' quantities.
"""

from __future__ import annotations

import asyncio
import decimal
import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence

from earg.protos import hogar_pb2
from earg.sampling import NodeUsage
from earg.statistics import HISTORY_SECONDS
from earg.statistics_wire import process_message, usage_message
from earg.status import GraphStatus, Role
from earg.usage import ContainerUsage
from hogar_provider.engines.kubernetes_api import (
    POD,
    POD_METRICS,
    Api,
    ApiError,
    Object,
    labels_of,
    name_of,
)
from hogar_provider.engines.kubernetes_apply import MANAGED_BY, NODE_LABEL
from hogar_provider.engines.kubernetes_graph import MODEL, GraphObjects
from hogar_provider.engines.timestamp import seconds
from udgl.targets._manifest import MANAGER

log = logging.getLogger(__name__)

PROXY = "proxy"

INTERVAL = 10.0
"""Seconds between two questions, while somebody looks: it is measured less often."""

RETRY = 300.0
"""Seconds after which an API that was not there, or forbidden, is asked again."""

PATIENCE = 1.0
"""Seconds for which the first answer is waited for. What comes later is told the next time."""

FRESH = 120.0
"""Seconds for which what was told last is told while nothing newer comes."""

_SUFFIXES = {
    **{name: 1000**power for power, name in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    **{name: 1024**power for power, name in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
    "m": decimal.Decimal("1e-3"),
    "u": decimal.Decimal("1e-6"),
    "n": decimal.Decimal("1e-9"),
    "": 1,
}


def quantity(text: object) -> float:
    """A quantity of Kubernetes as a number; NaN where it is none."""
    said = str(text)
    digits = said.rstrip("kKMGTPEimun")
    try:
        number = decimal.Decimal(digits) * _SUFFIXES[said[len(digits) :]]
    except (decimal.InvalidOperation, KeyError):
        return math.nan
    return float(number) if number.is_finite() else math.nan


def containers_of(metrics: Object) -> list[ContainerUsage]:
    """A pod's model and proxy, by its metrics. What a container's processes used is the mean over
    the metrics' window; its memory is the working set."""
    found, at = [], seconds(metrics.get("timestamp"))
    for one in metrics.get("containers") or ():
        name, used = str(one.get("name")), one.get("usage") or {}
        cores, memory = quantity(used.get("cpu")), quantity(used.get("memory"))
        if name in (MODEL, PROXY) and math.isfinite(cores) and math.isfinite(memory):
            found.append(ContainerUsage(f"{name_of(metrics)}/{name}", name, at, cores, int(memory)))
    return found


class UsageTold:
    """What the namespace's pods use, asked for while somebody looks, with a history since then."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._asking: asyncio.Task[None] | None = None
        self._due = -math.inf
        self._found_at = -math.inf
        self._pods: Mapping[str, Sequence[ContainerUsage]] = {}
        self._labels: Mapping[str, str] = {}
        self._trouble = ""
        self._histories: dict[tuple[str, int], NodeUsage] = {}

    async def close(self) -> None:
        """End what is under way."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    def forget(self, graph: str) -> None:
        """Forget the history of a graph."""
        self._histories = {key: one for key, one in self._histories.items() if key[0] != graph}

    @property
    def tells(self) -> bool:
        """Whether anything is known."""
        return bool(self._pods)

    async def refresh(self) -> None:
        """Ask again where it is time to; the first answer is waited for a little."""
        now = time.monotonic()
        if now >= self._due and (self._asking is None or self._asking.done()):
            self._due = now + INTERVAL
            self._asking = asyncio.create_task(self._ask())
        if self._asking is not None and self._found_at == -math.inf:
            await asyncio.wait([self._asking], timeout=PATIENCE)

    async def _ask(self) -> None:
        labels = {MANAGED_BY: MANAGER}
        try:
            metrics = await self._api.list_objects(POD_METRICS, labels)
            pods = await self._api.list_objects(POD, labels) if metrics else []
        except ApiError as error:
            self._note(error)
            return
        except Exception:
            log.exception("the Metrics API cannot be read")
            self._pods, self._found_at = {}, time.monotonic()
            return
        self._trouble = ""
        self._pods = {name_of(one): containers_of(one) for one in metrics}
        self._labels = {name_of(pod): labels_of(pod).get(NODE_LABEL, "") for pod in pods}
        self._found_at = time.monotonic()

    def _note(self, error: ApiError) -> None:
        """Tell once why there are no figures."""
        sentence = str(error)
        if error.status == 404:
            sentence = "the cluster has no Metrics API (metrics.k8s.io): metrics-server serves it"
        if sentence != self._trouble:
            log.warning("no figures of containers: %s", sentence)
        self._trouble = sentence
        now = time.monotonic()
        if error.status in (403, 404):
            self._due = now + RETRY
            self._pods = {}
        self._found_at = now if self._found_at == -math.inf else self._found_at

    def _of_node(
        self, objects: GraphObjects, status: GraphStatus | None, index: int
    ) -> list[tuple[Role, ContainerUsage]]:
        if time.monotonic() - self._found_at > FRESH:
            return []
        roles: dict[str, Role] = {}
        for node in status.nodes if status is not None else ():
            if node.index == index:
                for pair in node.pairs:
                    # As ``kubectl logs`` names it.
                    pod = pair.model_log.removeprefix("pod/").partition(" ")[0]
                    roles[pod] = pair.role
        labels = set(objects.labels_of_node(index))
        own = (name for name, label in self._labels.items() if label in labels)
        return [
            # Those of further replicas compute for the primary.
            (roles.get(name, Role.PRIMARY), one)
            for name in sorted(own)
            for one in self._pods.get(name, ())
        ]

    def add_to(
        self,
        reports: Iterable[hogar_pb2.NodeReport],
        objects: GraphObjects,
        status: GraphStatus | None,
        history_seconds: int,
    ) -> None:
        """Tell it with what a graph's wiring reports of its nodes; ``status`` says which pod is a
        node's primary; without it all are taken for that."""
        for report in reports:
            if not 1 <= report.index <= len(objects.nodes):
                continue
            containers = self._of_node(objects, status, report.index)
            key = (objects.name, report.index)
            usage = self._histories.setdefault(key, NodeUsage())
            usage.take(containers)
            del report.processes[:]
            report.processes.extend(process_message(one.of(role.value)) for role, one in containers)
            if history_seconds:
                seconds_back = min(history_seconds, HISTORY_SECONDS)
                report.usage.CopyFrom(usage_message(usage.history(seconds_back)))
