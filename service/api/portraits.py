"""POST /v1/portraits: selfies come in, portraits go out."""

from typing import Any

from litestar import Request, post
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from service.api.accept import choose_form
from service.api.answers import image_response, json_response
from service.api.events import EventStream
from service.api.forms import wipe
from service.api.front import Front
from service.api.intake import answered, answered_within, hand_over, place, receive, terms_of
from service.api.jobs import accepted_response
from service.api.openapi import PortraitsOperation
from service.api.prefer import read_prefer
from service.api.record import record_of

AnyRequest = Request[Any, Any, Any]


# The body limit is off because `read_upload` keeps its own, tighter ones while it reads.
@post(
    "/v1/portraits",
    operation_id="createPortraits",
    summary="Make portraits from selfies",
    status_code=200,
    operation_class=PortraitsOperation,
    request_max_body_size=None,
)
async def create_portraits(request: AnyRequest, front: NamedDependency[Front]) -> ASGIApp:
    """Make portraits of the person in the selfies."""
    accepted = choose_form(request.headers.get("accept"))
    record = record_of(request.scope)
    record.headers["Vary"] = "Prefer"
    upload = await receive(request, front)
    try:
        accepted.check(upload.form.n, upload.form.format)
        terms = terms_of(request, front, upload)
    except BaseException:
        wipe(upload.files)
        raise
    preferences = read_prefer(request.headers.get("prefer"))
    job = await place(request, front, upload, terms)
    if preferences.respond_async:
        hand_over(job)
        return accepted_response(job, record, front, preferences)
    if accepted.form == "events":
        return EventStream(job, record)
    if preferences.wait_seconds is not None:
        finished = await answered_within(request, job, preferences.wait_seconds)
        if finished is None:
            return accepted_response(job, record, front, preferences)
        record.headers["Preference-Applied"] = preferences.applied
    else:
        finished = await answered(request, job)
    return image_response(job, record, finished) if accepted.form == "image" else json_response(job, record, finished)
