"""From what was read to a job on its way: checked, admitted, or joined where the same was asked for before."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Request

from models.wire.order import Order, Photos
from service.access.caller import Scope, caller_of, require
from service.api.forms.form import Form
from service.api.forms.portrait import PortraitForm
from service.api.forms.upload import Upload
from service.api.front import Front
from service.api.intake.photos import decode_photos
from service.api.intake.waiting import prepared
from service.api.job_hook import tell_end
from service.api.orders import CheckedForm
from service.api.record import RequestRecord, record_of
from service.errors import ServiceError
from service.jobs.idempotency import fingerprint
from service.jobs.job import Job, Summary
from service.jobs.jobs import Prepare
from service.jobs.options import JobOptions
from service.jobs.origin import Origin
from service.jobs.spans import add_job_span
from service.jobs.tokens import CallerTokens, ProofTokens
from service.memory import wipe

AnyRequest = Request[Any, Any, Any]


async def check_webhook(front: Front, options: JobOptions) -> None:
    """Raises BadRequest for an address that nothing would be sent to."""
    if options.webhook is not None:
        await front.webhooks.check_target(options.webhook)


async def place(request: AnyRequest, front: Front, upload: Upload[PortraitForm], options: JobOptions) -> Job:
    """Portraits of the uploaded photos, on their way: checked, admitted, decoded. Raises as `enter` and `prepared` do.

    The upload is ours from here: its bytes are wiped whatever happens.
    """
    record = record_of(request.scope)
    try:
        options = await with_fingerprint(request, options, upload)
        await check_webhook(front, options)
        warm, settings = front.jobs.warm(), front.settings
        bundle = warm.bundle
        caller = caller_of(request.scope)
        form, kept = upload.form, None
        if form.identity is not None:
            kept = front.vault.open_identity(form.identity, caller, bundle, form.adapter)
            form = msgspec.structs.replace(form, adapter=kept.adapter)
        has_pose = upload.pose is not None
        catalogue = front.styles, front.word_list
        checked = CheckedForm(form, *catalogue, warm, max_images=settings.max_images, has_pose=has_pose)

        async def prepare(job: Job) -> Order:
            photos = await decode_photos(job, record, front.decoders, upload)
            return msgspec.structs.replace(
                checked.order(job.id, photos, job.seconds_left),
                identity=kept.identity if kept is not None else None,
                wants_identity=True,
                delivery=msgspec.structs.replace(
                    form.delivery, mark=settings.preview_mark, longest_side=settings.preview_side
                ),
            )

        summary, asked = checked.summary, checked.order("", Photos(), 0.0)
        tokens = ProofTokens(front.vault, caller, asked, style=summary.style, bundle=bundle)
        job = enter(request, front, summary, options, prepare, photos=upload.files, tokens=tokens)
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
    options: JobOptions,
    prepare: Prepare,
    *,
    needs: Scope = "preview",
    photos: Sequence[bytearray] = (),
    tokens: CallerTokens | None = None,
) -> Job:
    """Admit any job of this request's caller, whose key needs this scope. An admitted job wipes its photos itself.

    Raises Forbidden, QuotaExceeded, NoCapacity or KeyReused, and then `prepare` is never called; nor is it for a
    request that was sent before, which gets the job of that time.

    The job comes attached on behalf of this request: whoever answers detaches (`answered` and `EventStream` do).
    """
    caller, record = caller_of(request.scope), record_of(request.scope)
    require(caller, needs)
    if (same := front.jobs.joined(caller, options)) is not None:
        return _join(same, record, options)
    hold = front.quotas.take(caller, summary.num_images)
    try:
        origin = Origin(record.trace.traceparent, record.stages)
        job = front.jobs.accept(caller, summary, options, prepare, photos=photos, tokens=tokens, origin=origin)
    except ServiceError:
        hold.refund()
        raise
    job.when_over(lambda: hold.refund() if job.started_at is None else hold.release())
    if front.tracer.is_recording:
        job.when_over(lambda: add_job_span(front.tracer, job))
    if (target := options.webhook) is not None:
        kept = front.settings.result_seconds
        job.when_over(lambda: tell_end(front.webhooks, target, job, record.request_id, kept, record.prefix))
    job.attach()
    record.job_id = job.id
    return job


def _join(job: Job, record: RequestRecord, options: JobOptions) -> Job:
    """Another request for a job that runs or is kept: no quota, no place, no step."""
    record.joined = True
    record.job_id = job.id
    record.headers["Idempotency-Replayed"] = "true"
    if options.on_disconnect == "finish":
        job.outlive_followers()
    job.attach()
    return job


async def with_fingerprint(request: AnyRequest, options: JobOptions, upload: Upload[Form]) -> JobOptions:
    """JobOptions by which the same request can be told when it comes again; as they are, where there is no key."""
    if options.idempotency_key is None or options.fingerprint is not None:
        return options
    fields = [upload.form, upload.pose is not None]
    mark = await asyncio.to_thread(fingerprint, request.scope["path"], fields, upload.files)
    return msgspec.structs.replace(options, fingerprint=mark)
