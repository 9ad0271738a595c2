"""The one way from a request to a job: every surface parses its own wire format and comes through here."""

import asyncio
import contextlib
import re
from collections.abc import Coroutine, Generator, Sequence
from typing import Any

import msgspec
from litestar import Request
from litestar.datastructures import Headers

from models.wire.messages import Generate, Picture
from service.access.caller import Scope, caller_of, require
from service.api.forms import PortraitForm, Upload, check_who, read_upload
from service.api.front import Front
from service.api.job_hook import tell_end
from service.api.orders import Photos, Wish
from service.api.plain_body import is_plain, read_plain
from service.api.portrait_form import POSE_FIELD, check_together
from service.api.prefer import read_cancel_after, read_prefer
from service.api.presence import settle, while_present
from service.api.record import RequestRecord, record_of
from service.decoders.pool import Decoders
from service.errors import BadRequest, ServiceError
from service.jobs.idempotency import fingerprint, read_key
from service.jobs.job import Finished, Job, Summary
from service.jobs.jobs import Prepare
from service.jobs.spans import add_job_span
from service.jobs.terms import Terms
from service.jobs.tokens import ProofKeepsakes
from service.memory import wipe

__all__ = [
    "Terms",
    "answered",
    "answered_within",
    "check_webhook",
    "enter",
    "hand_over",
    "place",
    "prepared",
    "receive",
    "receiving",
    "terms_of",
    "with_fingerprint",
]

AnyRequest = Request[Any, Any, Any]
PLAIN_SECONDS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3})?")


@contextlib.contextmanager
def receiving(request: AnyRequest, front: Front) -> Generator[None]:
    """The time in which a job's body is read. Raises NoCapacity before a byte of it is."""
    latest = _latest_deadline(request, front)
    key = read_key(request.headers.get("idempotency-key"))
    with front.jobs.uploading(caller_of(request.scope), latest, key), record_of(request.scope).stage("upload"):
        yield


async def receive(request: AnyRequest, front: Front) -> Upload:
    """The body, within its bounds. Raises NoCapacity before a byte of it is read."""
    with receiving(request, front):
        if is_plain(request):
            form = await read_plain(request, front.upload_limits, PortraitForm)
            check_together(form)
            upload = Upload(form, [])
            check_who(upload)
            return upload
        return await read_upload(request, limits=front.upload_limits)


def terms_of(request: AnyRequest, front: Front, upload: Upload) -> Terms:
    """What the headers and fields say of the job besides its pictures. Raises BadRequest."""
    form, headers = upload.form, request.headers
    preferences = read_prefer(headers.get("prefer"))
    is_async = preferences.respond_async
    on_disconnect = form.on_disconnect or ("finish" if is_async else "cancel")
    return Terms(
        deadline_seconds=_deadline(form.deadline, headers, front.settings.max_deadline_seconds),
        on_disconnect=on_disconnect,
        idempotency_key=read_key(headers.get("idempotency-key")),
        keep=is_async or preferences.waits or on_disconnect == "finish" or form.webhook is not None,
        webhook=form.webhook,
    )


async def check_webhook(front: Front, terms: Terms) -> None:
    """Raises BadRequest for an address that nothing would be sent to."""
    if terms.webhook is not None:
        await front.webhooks.check(terms.webhook)


def _latest_deadline(request: AnyRequest, front: Front) -> float:
    """The longest deadline that the request may still turn out to have: a form's fields come with its photos."""
    kind, settings = request.content_type[0], front.settings
    query = request.query_params.get("deadline", "")
    given = [float(query)] if PLAIN_SECONDS.fullmatch(query) else []
    header = read_cancel_after(request.headers.get("cancel-after"))
    given += [header] if header is not None else []
    is_raw = kind.startswith("image/") or kind == "application/octet-stream"
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


