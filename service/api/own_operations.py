"""Our own operations in the OpenAPI document where Litestar can't derive them: uploads, the three forms of answer.

Schemas come from the same msgspec types that the handlers use, so the page can't drift from the code.
"""

import dataclasses
from typing import Any, cast

from litestar.openapi.spec import (
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Parameter,
    RequestBody,
)

from service.api.answers import IdentityAnswer, PortraitsAnswer
from service.api.forms.fields import flat_struct
from service.api.forms.final import FinalForm
from service.api.forms.form import Form
from service.api.forms.identity import IdentityForm
from service.api.forms.portrait import PortraitForm
from service.api.job_answer import JobAnswer
from service.api.openapi.pieces import PICTURE, REFERENCE, schema_of

IMAGES = {
    "type": "array",
    "items": {"type": "string", "format": "binary"},
    "minItems": 1,
    "description": "The selfies, all of one person: JPEG, PNG, WebP, HEIC or AVIF.",
}

INLINE_PICTURE = {"type": "string", "description": "A photo in base64, or as a data: URL."}
INLINE_IMAGES = {
    "anyOf": [INLINE_PICTURE, {"type": "array", "items": INLINE_PICTURE, "minItems": 1}],
    "description": "A selfie in base64 or as a data: URL, or a list of several, all of one person.",
}

STRUCTS = (PortraitsAnswer, IdentityAnswer, JobAnswer)

POSE = {
    "type": "string",
    "format": "binary",
    "description": "A photo whose face says where the new one goes; for adapters that take a pose (GET /v1/models).",
}

PROBLEM_SCHEMA = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457. `code` is stable; `value` and `limit` are there where something was measured.",
    "required": ["type", "title", "status", "code", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "examples": ["no_face", "queue_full"]},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "value": {},
        "limit": {},
        "allowed": {"type": "array", "items": {"type": "string"}},
        "selfie": {"type": "integer", "description": "Index of the selfie that it is about."},
        "field": {"type": "string", "description": "The form field that it is about."},
        "likeness": {
            "type": "array",
            "items": {"type": "array", "items": {"type": "number"}},
            "description": "Cosine of every selfie's face with every other's, where they are not of one person.",
        },
        "faces": {"type": "array", "items": {"$ref": REFERENCE.format(name="FaceReport")}},
        "retry_after_seconds": {"type": "integer"},
    },
}

JOB_NOT_FOUND = "The caller has no such job, or not any more: results are kept for a stated time."

EVENTS_DESCRIPTION = (
    "Server-sent events, each with a counting id: `queued` {id, position, eta_seconds, seeds}, "
    "`started` {adapter, sampler, steps, width, height, faces, warnings}, `step` {index, step, steps, preview_b64?}, "
    "`image` {index, seed, format, width, height, b64, proof}, `done` {id, model, style, timings_ms}, or `error` with "
    "a problem as its data. Comments keep it alive."
)

WAITING_HEADERS = {
    "Prefer": "`respond-async`: 202 at once, with the job's address. `wait=10`: 202 if it takes longer than 10 s.",
    "Cancel-After": "A deadline such as `15s` or `1m`, from acceptance on; like the field `deadline`.",
    "Idempotency-Key": (
        "The same request with the same key joins the running job, or gets its answer again for ten minutes."
    ),
}

FORM_EXAMPLE = {"image": ["(the bytes of selfie.jpg)"], "style": "corporate", "subject": "woman", "n": 2, "seed": 7}

ANSWER_EXAMPLE = {
    "id": "0f3a5c1d9b7e4862a1b2c3d4e5f60718",
    "model": "tiny",
    "adapter": "photomaker-v2",
    "style": "corporate",
    "images": [{"index": 0, "seed": 7, "format": "jpeg", "width": 256, "height": 256, "b64": "/9j/4AAQ..."}],
    "faces": [{"verdict": "ok", "faces_found": 1, "box": [102.0, 64.5, 310.2, 330.8], "score": 0.97}],
    "warnings": [],
    "timings_ms": {"face": 21.4, "identity": 6.0, "queue": 0.2, "steps": 96.1, "worker_total": 148.9, "total": 163.0},
}


@dataclasses.dataclass
class PortraitsOperation(Operation):
    """What POST /v1/portraits takes and gives."""

    def __post_init__(self) -> None:
        form = fields_of(PortraitForm)
        multipart = {"type": "object", "properties": {"image": IMAGES, "pose": POSE, **form}}
        inline = {"type": "object", "properties": {"image": INLINE_IMAGES, "pose": INLINE_PICTURE, **form}}
        raw = {"type": "string", "format": "binary", "description": "One selfie; the fields go into the query."}
        self.request_body = RequestBody(
            required=True,
            description="One selfie as the body with the fields in the query, or multipart or JSON with one or more. "
            "With an `identity` no selfie.",
            content={
                "multipart/form-data": _media(multipart, FORM_EXAMPLE),
                "application/json": _media(inline, {"image": PICTURE, "style": "corporate"}),
                "image/*": _media(raw),
            },
        )
        self.parameters = [
            Parameter(
                name=name,
                param_in="query",
                required=False,
                description=f"With a raw image body: {schema.get('description', name)}.",
                schema=cast(Any, schema),
            )
            for name, schema in form.items()
        ]
        self.parameters += [_header(name, text) for name, text in WAITING_HEADERS.items()]
        self.responses = {"200": _answers(), "202": _accepted()}


