"""Replicate's predictions API: `replicate.Client(base_url=...)` works as at Replicate."""

from typing import Any

import msgspec
from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from service.access.caller import caller_of
from service.api.events import EventStream
from service.api.front import Front
from service.api.jobs import read_last_event_id
from service.api.prefer import read_prefer
from service.api.record import record_of
from service.api.replicate.catalogue import PublishedModel, PublishedModels, model_object, version_object
from service.api.replicate.creation import ResolvedRequest, create, read_creation, wait_as_preferred
from service.api.replicate.file_routes import create_file, delete_file, get_file, list_files
from service.api.replicate.objects import ModelObject, Page, PredictionObject, Status, VersionObject, WebhookSecret
from service.api.replicate.parts import PredictionParts
from service.api.replicate.prediction_operations import STRUCTS, replicate_operations
from service.api.replicate.predictions import Prediction, prediction_object
from service.api.replicate.requests import PredictionRequest
from service.api.replicate.stream import tell
from service.api.replicate.translation import refuse
from service.api.surface import Surface
from service.errors import NotFound

PAGE_SIZE = 100
AnyRequest = Request[Any, Any, Any]
PUBLISHED = PublishedModels()


@post(
    "/v1/predictions",
    operation_id="createPrediction",
    summary="A prediction, by version",
    status_code=201,
    request_max_body_size=None,
)
async def create_prediction(
    request: AnyRequest, front: NamedDependency[Front], parts: NamedDependency[PredictionParts]
) -> ASGIResponse:
    """What `replicate.run("owner/name:version", input=...)` calls."""
    body = await read_creation(request, front)
    if body.version is None:
        message = "The field 'version' is missing: send a version's hash, or owner/name."
        raise refuse("version", message, "field_missing")
    model, version = PUBLISHED.of_version(body.version)
    return await _answer_creation(request, front, parts, body, model, version)


@post(
    "/v1/models/{owner:str}/{name:str}/predictions",
    operation_id="createModelPrediction",
    summary="A prediction, by the model's name",
    status_code=201,
    request_max_body_size=None,
)
async def create_model_prediction(
    request: AnyRequest,
    front: NamedDependency[Front],
    parts: NamedDependency[PredictionParts],
    owner: FromPath[str],
    name: FromPath[str],
) -> ASGIResponse:
    """What `replicate.run("owner/name", input=...)` calls."""
    model = PUBLISHED.named(owner, name)
    return await _answer_creation(request, front, parts, await read_creation(request, front), model, model.versions[0])


@post(
    "/v1/deployments/{owner:str}/{name:str}/predictions",
    operation_id="createDeploymentPrediction",
    summary="A prediction, by a deployment's name",
    status_code=201,
    request_max_body_size=None,
)
async def create_deployment_prediction(
    request: AnyRequest,
    front: NamedDependency[Front],
    parts: NamedDependency[PredictionParts],
    owner: FromPath[str],
    name: FromPath[str],
) -> ASGIResponse:
    """What `replicate.deployments.predictions.create` calls: a deployment is the model of the same name."""
    model = PUBLISHED.named(owner, name)
    return await _answer_creation(request, front, parts, await read_creation(request, front), model, model.versions[0])


@get("/v1/predictions", operation_id="listPredictions", summary="The caller's predictions")
async def list_predictions(request: AnyRequest, parts: NamedDependency[PredictionParts]) -> Page[PredictionObject]:
    """Newest first, by the hundred, without their output: that is for the one who asks for one."""
    mine = parts.predictions.of(caller_of(request.scope))
    start = _place_of(request.query_params.get("cursor"), mine)
    base, shown = str(request.base_url), mine[start : start + PAGE_SIZE]
    rest = mine[start + PAGE_SIZE :]
    before = mine[max(start - PAGE_SIZE, 0)] if start else None
    return Page(
        results=[prediction_object(one, base, with_output=False) for one in shown],
        next=f"{base}v1/predictions?cursor={rest[0].id}" if rest else None,
        previous=f"{base}v1/predictions?cursor={before.id}" if before else None,
    )


@get("/v1/predictions/{prediction_id:str}", operation_id="getPrediction", summary="How a prediction goes")
async def get_prediction(
    request: AnyRequest,
    parts: NamedDependency[PredictionParts],
    prediction_id: FromPath[str],
) -> ASGIResponse:
    """The prediction with its output, for as long as results are kept."""
    return _answer(request, parts.predictions.find(prediction_id, caller_of(request.scope)))


@post(
    "/v1/predictions/{prediction_id:str}/cancel",
    operation_id="cancelPrediction",
    summary="Cancel a prediction",
    status_code=200,
)
async def cancel_prediction(
    request: AnyRequest,
    parts: NamedDependency[PredictionParts],
    prediction_id: FromPath[str],
) -> ASGIResponse:
    """Its rows are free at the next step. One that has ended stays as it is."""
    prediction = parts.predictions.find(prediction_id, caller_of(request.scope))
    prediction.job.cancel()
    return _answer(request, prediction)


