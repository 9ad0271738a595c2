"""POST /v1/finals: a picture's proof comes in, and the full-quality version of that very picture goes out."""

import math
from typing import Any

from litestar import Request, post
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from models.wire.bundle_info import BundleInfo, FinalInfo
from models.wire.groups import merge, sides, size_text
from models.wire.order import Final, Order
from service.access.caller import caller_of, require
from service.api.accept import choose_form
from service.api.forms.final import FinalForm
from service.api.forms.upload import Upload
from service.api.front import Front
from service.api.intake.options import options_of
from service.api.intake.placing import check_webhook, enter, with_fingerprint
from service.api.intake.receiving import receive
from service.api.intake.waiting import prepared
from service.api.orders import check_size, refuse_words
from service.api.own_operations import FinalsOperation
from service.api.record import record_of
from service.api.respond import respond
from service.errors import BadRequest
from service.jobs.job import Job, Summary
from service.jobs.tokens import Proof

AnyRequest = Request[Any, Any, Any]


# The body limit is off because `receive` keeps its own while it reads.
@post(
    "/v1/finals",
    operation_id="createFinal",
    summary="Make the full-quality version of a picture",
    status_code=200,
    operation_class=FinalsOperation,
    request_max_body_size=None,
)
async def create_final(request: AnyRequest, front: NamedDependency[Front]) -> ASGIApp:
    """The same person in the same composition: the preview is made again, and then refined, enlarged and unmarked."""
    record_of(request.scope).headers["Vary"] = "Accept, Prefer"
    accepted = choose_form(request.headers.get("accept"))
    require(caller_of(request.scope), "final")
    form = (await receive(request, front, FinalForm, accepted.defaults)).form
    answer_form = accepted.form_for(1, form.delivery.format)
    return await respond(request, front, await place_final(request, front, form), answer_form)


async def place_final(request: AnyRequest, front: Front, form: FinalForm) -> Job:
    """The final of the form's proof, on its way. Raises as `enter` does, and for a token that is no good."""
    options = await with_fingerprint(request, options_of(request, front, form.terms), Upload(form, []))
    await check_webhook(front, options)
    bundle = front.jobs.warm().bundle
    proof = front.vault.open_proof(front.kept_proofs.resolve(form.proof), caller_of(request.scope), bundle)
    refuse_words(front.word_list, "prompt", proof.order.words.prompt)  # whose list may have grown since the preview
    final = final_of(form, proof, bundle)

    async def prepare(job: Job) -> Order:
        return proof.final(job.id, final, form.delivery, job.seconds_left)

    job = enter(request, front, final_summary(form, proof, bundle, final), options, prepare, needs="final")
    return await prepared(request, job)


def final_of(form: FinalForm, proof: Proof, bundle: BundleInfo) -> Final:
    """The size asked for, or the largest of the picture's shape. Raises BadRequest."""
    picture = merge(proof.order.sampling, bundle.sampling)
    width, height = picture.width, picture.height
    alike = [(w, h) for w, h in _finals(bundle).sizes if w * height == h * width and w > width]
    if not alike:
        raise _unavailable(f"no final has the shape of this picture, {picture.size}")
    check_size(form.size, alike)
    return Final(size=form.size or size_text(max(alike)))


def final_summary(form: FinalForm, proof: Proof, bundle: BundleInfo, final: Final) -> Summary:
    """The preview's cost and that of the refinement."""
    order, finals = proof.order, _finals(bundle)
    picture = merge(order.sampling, bundle.sampling)
    width, height = sides(final.size or picture.size)
    usual = math.prod(bundle.default_size)
    preview = picture.width * picture.height / usual
    refined = width * height / usual if finals.refined_in_size else preview
    return Summary(
        model=bundle.name,
        style=proof.style,
        adapter=order.adapter or bundle.default_adapter,
        seeds=order.seeds,
        width=width,
        height=height,
        steps=picture.steps + finals.steps,
        format=form.delivery.format,
        cost=(picture.steps * preview + finals.steps * refined) * (2 if picture.is_guided else 1),
        is_final=True,
    )


def _finals(bundle: BundleInfo) -> FinalInfo:
    if bundle.finals is None:
        raise _unavailable("the models that are loaded make none")
    return bundle.finals


def _unavailable(why: str) -> BadRequest:
    return BadRequest("finals_unavailable", f"There are no finals here: {why}.", extra={"field": "proof"})
