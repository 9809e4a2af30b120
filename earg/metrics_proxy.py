"""A proxy's Prometheus metrics, on an HTTP port of their own.

A scrape is answered by one thread beside the event loop. It has the loop take a snapshot of what
is counted anyway, which takes microseconds, and writes it out by itself. One scrape is answered
at a time, and one that sends nothing is dropped, so scrapers cannot make a proxy grow.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from socketserver import TCPServer
from typing import Any, TypeVar
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from earg.metrics import add_latencies, cumulative_buckets, latency_family, registry_of
from earg.model_usage import ModelUsage, read_model_usage
from earg.proxy_figures import ProxyFigures
from earg.security import SecurityError, security
from earg.wsgi_door import guard_wsgi, secure_listener

log = logging.getLogger(__name__)

SNAPSHOT_TIMEOUT = 2.0
"""Seconds that a scrape waits for the event loop. A loop that is busy for longer is a failed
scrape: that is what the target's ``up`` is to tell."""

SCRAPER_TIMEOUT = 5.0
"""Seconds that a scraper may take to send its request, or to read on in the answer."""

LABELS = ("graph", "node", "role")

T = TypeVar("T")


def on_loop(loop: asyncio.AbstractEventLoop, read: Callable[[], T]) -> T:
    """What ``read`` returns on the event loop, for another thread; raises TimeoutError."""
    answer: Future[T] = Future()

    def work() -> None:
        if answer.set_running_or_notify_cancel():
            try:
                answer.set_result(read())
            except Exception as error:
                answer.set_exception(error)

    loop.call_soon_threadsafe(work)
    try:
        return answer.result(SNAPSHOT_TIMEOUT)
    finally:
        answer.cancel()


class ProxyCollector(Collector):
    """Reads a proxy's figures. Without a graph there are none, and no metrics of them."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, figures: Callable[[], ProxyFigures | None]
    ) -> None:
        self._loop = loop
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment; raises TimeoutError where the event loop hangs."""
        figures = on_loop(self._loop, self._figures)
        if figures is not None:
            yield from families(figures)
            usage = read_model_usage(figures.model_pid) if figures.model_pid else None
            usage = usage or figures.told_usage
            if usage is not None:
                yield from usage_families(figures, usage)


def families(figures: ProxyFigures) -> Iterator[Metric]:
    """A proxy's figures as metric families."""
    labels = (figures.graph, figures.node, figures.role.value)
    counted = figures.statistics
    yield _counter(
        "earg_requests", "Requests that the node has handed on.", labels, counted.requests
    )
    yield _counter("earg_errors", "Requests that failed at the node.", labels, counted.errors)
    for name, documentation, histogram in (
        ("earg_queue_seconds", "From a request's arrival to the model.", counted.queue),
        ("earg_compute_seconds", "A request's time in the model.", counted.compute),
        ("earg_latency_seconds", "From arrival until handed on.", counted.total),
    ):
        latencies = latency_family(name, documentation, LABELS)
        add_latencies(latencies, labels, histogram)
        yield latencies
    sizes = HistogramMetricFamily(
        "earg_batch_size", "Requests in a batch that the model computed.", labels=LABELS
    )
    sizes.add_metric(labels, cumulative_buckets(counted.batches), counted.batches.total)
    yield sizes
    gauges = (
        ("earg_batch_limit", "Most requests in a batch.", counted.batch_limit),
        ("earg_queued_requests", "Requests that wait for the model.", counted.queued),
        ("earg_running_requests", "Requests in the model.", counted.running),
        ("earg_leaving_requests", "Requests computed but not handed on yet.", counted.leaving),
        ("earg_ready", "1 where the proxy answers ping with READY, else 0.", int(figures.ready)),
    )
    for name, documentation, value in gauges:
        yield _gauge(name, documentation, labels, value)
    replication = figures.replication
    if replication is not None:
        yield _gauge(
            "earg_backup_attached",
            "1 where a stateful primary replicates to a backup, else 0.",
            labels,
            int(replication.has_backup),
        )
        yield _gauge(
            "earg_replication_lag_requests",
            "Computed requests whose state the backup does not hold yet.",
            labels,
            replication.requests,
        )
        yield _gauge(
            "earg_replication_lag_seconds",
            "Age of the oldest computed batch whose state the backup does not hold yet.",
            labels,
            replication.seconds,
        )


def usage_families(figures: ProxyFigures, usage: ModelUsage) -> Iterator[Metric]:
    """What the model's process uses, as metric families."""
    labels = (figures.graph, figures.node, figures.role.value)
    yield _counter(
        "earg_model_cpu_seconds",
        "Processor time of the model's process.",
        labels,
        usage.cpu_seconds,
    )
    yield _gauge(
        "earg_model_resident_memory_bytes",
        "Resident memory of the model's process.",
        labels,
        usage.memory,
    )


def _counter(name: str, documentation: str, labels: Sequence[str], value: float) -> Metric:
    family = CounterMetricFamily(name, documentation, labels=LABELS)
    family.add_metric(labels, value)
    return family


def _gauge(name: str, documentation: str, labels: Sequence[str], value: float) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=LABELS)
    family.add_metric(labels, value)
    return family


# --- the port -------------------------------------------------------------------------------


class _Handler(WSGIRequestHandler):
    timeout = SCRAPER_TIMEOUT

    def handle(self) -> None:
        # A scraper that goes away, sends nothing or has no certificate is not worth a traceback.
        with contextlib.suppress(OSError):
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        log.debug(format, *args)


class _Server(WSGIServer):
    request_queue_size = 16

    def server_bind(self) -> None:
        # As http.server does, without asking the name service for the address's name.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()


@dataclass(frozen=True, slots=True)
class MetricsServer:
    """A proxy's ``/metrics`` while it is served."""

    _server: WSGIServer
    _thread: threading.Thread

    def close(self) -> None:
        """Serve no more; returns when its thread has ended."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve_metrics(
    ip: str, port: int, figures: Callable[[], ProxyFigures | None]
) -> MetricsServer | None:
    """Serve ``/metrics`` at ``ip`` and ``port``, of the running event loop's figures, to whoever
    shows the certificate or token that this process asks for.

    None, with a line in the log, where the port is taken or others reach the address and nothing
    is asked for: a proxy serves its graph all the same.
    """
    found = security()
    try:
        found.admit_listening(ip)
    except SecurityError as error:
        log.error("no metrics: %s", error)
        return None
    registry = registry_of(ProxyCollector(asyncio.get_running_loop(), figures))
    server = _Server((ip, port), _Handler, bind_and_activate=False)
    try:
        server.server_bind()
        server.server_activate()
    except OSError as error:
        server.server_close()
        log.error("no metrics: port %d of %s: %s", port, ip, error.strerror)
        return None
    secure_listener(server, found)
    server.set_app(guard_wsgi(make_wsgi_app(registry), found))
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    return MetricsServer(server, thread)
