"""Traces that go to a real OTLP/HTTP receiver, and what happens where there is none."""

from __future__ import annotations

import gzip
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from earg import telemetry
from earg.client import connect
from earg.config import NodeSpec, StaticConfig, write_static
from earg.environment import process_environment
from earg.images import Implementation
from earg.telemetry import TraceExporter, exporter_from_environment
from earg.traces import Hop, Trace
from tests.earg.running import MODELS
from tests.earg.test_agent import processes_in

pytestmark = pytest.mark.slow

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "b7ad6b7169203331"
PARENT = "00f067aa0ba902b7"
START = 1_800_000_000.25

HOPS = (
    Hop("first", 1, START + 0.001, 0.002, 0.010, 0.003, 4, 0),
    Hop("second", 2, START + 0.020, 0.0, 0.5, 0.001, 1, 1),
)


def trace(**changes: Any) -> Trace:
    values: dict[str, Any] = {
        "graph": "g",
        "request": 7,
        "trace_id": TRACE,
        "span_id": SPAN,
        "parent_id": PARENT,
        "start": START,
        "duration": 0.75,
        "error": "",
        "hops": HOPS,
    }
    return Trace(**(values | changes))


class Receiver:
    """An OTLP/HTTP collector that keeps what it gets. While ``gate`` is not set it answers
    nothing."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver.requests.append(ExportTraceServiceRequest.FromString(body))
                receiver.headers.append({k.lower(): v for k, v in self.headers.items()})
                receiver.paths.append(self.path)
                receiver.gate.wait(30)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


def exporter_to(url: str, monkeypatch: pytest.MonkeyPatch) -> TraceExporter:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    exporter = exporter_from_environment()
    assert exporter is not None
    return exporter


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def nanoseconds(seconds: float) -> Any:
    # A float of today's Unix time is right to about 0.2 microseconds.
    return pytest.approx(seconds * 1e9, abs=1000, rel=0)


def test_a_trace_arrives_as_spans_that_keep_the_clients_ids_and_the_times(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a-key")
    exporter = exporter_to(receiver.url, monkeypatch)
    exporter(trace())
    exporter.close()
    assert receiver.paths == ["/v1/traces"]
    assert receiver.headers[0]["x-key"] == "a-key"
    (resource,) = receiver.requests[0].resource_spans
    assert attributes(resource.resource)["service.name"] == "earg"
    spans = receiver.spans
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    assert len({span.span_id for span in spans}) == len(spans) == 7
    (root,) = (span for span in spans if span.span_id.hex() == SPAN)
    assert (root.name, root.parent_span_id.hex()) == ("g request", PARENT)
    assert root.kind == root.SPAN_KIND_SERVER
    assert attributes(root) == {"earg.graph": "g", "earg.request.id": 7}
    assert root.status.code == root.status.STATUS_CODE_UNSET
    assert root.start_time_unix_nano == nanoseconds(START)
    assert root.end_time_unix_nano == nanoseconds(START + 0.75)
    for hop in HOPS:
        (span,) = (span for span in spans if span.name == hop.node)
        assert span.parent_span_id == root.span_id
        assert attributes(span) == {
            "earg.node": hop.node,
            "earg.node.index": hop.index,
            "earg.batch.size": hop.batch,
            "earg.replica": hop.replica,
        }
        computing, leaving = hop.start + hop.queue, hop.start + hop.queue + hop.compute
        assert span.start_time_unix_nano == nanoseconds(hop.start)
        assert span.end_time_unix_nano == nanoseconds(leaving + hop.leave)
        parts = {one.name: one for one in spans if one.parent_span_id == span.span_id}
        assert set(parts) == {"queue", "compute"}
        assert parts["queue"].start_time_unix_nano == nanoseconds(hop.start)
        assert parts["queue"].end_time_unix_nano == nanoseconds(computing)
        assert parts["compute"].start_time_unix_nano == nanoseconds(computing)
        assert parts["compute"].end_time_unix_nano == nanoseconds(leaving)


def test_a_failed_request_without_a_parent_is_a_root_with_its_sentence(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = exporter_to(receiver.url, monkeypatch)
    exporter(trace(parent_id="", error="ValueError: bad is refused", hops=()))
    exporter(trace(trace_id="1" * 32, span_id="2" * 16, parent_id="", hops=()))
    exporter.close()
    failed, fine = receiver.spans
    assert (failed.trace_id.hex(), failed.span_id.hex()) == (TRACE, SPAN)
    assert failed.parent_span_id == b""
    assert failed.status.code == failed.status.STATUS_CODE_ERROR
    assert failed.status.message == "ValueError: bad is refused"
    assert (fine.trace_id.hex(), fine.span_id.hex()) == ("1" * 32, "2" * 16)


@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_SERVICE_NAME", "mine"), ("OTEL_RESOURCE_ATTRIBUTES", "service.name=mine,a=b")],
)
def test_a_service_name_of_the_environment_goes_first(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    # Whether requests are traced was decided before: this sampler drops none any more.
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    exporter = exporter_to(receiver.url, monkeypatch)
    exporter(trace())
    exporter.close()
    (resource,) = receiver.requests[0].resource_spans
    assert attributes(resource.resource)["service.name"] == "mine"


def test_spans_are_sent_while_the_exporter_is_open(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    exporter = exporter_to(receiver.url, monkeypatch)
    exporter(trace())
    deadline = time.monotonic() + 10
    while len(receiver.spans) < 7:
        assert time.monotonic() < deadline, "no spans arrived"
        time.sleep(0.01)
    exporter.close()
    assert len(receiver.spans) == 7


# --- where it cannot be ---------------------------------------------------------------------


def test_a_receiver_that_hangs_costs_no_time_and_bounded_memory(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "70")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "35")
    receiver.gate.clear()
    exporter = exporter_to(receiver.url, monkeypatch)
    started = time.monotonic()
    for _ in range(500):
        exporter(trace())
    # The receiver would hold each of the 100 batches for 30 s.
    assert time.monotonic() - started < 10
    receiver.gate.set()
    exporter.close()
    # What was queued, and the batch that was on its way: the other 3,395 spans were dropped.
    assert 70 <= len(receiver.spans) <= 70 + 35


@pytest.mark.parametrize("hangs", [True, False])
def test_closing_does_not_wait_for_a_lost_receiver(
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    hangs: bool,
) -> None:
    monkeypatch.setattr(telemetry, "FLUSH_TIMEOUT", 0.5)
    if hangs:
        receiver.gate.clear()
        url = receiver.url
    else:
        url = "http://127.0.0.1:9"  # discard: nobody listens
    exporter = exporter_to(url, monkeypatch)
    exporter(trace())
    started = time.monotonic()
    exporter.close()
    assert time.monotonic() - started < 5
    exporter(trace())  # too late, and no error


def test_a_trace_that_is_none_is_dropped_and_told_once(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = exporter_to(receiver.url, monkeypatch)
    for _ in range(3):
        exporter(trace(trace_id="no hex"))
    exporter(trace())
    exporter.close()
    told = [one for one in caplog.records if "cannot be exported" in one.getMessage()]
    assert len(told) == 1
    assert len(receiver.spans) == 7


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nothing_is_exported_unless_it_is_configured(
    variables: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert exporter_from_environment(variables) is None
    assert caplog.records == []


def test_another_protocol_is_refused_with_what_to_set(caplog: pytest.LogCaptureFixture) -> None:
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    }
    assert exporter_from_environment(variables) is None
    (record,) = caplog.records
    assert "http/protobuf" in record.getMessage()


def run_python(code: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout + done.stderr


def test_the_libraries_are_loaded_only_where_an_endpoint_is_set() -> None:
    code = (
        "import sys, earg.telemetry as t; t.exporter_from_environment(); "
        "print(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert run_python(code).strip() == "False"
    with_endpoint = run_python(code, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert with_endpoint.strip() == "True"


def test_a_missing_library_is_told_with_what_to_install() -> None:
    code = """
