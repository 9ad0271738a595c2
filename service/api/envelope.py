"""What every answer carries and leaves behind: id, timing and safety headers, one log line, two metrics.

A plain ASGI wrapper around the whole application, so that a 404 or a crash in routing gets the same.
"""

import logging
from typing import Any, cast

from litestar.types import ASGIApp, HTTPResponseStartEvent, Message, Receive, Scope, Send

from service.access.caller import SCOPE_KEY
from service.api.forwarded import prefix_of
from service.api.record import KEY, RequestRecord
from service.metrics import Metrics
from service.telemetry import IdsOnly, Span, Tracer

logger = logging.getLogger("proofsheet.request")

FIXED_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PROBES = frozenset({"/livez", "/readyz", "/health", "/metrics"})  # logged only when they fail


class Envelope:
    """Wraps an ASGI application; keeps nothing between requests."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracer: Tracer) -> None:
        self._app = app
        self._metrics = metrics
        self._tracer = tracer
        self._quiet_tracer = IdsOnly()  # a span for every probe would bury the others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tracer = self._quiet_tracer if scope["path"] in PROBES else self._tracer
        span = tracer.begin(_header(scope, b"traceparent"), _header(scope, b"tracestate"))
        record = RequestRecord(_header(scope, b"x-request-id"), span.trace, prefix_of(scope))
        scope[KEY] = record  # pyright: ignore[reportGeneralTypeIssues] - a key of our own in the scope

        async def send_wrapped(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                message["headers"] = _headers(message, record)
            await send(message)

        try:
            await self._app(scope, receive, send_wrapped)
        finally:
            self._note(scope, record)
            if span.is_recording:
                _end_span(span, scope, record)

    def _note(self, scope: Scope, record: RequestRecord) -> None:
        route = str(cast(dict[str, Any], scope).get("path_template", "unmatched"))
        self._metrics.count_request(route, record.outcome, record.elapsed_ms / 1e3)
        for stage in ("upload", "decode_upload"):
            if stage in record.stages:
                self._metrics.add_stage(stage, record.stages[stage])
        if record.code is not None:
            self._metrics.rejections.labels(record.code).inc()
        if route in PROBES and record.outcome in ("ok", "no_capacity"):
            return
        fields: dict[str, Any] = {
            "method": scope["method"] if scope["type"] == "http" else scope["type"],
            "route": route,
            "status": record.status,
            "ms": round(record.elapsed_ms, 1),
            "outcome": record.outcome,
            "request_id": record.request_id,
            "trace_id": record.trace.trace_id,
        }
        caller = cast(dict[str, Any], scope).get(SCOPE_KEY)
        optional = {"code": record.code, "job_id": record.job_id, "caller": caller and caller.id}
        fields |= {key: value for key, value in optional.items() if value is not None}
        logger.info("request", extra={"fields": fields})


def _end_span(span: Span, scope: Scope, record: RequestRecord) -> None:
    known = cast(dict[str, Any], scope)
    method = known.get("method") if known.get("method") in METHODS else "_OTHER"
    route = str(known.get("path_template", "unmatched"))
    attributes = {
        "http.request.method": str(method),
        "http.route": route,
        "http.response.status_code": record.status,
        "proofsheet.outcome": record.outcome,
        "proofsheet.request_id": record.request_id,
    }
    optional = {"error.type": record.code, "proofsheet.job_id": record.job_id}
    attributes |= {key: value for key, value in optional.items() if value is not None}
    span.end(f"{method} {route}", attributes, failed=record.status >= 500)


def _header(scope: Scope, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def _headers(message: HTTPResponseStartEvent, record: RequestRecord) -> list[tuple[bytes, bytes]]:
    """The answer's own headers, ours where it sets none of that name, and what is known only now."""
    headers = list(message.get("headers", []))
    names = {name.lower() for name, _ in headers}
    noted = [(name.lower().encode(), value.encode("latin-1")) for name, value in record.headers.items()]
    headers += [(name, value) for name, value in (*noted, *FIXED_HEADERS) if name not in names]
    headers += [
        (b"x-request-id", record.request_id.encode()),
        (b"server-timing", record.server_timing().encode()),
        (b"traceresponse", record.trace.traceparent.encode()),
    ]
    return headers
