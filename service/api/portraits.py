"""POST /v1/portraits: selfies come in, portraits go out."""

from typing import Any

from litestar import Request, post
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from service.api.accept import choose_form
from service.api.forms.portrait import PortraitForm
from service.api.front import Front
from service.api.intake.options import options_of
from service.api.intake.placing import place
from service.api.intake.receiving import receive
from service.api.own_operations import PortraitsOperation
from service.api.record import record_of
from service.api.respond import respond
from service.memory import wipe

AnyRequest = Request[Any, Any, Any]


# The body limit is off because `receive` keeps its own, tighter ones while it reads.
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
    record_of(request.scope).headers["Vary"] = "Accept, Prefer"
    accepted = choose_form(request.headers.get("accept"))
    upload = await receive(request, front, PortraitForm, accepted.defaults)
    try:
        form = accepted.form_for(upload.form.n, upload.form.delivery.format)
        options = options_of(request, front, upload.form.terms)
    except BaseException:
        wipe(upload.files)
        raise
    return await respond(request, front, await place(request, front, upload, options), form)