@delete(
    "/v1/predictions/{prediction_id:str}",
    operation_id="deletePrediction",
    summary="Cancel a prediction, or delete an ended one",
    status_code=204,
)
async def delete_prediction(
    request: AnyRequest,
    front: NamedDependency[Front],
    parts: NamedDependency[PredictionParts],
    prediction_id: FromPath[str],
) -> None:
    """Ours: Replicate deletes by its web page alone. Of an ended prediction nothing stays, output and id included."""
    front.delete(parts.predictions.find(prediction_id, caller_of(request.scope)).job)


@get("/v1/predictions/{prediction_id:str}/stream", operation_id="streamPrediction", summary="A prediction's stream")
async def stream_prediction(
    request: AnyRequest,
    parts: NamedDependency[PredictionParts],
    prediction_id: FromPath[str],
) -> ASGIApp:
    """`output` for each picture, `logs` for progress, then `done`; from the first, or from after `Last-Event-ID`."""
    prediction = parts.predictions.find(prediction_id, caller_of(request.scope))
    after = read_last_event_id(request.headers.get("last-event-id"))
    prediction.job.attach()
    return EventStream(prediction.job, record_of(request.scope), tell=tell, after=after)


@get("/v1/models/{owner:str}/{name:str}", operation_id="getPublishedModel", summary="A model of predictions")
async def get_published_model(request: AnyRequest, owner: FromPath[str], name: FromPath[str]) -> ModelObject:
    """One of the models that predictions can name."""
    return model_object(PUBLISHED.named(owner, name), str(request.base_url))


@get("/v1/models/{owner:str}/{name:str}/versions", operation_id="listVersions", summary="A model's versions")
async def list_versions(owner: FromPath[str], name: FromPath[str]) -> Page[VersionObject]:
    """The versions that a caller may have pinned; all have the model's one schema."""
    model = PUBLISHED.named(owner, name)
    return Page(results=[version_object(model, version) for version in model.versions])


@get("/v1/models/{owner:str}/{name:str}/versions/{version:str}", operation_id="getVersion", summary="One version")
async def get_version(owner: FromPath[str], name: FromPath[str], version: FromPath[str]) -> VersionObject:
    """A version with the schema of its inputs."""
    model = PUBLISHED.named(owner, name)
    if version not in model.versions:
        raise NotFound("version_not_found", "This model has no such version here.", extra={"allowed": model.versions})
    return version_object(model, version)


@get("/v1/webhooks/default/secret", operation_id="getWebhookSecret", summary="What signs the caller's webhooks")
async def get_webhook_secret(request: AnyRequest, front: NamedDependency[Front]) -> WebhookSecret:
    """The caller's own secret, for `replicate.webhooks.validate` or any Standard Webhooks library."""
    return WebhookSecret(key=front.webhooks.secret_of(caller_of(request.scope).id))


async def _answer_creation(
    request: AnyRequest,
    front: Front,
    parts: PredictionParts,
    body: PredictionRequest,
    model: PublishedModel,
    version: str,
) -> ASGIResponse:
    """201 with the prediction: ended, if the caller waits long enough; else `starting`, whatever it does.

    `processing` would make the client's `run()` return nothing.
    """
    preferences = read_prefer(request.headers.get("prefer"))
    prediction = await create(request, front, parts, ResolvedRequest(body, model, version, preferences.waits))
    has_ended = await wait_as_preferred(request, prediction, preferences)
    return _answer(request, prediction, http_status=201, status=None if has_ended else "starting")


def _answer(
    request: AnyRequest, prediction: Prediction, *, http_status: int = 200, status: Status | None = None
) -> ASGIResponse:
    record = record_of(request.scope)
    record.job_id = prediction.job.id
    record.headers["Vary"] = "Prefer"
    body = msgspec.json.encode(prediction_object(prediction, str(request.base_url), status=status))
    return ASGIResponse(body=body, media_type="application/json", status_code=http_status)


def _place_of(cursor: str | None, predictions: list[Prediction]) -> int:
    """Raises NotFound for a cursor whose prediction is gone."""
    if cursor is None:
        return 0
    for index, prediction in enumerate(predictions):
        if prediction.id == cursor:
            return index
    raise NotFound("cursor_not_found", "That page is gone: begin again without a cursor.", extra={"field": "cursor"})


REPLICATE = Surface(
    name="Replicate",
    about="For the `replicate` client: `replicate.Client(base_url=...)`.",
    routes=[
        *(create_prediction, create_model_prediction, create_deployment_prediction, list_predictions, get_prediction),
        *(cancel_prediction, delete_prediction, stream_prediction, get_published_model, list_versions, get_version),
        *(create_file, list_files, get_file, delete_file, get_webhook_secret),
    ],
    parts={"parts": PredictionParts.of},
    structs=STRUCTS,
    operations=replicate_operations,
)
