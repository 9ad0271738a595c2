"""Completes the OpenAPI document: the foreign surfaces, every refusal an operation can end with, and the groups."""

from typing import Any

import msgspec

from service.api.dialects import PROBLEM, in_dialect
from service.api.openai import document as openai
from service.api.replicate import document as replicate
from service.api.schemas import REFERENCE, media, reference

Json = dict[str, Any]

READING = ("400", "401", "403", "404", "405", "429", "500", "503")
MAKING = (*READING, "406", "408", "409", "413", "415", "422", "504")
REFUSALS = {
    "400": "A field is wrong, missing or unknown.",
    "401": "No API key, or one that is not valid here.",
    "403": "The key lacks a scope, or the token is another caller's.",
    "404": "There is no such thing here, or not any more.",
    "405": "This method is not allowed here.",
    "406": "No form of answer that the caller accepts.",
    "408": "The body took too long to arrive.",
    "409": "Another request cancelled the job.",
    "413": "Bytes over a limit; the connection is closed.",
    "415": "A body or a picture of a kind that is not read here.",
    "422": "The input is wrong, or the photo can't be used.",
    "429": "The key's quota is used up: try again after Retry-After.",
    "500": "The service failed.",
    "503": "Full, starting or stopping: try again after Retry-After.",
    "504": "Accepted, but not finished within the deadline.",
}
SCHEMAS = {"/v1/images/": "OpenAIError", "/predictions": "CogError"}
TAGS = (
    ("/v1/images", "OpenAI", 'For the `openai` client: `OpenAI(base_url=".../v1")`.'),
    ("/v1/predictions", "Replicate", "For the `replicate` client: `replicate.Client(base_url=...)`."),
    ("/v1/models/{owner}", "Replicate", ""),
    ("/v1/deployments", "Replicate", ""),
    ("/v1/files", "Replicate", ""),
    ("/v1/webhooks", "Replicate", ""),
    ("/predictions", "Cog", "The root of a Cog container, for one model."),
    ("/health-check", "Cog", ""),
    ("/v1/models", "Catalogue", "What there is to choose from."),
    ("/v1/styles", "Catalogue", ""),
    ("/v1/", "Portraits", "Our own interface."),
    ("/", "Operation", "For probes and people who operate this."),
)


def complete(document: Json, cog_model: str) -> None:
    """Changes the document in place. `cog_model` is the one whose inputs Cog's root takes."""
    structs = (*openai.STRUCTS, *replicate.STRUCTS)
    _, schemas = msgspec.json.schema_components(structs, ref_template=REFERENCE)
    extra = {"OpenAIError": openai.ERROR, **replicate.components(cog_model)}
    document["components"]["schemas"] |= schemas | extra
    document["paths"] = {path: ways for path, ways in document["paths"].items() if not path.startswith("/schema")}
    foreign = openai.operations() | replicate.operations()
    for path, ways in document["paths"].items():
        for method, operation in ways.items():
            _describe(operation, foreign.get(operation["operationId"], {}))
            operation["tags"] = [tag_of(path)]
            _add_refusals(operation, path, method)
    document["tags"] = [{"name": name, "description": text} for _, name, text in TAGS if text]


def _describe(operation: Json, more: Json) -> None:
    if "requestBody" in more:
        operation["requestBody"] = more["requestBody"]
    if "responses" in more:
        operation["responses"] = dict(more["responses"])
    if "parameters" in more:
        operation["parameters"] = [*operation.get("parameters", []), *more["parameters"]]


def _add_refusals(operation: Json, path: str, method: str) -> None:
    """All that can happen at this method, in the surface's own shape; what the operation says itself stays."""
    statuses = MAKING if method in ("post", "put") else READING
    responses = operation["responses"]
    if "400" in responses and PROBLEM not in responses["400"].get("content", {}):
        del responses["400"]  # the framework's own guess at a wrong path parameter
    for status in statuses:
        responses.setdefault(status, refusal(status, path))


def refusal(status: str, path: str) -> Json:
    problem = {"type": "", "title": "", "status": int(status), "code": "", "detail": "", "request_id": ""}
    _, media_type, _ = in_dialect(path, problem)
    name = next((schema for prefix, schema in SCHEMAS.items() if path.startswith(prefix)), "Problem")
    return {"description": REFUSALS[status], "content": {media_type: media(reference(name))}}


def tag_of(path: str) -> str:
    return next(name for prefix, name, _ in TAGS if path.startswith(prefix))
