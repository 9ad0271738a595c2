"""From a prediction's request to its running job, for Replicate's routes and for Cog's."""

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from litestar import Request

from service.access.caller import caller_of
from service.api.body.arriving import arriving
from service.api.forms.portrait import PortraitForm
from service.api.forms.upload import Upload
from service.api.front import Front
from service.api.intake.options import options_of
from service.api.intake.placing import place
from service.api.intake.receiving import receiving
from service.api.intake.waiting import answered_within, hand_over
from service.api.prefer import Preferences
from service.api.record import record_of
from service.api.replicate.catalogue import PublishedModel, as_input
from service.api.replicate.files import read_uri
from service.api.replicate.parts import PredictionParts
from service.api.replicate.predictions import Prediction
from service.api.replicate.requests import PREDICTION, PredictionRequest, read_request
from service.api.replicate.translation import Translated
from service.errors import BadRequest, ServiceError
from service.jobs.options import JobOptions
from service.memory import in_thread, wipe

LONGEST_WAIT_SECONDS = 60.0
SHOWN_LENGTH = 64  # longer texts among the inputs are somebody's words or pictures

AnyRequest = Request[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class ResolvedRequest:
    """A request with the model that it names.

    `waits`: its caller keeps the connection for the answer, with which the id would go.
    """

    request: PredictionRequest
    model: PublishedModel
    version: str
    waits: bool


async def read_creation(request: AnyRequest, front: Front) -> PredictionRequest:
    """The body. Raises NoCapacity, or BadInput for a header, before a byte of it is read, and BadRequest after."""
    with contextlib.ExitStack() as reading:
        try:
            reading.enter_context(receiving(request, front))
        except BadRequest as error:
            raise as_input(error) from None
        async with arriving(request, PREDICTION, front.upload_limits) as received:
            return read_request(received.values)


async def create(request: AnyRequest, front: Front, parts: PredictionParts, resolved: ResolvedRequest) -> Prediction:
    """Its job runs, and is attached for this request. Raises BadInput for whatever a field has wrong."""
    try:
        return await _create(request, front, parts, resolved)
    except BadRequest as error:
        raise as_input(error) from None


async def _create(request: AnyRequest, front: Front, parts: PredictionParts, resolved: ResolvedRequest) -> Prediction:
    hook = resolved.request.hook
    if hook is not None:
        await front.webhooks.check_target(hook[0])
    translated = resolved.model.read(resolved.request.input, front.jobs.warm().bundle)
    upload = await in_thread(partial(_fetch, request, front, parts, translated), lambda upload: upload.files)
    try:
        options = _options(request, front, upload, resolved)
    except BaseException:
        wipe(upload.files)
        raise
    job = await place(request, front, upload, options)
    if (known := parts.predictions.of_job(job)) is not None:  # sent again, under its Idempotency-Key
        return known
    prediction = Prediction(
        id=resolved.request.id or job.id,
        job=job,
        model=resolved.model,
        version=resolved.version,
        shown_input=shown(resolved.request.input),
        notes=tuple(translated.notes),
        has_own_deadline="cancel-after" in request.headers,
    )
    if hook is not None:
        parts.hooks.follow(prediction, hook, str(request.base_url))
    return parts.predictions.add(prediction)


def _fetch(request: AnyRequest, front: Front, parts: PredictionParts, translated: Translated) -> Upload[PortraitForm]:
    """All pictures. In a thread: base64 of many megabytes would hold up the loop."""
    limits, caller = front.upload_limits, caller_of(request.scope)
    if translated.selfies:
        limits.refuse_too_many(len(translated.selfies), translated.selfies[-1][0])
    files: list[bytearray] = []
    try:
        for name, uri in [*translated.selfies, *([translated.pose] if translated.pose is not None else [])]:
            files.append(read_uri(name, uri, parts.files, caller, max_bytes=limits.max_image_bytes))
        selfies, poses = files[: len(translated.selfies)], files[len(translated.selfies) :]
        return Upload(translated.form, selfies, poses[0] if poses else None)
    except BaseException:
        wipe(files)
        raise


def _options(request: AnyRequest, front: Front, upload: Upload[PortraitForm], resolved: ResolvedRequest) -> JobOptions:
    """A prediction outlives its request, unless its caller waits on the connection and could not find it again."""
    options = options_of(request, front, upload.form.terms)
    stays = "cancel" if resolved.waits and resolved.request.hook is None else "finish"
    return msgspec.structs.replace(options, keep=True, on_disconnect=upload.form.terms.on_disconnect or stays)


async def wait_as_preferred(request: AnyRequest, prediction: Prediction, preferences: Preferences) -> bool:
    """Wait for the end as long as Prefer says, bare for a minute; whether it came. Detaches. Raises ClientLeft."""
    if not preferences.waits:
        hand_over(prediction.job)
        return False
    seconds = min(max(preferences.wait_seconds or LONGEST_WAIT_SECONDS, 1.0), LONGEST_WAIT_SECONDS)
    record_of(request.scope).headers["Preference-Applied"] = preferences.applied
    try:
        return await answered_within(request, prediction.job, seconds) is not None
    except ServiceError:  # a failed prediction is an answer, not a refusal
        return True


def shown(given: dict[str, Any]) -> dict[str, Any]:
    """Of an input what is not personal: numbers, choices, yes and no. Prompts and pictures are not given back."""
    return {name: value for name, value in given.items() if _is_plain(name, value)}


def _is_plain(name: str, value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= SHOWN_LENGTH and "prompt" not in name and "image" not in name and ":" not in value
    return value is None or isinstance(value, bool | int | float)
