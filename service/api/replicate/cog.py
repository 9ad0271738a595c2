"""The root of a Cog container: for those who run the model's container today, or Replicate's tools against it.

One model answers here (the setting `cog_model`). A prediction that fails is an answer with 200, as Cog has it; what is
refused before is not. Unknown inputs are refused, where Cog drops them.
"""

import contextlib
from typing import Any

import msgspec
from litestar import Request, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response.base import ASGIResponse
from msgspec import Struct

from service.access.caller import caller_of
from service.access.guard import OPEN
from service.api.front import Front
from service.api.intake.waiting import answered, hand_over
from service.api.prefer import read_prefer
from service.api.record import record_of
from service.api.replicate.catalogue import PublishedModels
from service.api.replicate.cog_refusals import COG_SHAPE
from service.api.replicate.creation import ResolvedRequest, create, read_creation
from service.api.replicate.objects import Status
from service.api.replicate.parts import PredictionParts
from service.api.replicate.prediction_operations import cog_operations, components
from service.api.replicate.predictions import Prediction, prediction_object
from service.api.replicate.requests import PredictionRequest, checked_id
from service.api.replicate.translation import refuse
from service.api.surface import Surface
from service.errors import NotAcceptable, NotFound, ServiceError
from service.metrics import package_version

AnyRequest = Request[Any, Any, Any]
PUBLISHED = PublishedModels()


class CogRoot(Struct, frozen=True, kw_only=True):
    """Where the rest is."""

    docs_url: str
    openapi_url: str
    predictions_url: str
    health_check_url: str
    model: str
    version: str


class CogSetup(Struct, frozen=True, kw_only=True):
    status: str
    logs: str = ""


class CogHealth(Struct, frozen=True, kw_only=True):
    """`status` is STARTING, READY, BUSY or DEFUNCT; the answer is 200 whatever it is."""

    status: str
    setup: CogSetup
    version: dict[str, str]


@get("/", operation_id="cogRoot", summary="What is where", opt=OPEN)
async def cog_root(request: AnyRequest, front: NamedDependency[Front]) -> CogRoot:
    """The addresses that a Cog container tells at its root."""
    prefix = record_of(request.scope).prefix
    return CogRoot(
        docs_url=f"{prefix}/docs",
        openapi_url=f"{prefix}/openapi.json",
        predictions_url=f"{prefix}/predictions",
        health_check_url=f"{prefix}/health-check",
        model=front.settings.cog_model,
        version=package_version(),
    )


@get("/health-check", operation_id="cogHealth", summary="The state, for Cog's clients", opt=OPEN)
async def cog_health(front: NamedDependency[Front]) -> CogHealth:
    """Cog's words for the state; /readyz is the one for probes."""
    jobs = front.jobs
    busy = jobs.in_flight >= front.settings.max_jobs
    status = "DEFUNCT" if jobs.stopping else "STARTING" if not jobs.is_ready else "BUSY" if busy else "READY"
    setup = CogSetup(status="succeeded" if jobs.is_ready else "started")
    return CogHealth(status=status, setup=setup, version={"proofsheet": package_version()})


@post(
    "/predictions", operation_id="cogPredict", summary="A prediction, as Cog has it", status_code=200,
    request_max_body_size=None,
)  # fmt: skip
async def cog_predict(
    request: AnyRequest, front: NamedDependency[Front], parts: NamedDependency[PredictionParts]
) -> ASGIResponse:
    """Waits for the end; with `Prefer: respond-async` 202 at once. Leaving cancels."""
    _check_accept(request)
    return await _finish(request, await _create(request, front, parts, await read_creation(request, front)))


