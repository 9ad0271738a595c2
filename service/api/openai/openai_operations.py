"""OpenAI's operations in the OpenAPI document: what Litestar can't derive of handlers that read their own bodies."""

from typing import Any

from service.api.forms.fields import flat_struct
from service.api.forms.portrait import PortraitForm
from service.api.openai.fields import OWN, ImagesFields
from service.api.openai.objects import CompletedEvent, ImagesResponse, PartialImageEvent
from service.api.openapi.pieces import PICTURE, described, media, reference, schema_of

Json = dict[str, Any]
STRUCTS = (ImagesResponse, PartialImageEvent, CompletedEvent)
PROMPT = "portrait photo of a woman in a red coat"
ERROR = {
    "type": "object",
    "title": "OpenAIError",
    "description": "OpenAI's error. `x-should-retry` says whether sending it again can help.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
                "request_id": {"type": "string"},
            },
        }
    },
}
STREAM = (
    "With `stream`: `image_edit.partial_image` (image_generation.partial_image), then `image_edit.completed` for each "
    "picture; an error is an event with OpenAI's error as its data. Comments keep it alive."
)


def operations() -> dict[str, Json]:
    """By operationId: the request's body and its good answers."""
    theirs, ours = schema_of(ImagesFields), schema_of(flat_struct(PortraitForm))
    fields: Json = {**theirs["properties"], **{name: ours["properties"][name] for name in OWN}}
    without_selfie = {name: schema for name, schema in fields.items() if name != "identity"}
    files = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1, "maxItems": 16}
    form = {
        "type": "object",
        "required": ["prompt", "image"],
        "properties": {"image": described(files, "The selfies, as 'image' or 'image[]'."), **without_selfie},
    }
    entry = {
        "type": "object",
        "required": ["image_url"],
        "properties": {"image_url": {"type": "string", "description": "a data: URL"}},
        "additionalProperties": False,
    }
    images = {"type": "array", "items": entry, "minItems": 1, "maxItems": 16}
    body = {"type": "object", "required": ["prompt"], "properties": {"images": images, **fields}}
    edit_form = {"image": ["(the bytes of selfie.jpg)"], "prompt": PROMPT, "n": 2, "size": "1024x1024", "seed": 7}
    edit_json = {"images": [{"image_url": PICTURE}], "prompt": PROMPT, "quality": "high", "output_format": "webp"}
    generation = {
        "type": "object",
        "required": ["prompt"],
        "properties": {**fields, "proof": {"type": "string", "description": "a picture's proof, for its final"}},
    }
    return {
        "editImages": {
            "requestBody": {
                "required": True,
                "content": {"multipart/form-data": media(form, edit_form), "application/json": media(body, edit_json)},
            },
            "responses": {"200": answer()},
        },
        "generateImages": {
            "requestBody": {
                "required": True,
                "content": {"application/json": media(generation, {"prompt": PROMPT, "identity": "identity.q2Xy..."})},
            },
            "responses": {"200": answer()},
        },
    }


def answer() -> Json:
    content = {
        "application/json": media(reference("ImagesResponse")),
        "text/event-stream": media({"type": "string", "description": STREAM}),
    }
    return {"description": "The portraits, whole or as a stream.", "content": content}
