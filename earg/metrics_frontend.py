"""A frontend's Prometheus metrics, at ``/metrics`` of its HTTP port."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from earg.frontend_counts import FrontendCounts
from earg.metrics import add_latencies, latency_family, registry_of

LABELS = ("graph", "role")


@dataclass(frozen=True, slots=True)
class FrontendFigures:
    """A frontend at one moment: ``in_graph`` of at most ``concurrency`` requests wait for their
    replies, each for at most ``deadline`` seconds, with a body of at most ``body`` bytes."""

    in_graph: int
    concurrency: int
    deadline: float
    body: int


class FrontendCollector(Collector):
    """Reads a frontend's counts; on its event loop, as its route does."""

    def __init__(
        self, graph: str, counts: FrontendCounts, figures: Callable[[], FrontendFigures]
    ) -> None:
        self._labels = (graph, "frontend")
        self._counts = counts
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment."""
        counts, figures = self._counts, self._figures()
        requests = CounterMetricFamily(
            "earg_frontend_requests",
            "Clients' requests that were answered, by the HTTP or gRPC status.",
            labels=(*LABELS, "code"),
        )
        for code, count in sorted(counts.codes.items()):
            requests.add_metric((*self._labels, code), count)
        yield requests
        rejected = CounterMetricFamily(
            "earg_frontend_rejected",
            "Requests that were refused because the graph was full.",
            labels=LABELS,
        )
        rejected.add_metric(self._labels, counts.rejected)
        yield rejected
        latency = latency_family(
            "earg_frontend_latency_seconds",
            "From a client's request to the beginning of its answer.",
            LABELS,
        )
        add_latencies(latency, self._labels, counts.latency())
        yield latency
        for name, documentation, value in (
            ("earg_frontend_requests_in_graph", "Requests without a reply yet.", figures.in_graph),
            (
                "earg_frontend_concurrency_limit",
                "Most requests in the graph at once.",
                figures.concurrency,
            ),
            (
                "earg_frontend_deadline_seconds",
                "Longest time that a request may take.",
                figures.deadline,
            ),
            ("earg_frontend_body_limit_bytes", "Largest body of a request.", figures.body),
        ):
            gauge = GaugeMetricFamily(name, documentation, labels=LABELS)
            gauge.add_metric(self._labels, value)
            yield gauge


def metrics_route(
    graph: str, counts: FrontendCounts, figures: Callable[[], FrontendFigures]
) -> Route:
    """``GET /metrics``, in the form that the scraper accepts."""
    registry = registry_of(FrontendCollector(graph, counts, figures))

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"Content-Type": content_type})

    return Route("/metrics", metrics, methods=["GET"])
