"""What a request says of its job besides its pictures: in headers, in fields, or in either."""

import re
from typing import Any

from litestar import Request
from litestar.datastructures import Headers

from service.api.body.expected import kind_of
from service.api.forms.terms import CallerTerms
from service.api.front import Front
from service.api.prefer import read_cancel_after, read_prefer
from service.errors import BadRequest
from service.jobs.idempotency import read_key
from service.jobs.options import JobOptions
from service.settings import Settings

AnyRequest = Request[Any, Any, Any]
PLAIN_SECONDS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3})?")


def options_of(request: AnyRequest, front: Front, form: CallerTerms) -> JobOptions:
    """What the headers and fields say of the job besides its pictures. Raises BadRequest."""
    headers = request.headers
    preferences = read_prefer(headers.get("prefer"))
    is_async = preferences.respond_async
    on_disconnect = form.on_disconnect or ("finish" if is_async else "cancel")
    return JobOptions(
        deadline_seconds=_deadline(form.deadline, headers, front.settings.max_deadline_seconds),
        on_disconnect=on_disconnect,
        idempotency_key=read_key(headers.get("idempotency-key")),
        keep=is_async or preferences.waits or on_disconnect == "finish" or form.webhook is not None,
        webhook=form.webhook,
    )


def latest_deadline(request: AnyRequest, settings: Settings) -> float:
    """The longest deadline that the request may still turn out to have: a form's fields come with its photos."""
    query = request.query_params.get("deadline", "")
    given = [float(query)] if PLAIN_SECONDS.fullmatch(query) else []
    header = read_cancel_after(request.headers.get("cancel-after"))
    given += [header] if header is not None else []
    is_raw = kind_of(request.content_type[0]) == "picture"
    return min(given, default=settings.deadline_seconds if is_raw else settings.max_deadline_seconds)


def _deadline(field: float | None, headers: Headers, longest: float) -> float | None:
    """The field's or the header's seconds, whichever ends first; None is the service's default."""
    header = read_cancel_after(headers.get("cancel-after"))
    given = [("field", "deadline", field), ("header", "Cancel-After", header)]
    for kind, name, seconds in given:
        if seconds is not None and seconds > longest:
            message = f"The {kind} {name} is over its limit of {longest:g} s."
            raise BadRequest("deadline_too_large", message, value=seconds, limit=longest, extra={kind: name})
    return min((seconds for _, _, seconds in given if seconds is not None), default=None)
