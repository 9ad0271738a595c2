"""Every exception becomes application/problem+json (RFC 9457) with a stable code."""

import logging
from collections.abc import Callable
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from service.api.presence import ClientLeft
from service.api.record import record_of
from service.api.surface import shape_at
from service.errors import ServiceError
from service.logs import describe_exception

logger = logging.getLogger("proofsheet.error")

MEDIA_TYPE = "application/problem+json"
CLIENT_LEFT_STATUS = 499  # nobody reads it; it is what proxies log for the same

HTTP_CODES = {
    400: ("bad_request", "The request is not valid"),
    404: ("not_found", "There is no such thing here"),
    405: ("method_not_allowed", "This method is not allowed here"),
    406: ("not_acceptable", "No acceptable form of answer"),
    413: ("body_too_large", "The body is too large"),
    415: ("unsupported_media", "This kind of content is not read here"),
}

AnyRequest = Request[Any, Any, Any]


def problem_response(
    request: AnyRequest, status: int, body: dict[str, Any], headers: dict[str, str] | None = None
) -> Response[bytes]:
    record_of(request.scope).code = body["code"]
    shape = shape_at(request.scope["path"], request.app.state.surfaces)
    return Response(
        msgspec.json.encode(shape.tell(body)),
        status_code=status,
        media_type=shape.media_type,
        headers=(headers or {}) | shape.headers(status),
    )


def answer_service_error(request: AnyRequest, error: ServiceError) -> Response[bytes]:
    headers = dict(error.headers)
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    if error.closes_connection:
        headers["Connection"] = "close"
    record = record_of(request.scope)
    body = error.problem(record.request_id, record.prefix)
    return problem_response(request, error.status, body, headers)


def answer_http_exception(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    """Litestar's own refusals: unknown paths and methods, malformed requests."""
    code, title = HTTP_CODES.get(error.status_code, (f"http_{error.status_code}", "The request was refused"))
    detail = error.detail if isinstance(error, ValidationException) else title + "."
    body = _plain_problem(request, error.status_code, code, title, detail)
    return problem_response(request, error.status_code, body, dict(error.headers or {}))


def answer_client_left(request: AnyRequest, _error: ClientLeft) -> Response[bytes]:
    record_of(request.scope).disconnected = True
    return Response(b"", status_code=CLIENT_LEFT_STATUS, media_type=MEDIA_TYPE)


def answer_bug(request: AnyRequest, error: Exception) -> Response[bytes]:
    """A bug of ours. The log gets types and places, never values: they may be somebody's face."""
    logger.error(describe_exception(error), extra={"fields": {"request_id": record_of(request.scope).request_id}})
    title = "The service failed"
    body = _plain_problem(request, 500, "internal_error", title, "This is a bug; the request id finds it in our log.")
    return problem_response(request, 500, body)


def _plain_problem(request: AnyRequest, status: int, code: str, title: str, detail: str) -> dict[str, Any]:
    record = record_of(request.scope)
    return {
        "type": f"{record.prefix}/docs/errors#{code}",
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": record.request_id,
    }


EXCEPTION_HANDLERS: dict[type[Exception] | int, Callable[[AnyRequest, Any], Response[bytes]]] = {
    ServiceError: answer_service_error,
    ClientLeft: answer_client_left,
    HTTPException: answer_http_exception,
    Exception: answer_bug,
}
