"""POST /v1/portraits: selfies come in, portraits go out."""

import asyncio
import contextlib
from typing import Any

from litestar import Request, post
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from models.messages import Picture
from service.api.accept import choose_form
from service.api.answers import JobInWords, collect, image_response, json_response
from service.api.events import EventStream
from service.api.forms import Upload, read_upload, wipe
from service.api.front import Front
from service.api.openapi import PortraitsOperation
from service.api.orders import Photos, Wish, deadline_of
from service.api.portrait_form import POSE_FIELD
from service.api.presence import settle, while_present
from service.api.record import record_of
from service.errors import ServiceError
from service.images import Decoders
from service.jobs.job import Job

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
    upload = await _receive(request, front)
    with contextlib.ExitStack() as ending:  # the job's place and the selfies' bytes are given back on every way out
        ending.callback(wipe, upload.files)
        bundle = front.jobs.warm().bundle
        wish = Wish(
            upload.form, front.styles, bundle, max_images=front.settings.max_images, has_pose=upload.pose is not None
        )
        accepted.check(upload.form.n, upload.form.format)
        job = _accept(request, front, wish)
        ending.callback(job.end)
        photos = await while_present(request.receive, _decode(request, front.decoders, upload))
        events = job.events(wish.order(job.id, photos, job.seconds_left()))
        stream = _describe(request, front, wish, job)
        if accepted.form == "events":
            return EventStream(stream, events, ending.pop_all().close)
        finished = await while_present(request.receive, collect(events))
    return image_response(stream, finished) if accepted.form == "image" else json_response(stream, finished)


async def _receive(request: AnyRequest, front: Front) -> Upload:
    """The body, within its bounds. Raises NoCapacity before a byte of it is read."""
    record = record_of(request.scope)
    with front.jobs.uploading(), record.stage("upload"):
        return await read_upload(request, limits=front.upload_limits)


def _accept(request: AnyRequest, front: Front, wish: Wish) -> Job:
    settings = front.settings
    deadline = deadline_of(wish.form, default=settings.deadline_seconds, longest=settings.max_deadline_seconds)
    job = front.jobs.accept(deadline)
    record_of(request.scope).job_id = job.id
    return job


def _describe(request: AnyRequest, front: Front, wish: Wish, job: Job) -> JobInWords:
    return JobInWords(
        job_id=job.id,
        position=front.jobs.waiting,
        seeds=wish.seeds,
        model=wish.model,
        style=wish.style.name if wish.style is not None else None,
        record=record_of(request.scope),
    )


async def _decode(request: AnyRequest, decoders: Decoders, upload: Upload) -> Photos:
    """All photos as pixels, side by side, and their bytes wiped. Raises the first refusal, saying of which photo."""
    with record_of(request.scope).stage("decode_upload"):
        named = [({"selfie": index}, data) for index, data in enumerate(upload.images)]
        named += [({"field": POSE_FIELD}, upload.pose)] if upload.pose is not None else []
        tasks = [asyncio.create_task(_decode_one(decoders, which, data)) for which, data in named]
        try:
            pictures = await asyncio.gather(*tasks)
        finally:
            await settle(*tasks)  # a decoder may still read the bytes
            wipe(upload.files)
    return Photos(pictures[: len(upload.images)], pictures[-1] if upload.pose is not None else None)


async def _decode_one(decoders: Decoders, which: dict[str, Any], data: bytearray) -> Picture:
    try:
        return await decoders.decode(data)
    except ServiceError as error:
        error.extra |= which
        raise