@dataclasses.dataclass
class IdentitiesOperation(Operation):
    """What POST /v1/identities takes and gives."""

    def __post_init__(self) -> None:
        multipart = {
            "type": "object",
            "required": ["image"],
            "properties": {"image": IMAGES, **fields_of(IdentityForm)},
        }
        inline = multipart | {"properties": {"image": INLINE_IMAGES, **fields_of(IdentityForm)}}
        raw = {"type": "string", "format": "binary", "description": "One selfie; the fields go into the query."}
        self.request_body = RequestBody(
            required=True,
            description="One selfie as the body, or multipart or JSON with one or more, all of one person.",
            content={
                "multipart/form-data": _media(multipart),
                "application/json": _media(inline, {"image": PICTURE}),
                "image/*": _media(raw),
            },
        )
        schema = {"$ref": REFERENCE.format(name="IdentityAnswer")}
        answer = OpenAPIResponse(
            description="What the photo judge saw, and the sealed identity.",
            content={"application/json": _media(schema)},
        )
        self.responses = {"200": answer}


@dataclasses.dataclass
class FinalsOperation(Operation):
    """What POST /v1/finals takes and gives."""

    def __post_init__(self) -> None:
        schema = {"type": "object", "required": ["proof"], "properties": fields_of(FinalForm)}
        kinds = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")
        self.request_body = RequestBody(required=True, content={kind: _media(schema) for kind in kinds})
        self.parameters = [_header(name, text) for name, text in WAITING_HEADERS.items()]
        self.responses = {"200": _answers(), "202": _accepted()}


@dataclasses.dataclass
class JobOperation(Operation):
    """What GET and DELETE of a job give."""

    def __post_init__(self) -> None:
        schema = {"$ref": REFERENCE.format(name="JobAnswer")}
        answer = OpenAPIResponse(description="How the job goes.", content={"application/json": _media(schema)})
        self.responses = {"200": answer, "404": _problem(JOB_NOT_FOUND)}


@dataclasses.dataclass
class EventsOperation(Operation):
    """What following a job takes and gives."""

    def __post_init__(self) -> None:
        after = Parameter(
            name="Last-Event-ID",
            param_in="header",
            required=False,
            description="Go on after the event with this id.",
            schema=cast(Any, {"type": "integer", "minimum": 0}),
        )
        self.parameters = [*(self.parameters or []), after]
        events = {"text/event-stream": _media({"type": "string", "description": EVENTS_DESCRIPTION})}
        self.responses = {
            "200": OpenAPIResponse(description="The job's events up to its end.", content=events),
            "204": OpenAPIResponse(description="The job has ended, and no event is after `Last-Event-ID`."),
            "400": _problem("The Last-Event-ID is none of ours."),
            "404": _problem(JOB_NOT_FOUND),
        }


def fields_of(form: type[Form]) -> dict[str, dict[str, Any]]:
    """A form's fields as JSON schemas, by name. None is a field left out: text has no null."""
    fields: dict[str, dict[str, Any]] = schema_of(flat_struct(form))["properties"]
    return {name: _without_null(field) for name, field in fields.items()}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
    return choices[0] if len(choices) == 1 else schema


def _answers() -> OpenAPIResponse:
    plain = {"type": "string", "format": "binary"}
    content = {
        "application/json": _media({"$ref": REFERENCE.format(name="PortraitsAnswer")}, ANSWER_EXAMPLE),
        "text/event-stream": _media({"type": "string", "description": EVENTS_DESCRIPTION}),
    }
    content |= {f"image/{name}": _media(plain) for name in ("jpeg", "webp", "png")}
    headers = {
        "X-Request-Id": "Echoed when the request sends a sane one.",
        "Server-Timing": "Stages of this request in milliseconds.",
        "X-Seed": "The portrait's seed; with plain images.",
        "X-Proof": "With plain images: the picture's proof, or a reference to it if it is long; finals take both.",
    }
    return OpenAPIResponse(
        description="The portraits, in the form that Accept asks for.",
        headers={name: OpenAPIHeader(description=text) for name, text in headers.items()},
        content=content,
    )


def _accepted() -> OpenAPIResponse:
    headers = {
        "Location": "The job: GET it, follow its events, DELETE it.",
        "Retry-After": "When it may be done, in seconds.",
        "Preference-Applied": "The preference that was followed.",
    }
    return OpenAPIResponse(
        description="The job runs on: with `Prefer: respond-async`, or after the time of `Prefer: wait`.",
        headers={name: OpenAPIHeader(description=text) for name, text in headers.items()},
        content={"application/json": _media({"$ref": REFERENCE.format(name="JobAnswer")})},
    )


def _header(name: str, text: str) -> Parameter:
    return Parameter(
        name=name, param_in="header", required=False, description=text, schema=cast(Any, {"type": "string"})
    )


def _problem(text: str) -> OpenAPIResponse:
    schema = {"$ref": REFERENCE.format(name="Problem")}
    return OpenAPIResponse(description=text, content={"application/problem+json": _media(schema)})


def _media(schema: dict[str, Any], example: Any = None) -> OpenAPIMediaType:
    return OpenAPIMediaType(schema=cast(Any, schema), example=example)
