"""Trace context in and out, and spans with the real OpenTelemetry SDK."""

import json
import subprocess
import sys
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider, SpanKind, StatusCode

from service.logs import JsonLines
from service.telemetry import OpenTelemetry, continue_trace, read_traceparent
from tests.service.harness import JPEG, SELFIE, ServiceHarness, build_service, client_of

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "nonsense",
        TRACEPARENT.upper(),
        f"ff-{TRACE_ID}-{PARENT_ID}-01",
        f"00-{'0' * 32}-{PARENT_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID}-{PARENT_ID}-01-more",
        f"00-{TRACE_ID}-{PARENT_ID}",
        TRACEPARENT + "\n",
    ],
)
def test_what_is_not_valid_begins_a_new_trace(text: str | None) -> None:
    assert read_traceparent(text) is None
    fresh = continue_trace(read_traceparent(text))
    assert fresh.trace_id != TRACE_ID
    assert fresh.flags == "00"


@pytest.mark.parametrize("text", [TRACEPARENT, f"01-{TRACE_ID}-{PARENT_ID}-01", f"cc-{TRACE_ID}-{PARENT_ID}-01-what"])
def test_a_valid_trace_goes_on_under_a_span_of_our_own(text: str) -> None:
    trace = continue_trace(read_traceparent(text))
    assert (trace.trace_id, trace.flags) == (TRACE_ID, "01")
    assert trace.span_id != PARENT_ID
    assert read_traceparent(trace.traceparent) == trace


async def ask(service: ServiceHarness, *requests: tuple[str, str, dict[str, str]]) -> list[httpx.Response]:
    async with client_of(service) as client:
        return [
            await client.request(method, path, headers=headers, content=SELFIE if method == "POST" else b"")
            for method, path, headers in requests
        ]


async def test_the_answer_and_the_log_line_carry_the_callers_trace(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="proofsheet.request")
    (answer,) = await ask(build_service(), ("GET", "/v1/styles", {"traceparent": TRACEPARENT}))
    told = read_traceparent(answer.headers["traceresponse"])
    assert told is not None
    assert (told.trace_id, told.flags) == (TRACE_ID, "01")
    assert told.span_id != PARENT_ID
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records if record.name == "proofsheet.request"]
    assert [line["trace_id"] for line in lines] == [TRACE_ID]


async def test_a_job_takes_the_trace_to_its_worker() -> None:
    service = build_service()
    (answer,) = await ask(service, ("POST", "/v1/portraits", JPEG | {"traceparent": TRACEPARENT}))
    assert answer.status_code == 200, answer.text
    (order,) = service.fakes[0].orders
    assert order.traceparent == answer.headers["traceresponse"]


# ---- with the SDK


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> OpenTelemetry:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return OpenTelemetry(provider)


def spans_by_name(exporter: InMemorySpanExporter) -> dict[str, Any]:
    return {span.name: span for span in exporter.get_finished_spans()}


async def test_a_request_is_a_server_span_under_its_callers(
    tracer: OpenTelemetry, exporter: InMemorySpanExporter
) -> None:
    headers = {"traceparent": TRACEPARENT, "tracestate": "vendor=1"}
    (answer,) = await ask(build_service(tracer=tracer), ("GET", "/v1/styles", headers))
    span = spans_by_name(exporter)["GET /v1/styles"]
    assert span.kind == SpanKind.SERVER
    assert f"{span.context.trace_id:032x}" == TRACE_ID
    assert f"{span.parent.span_id:016x}" == PARENT_ID
    assert span.context.trace_state.get("vendor") == "1"
    assert answer.headers["traceresponse"] == f"00-{TRACE_ID}-{span.context.span_id:016x}-01"
    assert span.attributes["http.response.status_code"] == 200
    assert span.status.status_code == StatusCode.UNSET


async def test_a_job_is_a_span_under_its_request_with_its_stages(
    tracer: OpenTelemetry, exporter: InMemorySpanExporter
) -> None:
    (answer,) = await ask(build_service(tracer=tracer), ("POST", "/v1/portraits?prompt=a+secret+prompt", JPEG))
    assert answer.status_code == 200, answer.text
    spans = spans_by_name(exporter)
    request, job = spans["POST /v1/portraits"], spans["job"]
    assert job.parent.span_id == request.context.span_id
    assert job.attributes["proofsheet.state"] == "succeeded"
    assert job.attributes["proofsheet.stage.steps_ms"] >= 0
    assert job.start_time < job.end_time
    assert "secret" not in str([span.to_json() for span in exporter.get_finished_spans()])


async def test_a_failed_request_and_its_job_say_why(tracer: OpenTelemetry, exporter: InMemorySpanExporter) -> None:
    (answer,) = await ask(
        build_service(tracer=tracer, deadline_seconds=0.05), ("POST", "/v1/portraits?prompt=STALL", JPEG)
    )
    assert answer.status_code == 504
    spans = spans_by_name(exporter)
    for span in (spans["POST /v1/portraits"], spans["job"]):
        assert span.status.status_code == StatusCode.ERROR
        assert span.attributes["error.type"] == "deadline_exceeded"


async def test_probes_and_strange_methods_make_no_names(tracer: OpenTelemetry, exporter: InMemorySpanExporter) -> None:
    await ask(build_service(tracer=tracer), ("GET", "/livez", {}), ("BREW", "/v1/styles/1/2", {}))
    assert list(spans_by_name(exporter)) == ["_OTHER unmatched"]


def test_where_the_provider_makes_no_spans_the_ids_are_ours() -> None:
    tracer = OpenTelemetry(NoOpTracerProvider())
    trace = tracer.begin(TRACEPARENT, None).trace
    assert trace.trace_id == TRACE_ID
    assert trace.span_id not in (PARENT_ID, "0" * 16)
    fresh = tracer.begin("nonsense", None).trace
    assert read_traceparent(fresh.traceparent) == fresh


def test_spans_go_as_otlp_to_the_endpoint_in_the_settings() -> None:
    """A process of its own, whose exporter flushes as it ends, against a collector of two lines."""
    code = """
import http.server, threading
from service.telemetry import open_tracer
class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        print(self.path, self.headers["content-type"], b"proofsheet" in body, flush=True)
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
threading.Thread(target=server.serve_forever, daemon=True).start()
tracer = open_tracer(f"http://127.0.0.1:{server.server_port}/v1/traces")
tracer.begin(None, None).end("GET /v1/styles", {}, failed=False)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "/v1/traces application/x-protobuf True\n"


def test_without_the_sdk_there_are_ids_and_a_wish_for_spans_is_refused() -> None:
    code = """
import sys
class Blocked:
    def find_spec(self, name, *_):
        if name.startswith("opentelemetry"): raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name.startswith("opentelemetry") else find(name, *rest)
from service.telemetry import TelemetryError, open_tracer
print(type(open_tracer(None)).__name__)
try:
    open_tracer("http://collector:4318/v1/traces")
except TelemetryError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == [
        "IdsOnly",
        "spans need packages that are not installed: pip install 'proofsheet[traces]'",
    ]


def test_without_an_endpoint_spans_go_to_the_provider_that_the_process_was_started_with() -> None:
    code = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from service.telemetry import open_tracer
print(type(open_tracer(None)).__name__)
trace.set_tracer_provider(TracerProvider())
print(type(open_tracer(None)).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["IdsOnly", "OpenTelemetry"]
