"""POST /v1/identities: selfies come in, and a token that takes their place goes out. Nothing stays here."""

import time
from typing import Any

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.response.base import ASGIResponse

from models.wire.bundle_info import BundleInfo
from models.wire.order import Order, Photos, Words
from service.access.caller import caller_of
from service.api.answers import IdentityAnswer, note_timings
from service.api.forms.identity import IdentityForm
from service.api.front import Front
from service.api.intake.options import options_of
from service.api.intake.photos import decode_photos
from service.api.intake.placing import enter
from service.api.intake.receiving import receive
from service.api.intake.waiting import answered, prepared
from service.api.orders import check_adapter
from service.api.own_operations import IdentitiesOperation
from service.api.record import record_of
from service.jobs.job import Job, JobResult, Summary
from service.jobs.tokens import EnrolmentTokens
from service.memory import wipe

AnyRequest = Request[Any, Any, Any]

ENROLMENT_COST = 1.0  # of a place in line: about a step


# The body limit is off because `receive` keeps its own, tighter ones while it reads.
@post(
    "/v1/identities",
    operation_id="createIdentity",
    summary="Make an identity token from selfies",
    status_code=200,
    operation_class=IdentitiesOperation,
    request_max_body_size=None,
)
async def create_identity(request: AnyRequest, front: NamedDependency[Front]) -> ASGIResponse:
    """Judge the photos, encode who is in them, and give it back sealed. The service keeps no copy."""
    upload = await receive(request, front, IdentityForm)
    try:
        warm = front.jobs.warm()
        bundle = warm.bundle
        check_adapter(upload.form.adapter, warm)
        tokens = EnrolmentTokens(front.vault, caller_of(request.scope), bundle.revision)
        options = options_of(request, front, upload.form.terms)

        async def prepare(job: Job) -> Order:
            photos = await decode_photos(job, record_of(request.scope), front.decoders, upload)
            return enrolment(job.id, upload.form, photos, job.seconds_left)

        summary = enrolment_summary(upload.form, bundle)
        job = enter(request, front, summary, options, prepare, photos=upload.files, tokens=tokens)
    except BaseException:
        wipe(upload.files)
        raise
    await prepared(request, job)
    return _answer(request, await answered(request, job), tokens, bundle)


def enrolment(job_id: str, form: IdentityForm, photos: Photos, seconds_left: float) -> Order:
    """A job without a picture."""
    return Order(
        job_id=job_id,
        photos=photos,
        words=Words(prompt=""),
        seeds=[],
        adapter=form.adapter,
        several_faces=form.several_faces,
        disagreeing=form.disagreeing,
        deadline_seconds=seconds_left,
        wants_identity=True,
    )


def enrolment_summary(form: IdentityForm, bundle: BundleInfo) -> Summary:
    width, height = bundle.default_size
    return Summary(
        model=bundle.name,
        style=None,
        adapter=form.adapter or bundle.default_adapter,
        seeds=[],
        width=width,
        height=height,
        steps=0,
        format="jpeg",  # of none
        cost=ENROLMENT_COST,
    )


def _answer(request: AnyRequest, finished: JobResult, tokens: EnrolmentTokens, bundle: BundleInfo) -> ASGIResponse:
    note_timings(record_of(request.scope), finished.timings)
    assert tokens.identity is not None, "a finished enrolment has started"
    answer = IdentityAnswer(
        identity=tokens.identity,
        model=bundle.name,
        adapter=finished.started.adapter,
        expires_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(tokens.expires_at)),
        faces=finished.started.faces,
        warnings=finished.started.warnings,
    )
    return ASGIResponse(
        body=msgspec.json.encode(answer), media_type="application/json", headers={"Cache-Control": "no-store"}
    )
