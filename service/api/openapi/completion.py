"""Completes the OpenAPI document: what Litestar can't derive of each surface, every refusal, and the groups."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from service.api.openapi.pieces import REFERENCE, media, reference
from service.api.openapi.statuses import MAKING, READING, STATUSES
from service.api.refusals import PROBLEM
from service.api.surface import Surface, shape_at
from service.settings import Settings

Json = dict[str, Any]


def complete(document: Json, surfaces: Sequence[Surface], settings: Settings) -> None:
    """Changes the document in place."""
    structs = [struct for surface in surfaces for struct in surface.structs]
    _, schemas = msgspec.json.schema_components(structs, ref_template=REFERENCE)
    document["components"]["schemas"] |= schemas | _merged(surface.schemas(settings) for surface in surfaces)
    document["paths"] = {path: ways for path, ways in document["paths"].items() if not path.startswith("/schema")}
    more = _merged(surface.operations() for surface in surfaces)
    groups = {name: surface.name for surface in surfaces for name in surface.operation_ids}
    for path, ways in document["paths"].items():
        for method, operation in ways.items():
            _describe(operation, more.get(operation["operationId"], {}))
            operation["tags"] = [groups[operation["operationId"]]]
            _add_refusals(operation, path, method, surfaces)
    document["tags"] = [{"name": surface.name, "description": surface.about} for surface in surfaces]


def _merged(parts: Iterable[dict[str, Json]]) -> dict[str, Json]:
    return {name: value for part in parts for name, value in part.items()}


def _describe(operation: Json, more: Json) -> None:
    if "requestBody" in more:
        operation["requestBody"] = more["requestBody"]
    if "responses" in more:
        operation["responses"] = dict(more["responses"])
    if "parameters" in more:
        operation["parameters"] = [*operation.get("parameters", []), *more["parameters"]]


def _add_refusals(operation: Json, path: str, method: str, surfaces: Sequence[Surface]) -> None:
    """All that can happen at this method, in the surface's own shape; what the operation says itself stays."""
    shape, responses = shape_at(path, surfaces), operation["responses"]
    if "400" in responses and PROBLEM not in responses["400"].get("content", {}):
        del responses["400"]  # the framework's own guess at a wrong path parameter
    for status in MAKING if method in ("post", "put") else READING:
        content = {shape.media_type: media(reference(shape.schema))}
        responses.setdefault(status, {"description": STATUSES[status], "content": content})
