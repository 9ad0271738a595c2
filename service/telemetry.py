"""Where a request stands in its caller's trace: W3C Trace Context in and out, and OpenTelemetry spans where wanted.

A trace is ids and nothing else: no span attribute holds what a caller sent. Without OpenTelemetry the ids are still
made and passed on, so that log lines of the caller, the front and the worker can be laid side by side.
https://www.w3.org/TR/trace-context/ (level 1; `traceresponse` is its editors' draft for answers)
"""

import importlib.util
import re
import secrets
import time
from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct

TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
MAX_TRACESTATE = 512
Attributes = Mapping[str, str | int | float]


class TelemetryError(Exception):
    """Spans can't be sent. The text is for the operator."""


class Trace(Struct, frozen=True):
    """Our own place in a trace."""

    trace_id: str  # 32 hex digits
    span_id: str  # 16 hex digits
    flags: str = "00"

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def read_traceparent(text: str | None) -> Trace | None:
    """The caller's place, or None for what is not valid: then a new trace begins, as the standard asks.

    A version that is not known yet is read by its first four fields.
    """
    match = TRACEPARENT.fullmatch(text or "")
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or set(trace_id) == {"0"} or set(span_id) == {"0"}:
        return None
    return Trace(trace_id, span_id, flags)


def continue_trace(parent: Trace | None) -> Trace:
    """A place of our own under the caller's, or in a new trace, which nobody asked to record."""
    if parent is None:
        return Trace(secrets.token_hex(16), secrets.token_hex(8))
    return Trace(parent.trace_id, secrets.token_hex(8), parent.flags)


class Span(Protocol):
    """One request's span, begun and not ended yet."""

    trace: Trace
    is_recording: bool  # else nobody reads what `end` is given

    def end(self, name: str, attributes: Attributes, *, failed: bool) -> None: ...


class Tracer(Protocol):
    """Makes spans. `begin` and `Span.end` go around a request; `add` tells of something that is over."""

    is_recording: bool  # else nobody reads what `add` is given

    def begin(self, traceparent: str | None, tracestate: str | None) -> Span: ...

    def add(
        self, name: str, parent: str | None, start: float, end: float, attributes: Attributes, *, failed: bool
    ) -> None:
        """`parent` is a traceparent; `start` and `end` are wall-clock seconds."""
        ...


class IdsOnly:
    """A tracer that records nothing, and its spans."""

    is_recording = False

    def __init__(self, trace: Trace | None = None) -> None:
        self.trace = trace or continue_trace(None)

    def begin(self, traceparent: str | None, tracestate: str | None) -> Span:
        return IdsOnly(continue_trace(read_traceparent(traceparent)))

    def end(self, name: str, attributes: Attributes, *, failed: bool) -> None: ...

    def add(
        self, name: str, parent: str | None, start: float, end: float, attributes: Attributes, *, failed: bool
    ) -> None: ...


class OpenTelemetry:
    """A tracer on an OpenTelemetry provider: the process's own one, or one made by `open_tracer`."""

    is_recording = True

    def __init__(self, provider: Any) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = provider.get_tracer("proofsheet")
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, traceparent: str | None, tracestate: str | None) -> Span:
        from opentelemetry.trace import SpanKind

        parent = read_traceparent(traceparent)
        context = self._context(traceparent if parent else None, tracestate)
        return OpenSpan(self._tracer.start_span("request", context=context, kind=SpanKind.SERVER), parent)

    def add(
        self, name: str, parent: str | None, start: float, end: float, attributes: Attributes, *, failed: bool
    ) -> None:
        span = self._tracer.start_span(name, context=self._context(parent, None), start_time=int(start * 1e9))
        _finish(span, attributes, failed)
        span.end(int(end * 1e9))

    def _context(self, traceparent: str | None, tracestate: str | None) -> Any:
        from opentelemetry.context import Context

        carrier = {"traceparent": traceparent or "", "tracestate": (tracestate or "")[:MAX_TRACESTATE]}
        return self._propagator.extract(carrier, context=Context())


class OpenSpan:
    """An OpenTelemetry span of a request. Where the provider makes none, the ids are our own."""

    def __init__(self, span: Any, parent: Trace | None) -> None:
        self._span = span
        self.is_recording: bool = span.is_recording()
        made = span.get_span_context()
        own = made.is_valid and (parent is None or made.span_id != int(parent.span_id, 16))
        ids = Trace(f"{made.trace_id:032x}", f"{made.span_id:016x}", f"{made.trace_flags:02x}")
        self.trace = ids if own else continue_trace(parent)

    def end(self, name: str, attributes: Attributes, *, failed: bool) -> None:
        self._span.update_name(name)
        _finish(self._span, attributes, failed)
        self._span.end(time.time_ns())


def _finish(span: Any, attributes: Attributes, failed: bool) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attributes(dict(attributes))
    if failed:
        span.set_status(StatusCode.ERROR)


def open_tracer(endpoint: str | None) -> Tracer:
    """The tracer for this process. Raises TelemetryError if spans are wanted and the packages are not here.

    With an endpoint, spans go there as OTLP over HTTP, in batches, from a thread of the SDK's. Without one they go to
    the provider that the process was started with (`opentelemetry-instrument`); if there is none, none are made.
    """
    if endpoint is not None:
        return OpenTelemetry(_provider_to(endpoint))
    if importlib.util.find_spec("opentelemetry") is None or importlib.util.find_spec("opentelemetry.sdk") is None:
        return IdsOnly()
    from opentelemetry import trace

    provider = trace.get_tracer_provider()
    return IdsOnly() if isinstance(provider, trace.ProxyTracerProvider) else OpenTelemetry(provider)


def _provider_to(endpoint: str) -> Any:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise TelemetryError("spans need packages that are not installed: pip install 'proofsheet[traces]'") from None
    provider = TracerProvider(resource=Resource.create({"service.name": "proofsheet"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return provider