@put(
    "/predictions/{prediction_id:str}", operation_id="cogPut", summary="A prediction under the caller's id",
    status_code=200, request_max_body_size=None,
)  # fmt: skip
async def cog_put(
    request: AnyRequest,
    front: NamedDependency[Front],
    parts: NamedDependency[PredictionParts],
    prediction_id: FromPath[str],
) -> ASGIResponse:
    """Idempotent: sent again, it answers 202 with how the first one goes."""
    _check_accept(request)
    own_id = checked_id(prediction_id)
    body = await read_creation(request, front)
    if body.id is not None and body.id != own_id:
        raise refuse("id", "The id in the body is not the one in the path: send one, or the same.", "id_mismatch")
    async with parts.predictions.naming(own_id, caller_of(request.scope)):
        known = _known(parts, request, own_id)
        if known is not None:
            return _answer(request, known, 200 if known.job.has_ended else 202)
        prediction = await _create(request, front, parts, msgspec.structs.replace(body, id=own_id))
    return await _finish(request, prediction)


@post(
    "/predictions/{prediction_id:str}/cancel",
    operation_id="cogCancel",
    summary="Cancel a prediction",
    status_code=200,
)
async def cog_cancel(
    request: AnyRequest,
    parts: NamedDependency[PredictionParts],
    prediction_id: FromPath[str],
) -> dict[str, Any]:
    """Its rows are free at the next step. 404 for one that is not there."""
    parts.predictions.find(prediction_id, caller_of(request.scope)).job.cancel()
    return {}


@delete(
    "/predictions/{prediction_id:str}",
    operation_id="cogDelete",
    summary="Cancel a prediction, or delete an ended one",
    status_code=204,
)
async def cog_delete(
    request: AnyRequest,
    front: NamedDependency[Front],
    parts: NamedDependency[PredictionParts],
    prediction_id: FromPath[str],
) -> None:
    """Ours. Of an ended prediction nothing stays, and its id is free again."""
    front.delete(parts.predictions.find(prediction_id, caller_of(request.scope)).job)


async def _create(request: AnyRequest, front: Front, parts: PredictionParts, body: PredictionRequest) -> Prediction:
    owner, _, name = front.settings.cog_model.partition("/")
    model = PUBLISHED.named(owner, name)
    waits = not read_prefer(request.headers.get("prefer")).respond_async
    return await create(request, front, parts, ResolvedRequest(body, model, model.versions[0], waits))


async def _finish(request: AnyRequest, prediction: Prediction) -> ASGIResponse:
    """The end, however it is; or 202 for who would rather not wait."""
    if read_prefer(request.headers.get("prefer")).respond_async:
        hand_over(prediction.job)
        return _answer(request, prediction, 202, "starting")
    with contextlib.suppress(ServiceError):  # a failed prediction is an answer
        await answered(request, prediction.job)
    return _answer(request, prediction, 200)


def _known(parts: PredictionParts, request: AnyRequest, prediction_id: str) -> Prediction | None:
    try:
        return parts.predictions.find(prediction_id, caller_of(request.scope))
    except NotFound:
        return None


def _answer(
    request: AnyRequest, prediction: Prediction, http_status: int, status: Status | None = None
) -> ASGIResponse:
    record_of(request.scope).job_id = prediction.job.id
    body = msgspec.json.encode(prediction_object(prediction, str(request.base_url), status=status))
    return ASGIResponse(body=body, media_type="application/json", status_code=http_status)


def _check_accept(request: AnyRequest) -> None:
    record_of(request.scope).headers["Vary"] = "Accept, Prefer"
    if request.headers.get("accept", "").lower().startswith("text/event-stream"):
        message = "No stream comes from here: create with Prefer: respond-async and read /v1/predictions/{id}/stream."
        raise NotAcceptable("not_acceptable", message)


COG = Surface(
    name="Cog",
    about="The root of a Cog container, for one model.",
    routes=[cog_root, cog_health, cog_predict, cog_put, cog_cancel, cog_delete],
    paths=["/predictions"],
    refusals=COG_SHAPE,
    parts={"parts": PredictionParts.of},
    schemas=components,
    operations=cog_operations,
)
