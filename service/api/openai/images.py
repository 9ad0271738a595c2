"""POST /v1/images/edits and /v1/images/generations, as the `openai` client calls them."""

from typing import Any

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from service.api.answers import note_timings
from service.api.events import EventStream
from service.api.finals import place_final
from service.api.forms.upload import Upload
from service.api.front import Front
from service.api.intake.options import options_of
from service.api.intake.placing import place
from service.api.intake.receiving import receiving
from service.api.intake.waiting import answered
from service.api.openai.fields import ImagesRequest
from service.api.openai.objects import images_response
from service.api.openai.openai_operations import ERROR, STRUCTS, operations
from service.api.openai.reading import Pictures, read_edit, read_generation
from service.api.openai.refusals import OPENAI_SHAPE
from service.api.openai.stream import Kind, OpenAIEvents
from service.api.record import RequestRecord, record_of
from service.api.surface import Surface
from service.errors import ServiceError
from service.jobs.job import Job
from service.memory import wipe

AnyRequest = Request[Any, Any, Any]


@post(
    "/v1/images/edits",
    operation_id="editImages",
    summary="Portraits, for the openai client",
    status_code=200,
    request_max_body_size=None,
)
async def edit_images(request: AnyRequest, front: NamedDependency[Front]) -> ASGIApp:
    """Portraits of the person in the selfies: `client.images.edit(image=..., prompt=...)`."""
    with receiving(request, front):
        asked, pictures = await read_edit(request, front.upload_limits)
    return await _make(request, front, asked, pictures, "image_edit")


@post(
    "/v1/images/generations",
    operation_id="generateImages",
    summary="Portraits from an identity, for the openai client",
    status_code=200,
    request_max_body_size=None,
)
async def generate_images(request: AnyRequest, front: NamedDependency[Front]) -> ASGIApp:
    """Portraits without a selfie: `client.images.generate(..., extra_body={"identity": ...})`; or a `proof`'s final."""
    with receiving(request, front):
        asked, final = await read_generation(request, front.upload_limits)
    if final is None:
        return await _make(request, front, asked, [], "image_generation")
    return await _answer(request, asked, await place_final(request, front, final), "image_generation")


async def _make(request: AnyRequest, front: Front, asked: ImagesRequest, pictures: Pictures, kind: Kind) -> ASGIApp:
    try:
        upload = Upload(asked.form(front.jobs.warm().bundle, openai_models=front.settings.openai_models), pictures)
        options = options_of(request, front, upload.form.terms)
    except BaseException:
        wipe(pictures)
        raise
    return await _answer(request, asked, await place(request, front, upload, options), kind)


async def _answer(request: AnyRequest, asked: ImagesRequest, job: Job, kind: Kind) -> ASGIApp:
    """The stream, or the whole. Detaches. Raises the job's ServiceError, or ClientLeft."""
    record = record_of(request.scope)
    if asked.theirs.stream:
        return EventStream(job, record, tell=OpenAIEvents(job, asked, kind, lambda error: _problem(record, error)))
    finished = await answered(request, job)
    note_timings(record, finished.timings)
    body = msgspec.json.encode(images_response(job, asked, finished))
    return ASGIResponse(body=body, media_type="application/json")


def _problem(record: RequestRecord, error: ServiceError) -> dict[str, Any]:
    """A failure after the headers are out; it is noted as an answer's would be."""
    record.code = error.code
    return error.problem(record.request_id, record.prefix)


OPENAI = Surface(
    name="OpenAI",
    about='For the `openai` client: `OpenAI(base_url=".../v1")`.',
    routes=[edit_images, generate_images],
    paths=["/v1/images"],
    refusals=OPENAI_SHAPE,
    structs=STRUCTS,
    schemas=lambda _settings: {"OpenAIError": ERROR},
    operations=operations,
)