import sys
sys.modules["opentelemetry.sdk.trace"] = None
from earg.telemetry import exporter_from_environment
print(exporter_from_environment())
"""
    text = run_python(code, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://127.0.0.1:9/v1/traces")
    assert text.startswith("None\n")
    assert "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set, but OpenTelemetry is not installed" in text
    assert "install the extra 'otel'" in text


# --- who gets the variables -----------------------------------------------------------------


def test_telemetrys_variables_are_handed_on_where_they_are_asked_for_alone() -> None:
    variables = {"PATH": "/bin", "OTEL_EXPORTER_OTLP_HEADERS": "key=secret", "XOTEL_A": "b"}
    assert process_environment(variables) == {"PATH": "/bin"}
    assert process_environment(variables, telemetry=True) == {
        "PATH": "/bin",
        "OTEL_EXPORTER_OTLP_HEADERS": "key=secret",
    }


def test_the_frontend_alone_gets_what_may_hold_a_secret(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EARG_HOME", str(home))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "key=secret")
    with connect(home) as agent:
        text = write_static(StaticConfig((NodeSpec("only", "1", "image", False, 8),)))
        agent.deploy_node("g", "1", text, 1, Implementation("little:Echo", str(MODELS)))
        agent.wire("g")
        processes = {
            next(arg for arg in process.cmdline() if arg.startswith("earg.")): process.environ()
            for process in processes_in(home)
        }
    assert set(processes) == {"earg.agent", "earg.frontend", "earg.model", "earg.proxy"}
    have = {
        name for name, variables in processes.items() if "OTEL_EXPORTER_OTLP_HEADERS" in variables
    }
    assert have == {"earg.agent", "earg.frontend"}
