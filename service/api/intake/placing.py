"""From what was read to a job on its way: checked, admitted, or joined where the same was asked for before."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Request

from models.wire.order import Generate
from service.access.caller import Scope, caller_of, require
from service.api.forms.form import Form
from service.api.forms.portrait import PortraitForm
from service.api.forms.upload import Upload
from service.api.front import Front
from service.api.intake.photos import decode_photos
from service.api.intake.waiting import prepared
from service.api.job_hook import tell_end
from service.api.orders import Wish
from service.api.record import RequestRecord, record_of
from service.errors import ServiceError
from service.jobs.idempotency import fingerprint
from service.jobs.job import Job, Summary
from service.jobs.jobs import Prepare
from service.jobs.spans import add_job_span
from service.jobs.terms import Terms
from service.jobs.tokens import ProofKeepsakes
from service.memory import wipe

AnyRequest = Request[Any, Any, Any]


async def check_webhook(front: Front, terms: Terms) -> None:
    """Raises BadRequest for an address that nothing would be sent to."""
    if terms.webhook is not None:
        await front.webhooks.check(terms.webhook)


async def place(request: AnyRequest, front: Front, upload: Upload[PortraitForm], terms: Terms) -> Job:
    """Portraits of the uploaded photos, on their way: checked, admitted, decoded. Raises as `enter` and `prepared` do.

    The upload is ours from here: its bytes are wiped whatever happens.
    """
    record = record_of(request.scope)
    try:
        terms = await with_fingerprint(request, terms, upload)
        await check_webhook(front, terms)
        warm, settings = front.jobs.warm(), front.settings
        bundle = warm.bundle
        caller = caller_of(request.scope)
        form, kept = upload.form, None
        if form.identity is not None:
            kept = front.vault.open_identity(form.identity, caller, bundle, form.adapter)
            form = msgspec.structs.replace(form, adapter=kept.adapter)
        wish = Wish(form, front.styles, warm, max_images=settings.max_images, has_pose=upload.pose is not None)

        async def prepare(job: Job) -> Generate:
            photos = await decode_photos(job, record, front.decoders, upload)
            order = msgspec.structs.replace(
                wish.order(job.id, photos, job.seconds_left),
                identity=kept.identity if kept is not None else None,
                wants_identity=True,
                mark=settings.preview_mark,
                longest_side=settings.preview_side,
            )
            job.keepsakes = ProofKeepsakes(front.vault, caller, order, style=wish.summary.style, bundle=bundle)
            return order

        job = enter(request, front, wish.summary, terms, prepare, photos=upload.files)
        if record.joined:
            wipe(upload.files)
    except BaseException:
        wipe(upload.files)
        raise
    return await prepared(request, job)


def enter(
    request: AnyRequest,
    front: Front,
    summary: Summary,
    terms: Terms,
    prepare: Prepare,
    *,
    needs: Scope = "preview",
    photos: Sequence[bytearray] = (),
) -> Job:
    """Admit any job of this request's caller, whose key needs this scope. An admitted job wipes its photos itself.

    Raises Forbidden, QuotaExceeded, NoCapacity or KeyReused, and then `prepare` is never called; nor is it for a
    request that was sent before, which gets the job of that time.

    The job comes attached on behalf of this request: whoever answers detaches (`answered` and `EventStream` do).
    """
    caller, record = caller_of(request.scope), record_of(request.scope)
    require(caller, needs)
    if (same := front.jobs.joined(caller, terms)) is not None:
        return _join(same, record, terms)
    hold = front.quotas.take(caller, summary.num_images)
    try:
        job = front.jobs.accept(caller, summary, terms, prepare, photos)
    except ServiceError:
        hold.refund()
        raise
    job.traceparent = record.trace.traceparent
    job.when_over(lambda: hold.refund() if job.started_at is None else hold.release())
    if front.tracer.is_recording:
        job.when_over(lambda: add_job_span(front.tracer, job))
    if (target := terms.webhook) is not None:
        kept = front.settings.result_seconds
        job.when_over(lambda: tell_end(front.webhooks, target, job, record.request_id, kept))
    job.attach()
    record.job_id = job.id
    return job


def _join(job: Job, record: RequestRecord, terms: Terms) -> Job:
    """Another request for a job that runs or is kept: no quota, no place, no step."""
    record.joined = True
    record.job_id = job.id
    record.headers["Idempotency-Replayed"] = "true"
    if terms.on_disconnect == "finish":
        job.on_disconnect = "finish"
    job.attach()
    return job


async def with_fingerprint(request: AnyRequest, terms: Terms, upload: Upload[Form]) -> Terms:
    """Terms by which the same request can be told when it comes again; as they are, where there is no key."""
    if terms.idempotency_key is None or terms.fingerprint is not None:
        return terms
    fields = [upload.form, upload.pose is not None]
    mark = await asyncio.to_thread(fingerprint, request.scope["path"], fields, upload.files)
    return msgspec.structs.replace(terms, fingerprint=mark)