async def place(request: AnyRequest, front: Front, upload: Upload, terms: Terms) -> Job:
    """Portraits of the uploaded photos, on their way: checked, admitted, decoded. Raises as `enter` and `prepared` do.

    The upload is ours from here: its bytes are wiped whatever happens.
    """
    record = record_of(request.scope)
    try:
        terms = await with_fingerprint(request, terms, upload)
        await check_webhook(front, terms)
        bundle, settings = front.jobs.warm().bundle, front.settings
        caller = caller_of(request.scope)
        form, kept = upload.form, None
        if form.identity is not None:
            kept = front.vault.open_identity(form.identity, caller, bundle, form.adapter)
            form = msgspec.structs.replace(form, adapter=kept.adapter)
        wish = Wish(form, front.styles, bundle, max_images=settings.max_images, has_pose=upload.pose is not None)

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


async def with_fingerprint(request: AnyRequest, terms: Terms, upload: Upload) -> Terms:
    """Terms by which the same request can be told when it comes again; as they are, where there is no key."""
    if terms.idempotency_key is None or terms.fingerprint is not None:
        return terms
    fields = [upload.form, upload.proof, upload.pose is not None]
    mark = await asyncio.to_thread(fingerprint, request.scope["path"], fields, upload.files)
    return msgspec.structs.replace(terms, fingerprint=mark)


async def prepared(request: AnyRequest, job: Job) -> Job:
    """The job with its photos read. Raises what refused them, or ClientLeft; then the job is detached."""
    try:
        await while_present(request.receive, job.prepared())
    except BaseException:
        job.detach()
        raise
    stages = record_of(request.scope).stages
    job.front_ms = job.front_ms or {name: stages[name] for name in ("upload", "decode_upload") if name in stages}
    return job


async def answered(request: AnyRequest, job: Job) -> Finished:
    """The job's good end, while the client is there. Detaches. Raises the job's ServiceError, or ClientLeft."""
    try:
        return await while_present(request.receive, job.finished())
    finally:
        job.detach()


async def answered_within(request: AnyRequest, job: Job, seconds: float) -> Finished | None:
    """As `answered`, but None when the time is up first: then the job runs on, to be fetched later, and is kept."""
    waiting = asyncio.wait_for(job.finished(), seconds)
    try:
        return await while_present(request.receive, waiting)
    except TimeoutError:
        job.on_disconnect = "finish"
        return None
    finally:
        job.detach()


def hand_over(job: Job) -> None:
    """Let the job run on without this request. Detaches."""
    job.on_disconnect = "finish"
    job.detach()


async def decode_photos(job: Job, record: RequestRecord, decoders: Decoders, upload: Upload) -> Photos:
    """All photos as pixels, side by side. Raises the first refusal, saying of which photo.

    The first time the request waits for it; the second time it is the job's turn, and nothing but its deadline ends
    its wait for a decoder.
    """
    named = [({"selfie": index}, data) for index, data in enumerate(upload.images)]
    named += [({"field": POSE_FIELD}, upload.pose)] if upload.pose is not None else []
    wait_seconds = job.seconds_left if job.is_prepared else None
    with contextlib.nullcontext() if job.is_prepared else record.stage("decode_upload"):
        pictures = await _side_by_side([_decode_one(decoders, which, data, wait_seconds) for which, data in named])
    return Photos(pictures[: len(upload.images)], pictures[-1] if upload.pose is not None else None)


async def _side_by_side(decodings: Sequence[Coroutine[Any, Any, Picture]]) -> list[Picture]:
    """Their pictures. Raises what the first that fails raises, when all have ended."""
    if len(decodings) == 1:  # as a rule; tasks are for several
        return [await decodings[0]]
    tasks = [asyncio.create_task(decoding) for decoding in decodings]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        await settle(*tasks)  # a decoder may still read the bytes
        raise


async def _decode_one(
    decoders: Decoders, which: dict[str, Any], data: bytearray, wait_seconds: float | None
) -> Picture:
    try:
        return await decoders.decode(data, wait_seconds)
    except ServiceError as error:
        error.extra |= which
        raise
