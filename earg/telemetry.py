"""Traces for OpenTelemetry, where the environment configures it.

The variables are OpenTelemetry's own: OTEL_EXPORTER_OTLP_ENDPOINT or
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT switch the export on; OTEL_EXPORTER_OTLP_HEADERS, _TIMEOUT and
_CERTIFICATE, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES and OTEL_BSP_* mean what they always do.
The protocol is OTLP over HTTP. The libraries are the optional extra ``otel`` and are loaded only
where they are needed.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from earg.traces import Hop, Trace

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.id_generator import IdGenerator

log = logging.getLogger(__name__)

FLUSH_TIMEOUT = 2.0
"""Seconds that closing waits for spans which are not sent yet."""

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


class TraceExporter:
    """Call it with a trace: its spans are queued, and a thread of its own sends them in batches.

    A call neither waits nor raises. What a full queue (OTEL_BSP_MAX_QUEUE_SIZE spans, 2048) has no
    room for is dropped.
    """

    def __init__(self, provider: TracerProvider, ids: _GivenIds) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("earg")
        self._ids = ids
        self._has_failed = False

    def __call__(self, trace: Trace) -> None:
        try:
            self._export(trace)
        except Exception:
            if not self._has_failed:
                log.exception("a trace cannot be exported; further ones are dropped silently")
            self._has_failed = True

    def close(self) -> None:
        """Send what is queued, for :data:`FLUSH_TIMEOUT` seconds at most, and take no more."""
        # The shutdown of an unreachable receiver takes up to 30 s, so somebody else waits for it.
        ending = threading.Thread(target=self._provider.shutdown, name="telemetry", daemon=True)
        ending.start()
        ending.join(FLUSH_TIMEOUT)
        if ending.is_alive():
            log.warning("the last traces were not taken within %g s; they are lost", FLUSH_TIMEOUT)

    def _export(self, trace: Trace) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        self._ids.trace_id = int(trace.trace_id, 16)
        self._ids.span_id = int(trace.span_id, 16)
        span = self._tracer.start_span(
            f"{trace.graph} request",
            context=_client_context(trace),
            kind=SpanKind.SERVER,
            attributes={"earg.graph": trace.graph, "earg.request.id": trace.request},
            start_time=_nanoseconds(trace.start),
        )
        if trace.error:
            span.set_status(Status(StatusCode.ERROR, trace.error))
        within = set_span_in_context(span)
        for hop in trace.hops:
            self._export_hop(hop, within)
        span.end(_nanoseconds(trace.start + trace.duration))

    def _export_hop(self, hop: Hop, within: Context) -> None:
        from opentelemetry.trace import set_span_in_context

        computing = hop.start + hop.queue
        leaving = computing + hop.compute
        span = self._tracer.start_span(
            hop.node,
            context=within,
            attributes={
                "earg.node": hop.node,
                "earg.node.index": hop.index,
                "earg.batch.size": hop.batch,
                "earg.replica": hop.replica,
            },
            start_time=_nanoseconds(hop.start),
        )
        inside = set_span_in_context(span)
        for name, start, end in (
            ("queue", hop.start, computing),
            ("compute", computing, leaving),
        ):
            part = self._tracer.start_span(name, context=inside, start_time=_nanoseconds(start))
            part.end(_nanoseconds(end))
        span.end(_nanoseconds(leaving + hop.leave))


def exporter_from_environment(
    environment: Mapping[str, str] | None = None,
) -> TraceExporter | None:
    """What exports traces as the environment says; None where it configures no endpoint, switches
    traces off, or the export cannot be set up, which the log tells then."""
    variables = os.environ if environment is None else environment
    if not any(variables.get(name, "").strip() for name in ENDPOINTS):
        return None
    if (
        variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        or variables.get("OTEL_TRACES_EXPORTER", "otlp").strip() == "none"
    ):
        return None
    protocol = next((v for name in PROTOCOLS if (v := variables.get(name, "").strip())), "")
    if protocol not in ("", "http/protobuf"):
        log.error(
            "no traces are exported: the protocol %r is not spoken; set %s=http/protobuf and an "
            "endpoint for it (a collector's port 4318)",
            protocol,
            PROTOCOLS[0],
        )
        return None
    try:
        return _make_exporter()
    except ImportError as error:
        log.error(
            "no traces are exported: %s is set, but OpenTelemetry is not installed (%s); install "
            "the extra 'otel': opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http",
            next(name for name in ENDPOINTS if variables.get(name, "").strip()),
            error,
        )
    except Exception:
        log.exception("no traces are exported: OpenTelemetry's variables (OTEL_*) are not right")
    return None


def _make_exporter() -> TraceExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    resource = Resource.create()
    # What OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES name it goes first.
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "earg"}))
    ids = _GivenIds()
    provider = TracerProvider(
        # Which requests are traced was decided where they came in.
        sampler=ALWAYS_ON,
        resource=resource,
        id_generator=_id_generator(ids),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return TraceExporter(provider, ids)


class _GivenIds:
    """The ids of the next span: those that the frontend has told its client; else random ones."""

    def __init__(self) -> None:
        self.trace_id = 0
        self.span_id = 0


def _id_generator(ids: _GivenIds) -> IdGenerator:
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class GivenIdGenerator(RandomIdGenerator):
        def generate_span_id(self) -> int:
            given, ids.span_id = ids.span_id, 0
            return given or super().generate_span_id()

        def generate_trace_id(self) -> int:
            given, ids.trace_id = ids.trace_id, 0
            return given or super().generate_trace_id()

    return GivenIdGenerator()


def _client_context(trace: Trace) -> Context:
    """The context of the client's span, or an empty one."""
    from opentelemetry.context import Context
    from opentelemetry.trace import (
        NonRecordingSpan,
        SpanContext,
        TraceFlags,
        set_span_in_context,
    )

    if not trace.parent_id:
        return Context()
    parent = SpanContext(
        int(trace.trace_id, 16),
        int(trace.parent_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
    return set_span_in_context(NonRecordingSpan(parent), Context())


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
