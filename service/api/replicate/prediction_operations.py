"""Replicate's and Cog's operations in the OpenAPI document: bodies, answers and examples."""

from typing import Any

from service.api.openapi.pieces import PICTURE, media, reference, schema_of
from service.api.replicate.catalogue import INSTANT_ID, OUTPUT, OWN, PHOTOMAKER, PublishedModel
from service.api.replicate.objects import PredictionObject
from service.api.replicate.requests import PredictionRequest
from service.settings import Settings

Json = dict[str, Any]
STRUCTS = (PredictionObject,)
COG_ERROR = {
    "type": "object",
    "title": "CogError",
    "description": "Wrong input is told by its place, anything else by a sentence.",
    "required": ["detail"],
    "properties": {
        "detail": {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["loc", "msg", "type"],
                        "properties": {
                            "loc": {"type": "array", "items": {"type": "string"}},
                            "msg": {"type": "string"},
                            "type": {"type": "string"},
                        },
                    },
                },
            ]
        }
    },
}
MODEL_EXAMPLE = {"owner": "tencentarc", "name": "photomaker"}
PHOTOMAKER_INPUT = {
    "input_image": PICTURE,
    "prompt": "a photo of a man img",
    "style_name": "Cinematic",
    "num_steps": 20,
}
PREFER = "`wait` (up to a minute) or `wait=10`: the answer is the finished prediction, if it is finished by then."
WAITING: list[Json] = [
    {"name": "Prefer", "in": "header", "required": False, "schema": {"type": "string"}, "description": PREFER},
    {
        "name": "Cancel-After",
        "in": "header",
        "required": False,
        "schema": {"type": "string"},
        "description": "A deadline such as `15s` or `1m`, from acceptance on.",
    },
]


def components(settings: Settings) -> dict[str, Json]:
    """Schemas by name. `Input` and `Output` are those of the model that answers at Cog's root, as Cog has them."""
    by_id = {model.id: model for model in (PHOTOMAKER, INSTANT_ID, OWN)}
    inputs = {input_name(model): model.input_schema for model in by_id.values()}
    return {**inputs, "Input": by_id[settings.cog_model].input_schema, "Output": OUTPUT, "CogError": COG_ERROR}


def input_name(model: PublishedModel) -> str:
    return model.id.title().replace("/", "").replace("-", "") + "Input"


PREDICTION: Json = {"application/json": media(reference("PredictionObject"))}
SHOWN: Json = {"200": {"description": "The prediction.", "content": PREDICTION}}


def replicate_operations() -> dict[str, Json]:
    """By operationId: what is read, what is answered, and more parameters."""
    any_input = {"anyOf": [reference(input_name(model)) for model in (PHOTOMAKER, INSTANT_ID, OWN)]}
    named = creation(any_input, {"input": PHOTOMAKER_INPUT})
    by_version = creation(any_input, {"version": PHOTOMAKER.versions[0], "input": PHOTOMAKER_INPUT})
    created = {"201": {"description": "The prediction: ended, or `starting`.", "content": PREDICTION}}
    stream = {"text/event-stream": media({"type": "string", "description": "`output`, `logs`, `error`, `done`."})}
    return {
        "createPrediction": {"requestBody": by_version, "responses": created, "parameters": WAITING},
        "createModelPrediction": {"requestBody": named, "responses": created, "parameters": WAITING},
        "createDeploymentPrediction": {"requestBody": named, "responses": created, "parameters": WAITING},
        "getPrediction": {"responses": SHOWN},
        "cancelPrediction": {"responses": SHOWN},
        "listPredictions": {"parameters": [query("cursor", "The id that a page's `next` or `previous` names.")]},
        "streamPrediction": {"responses": {"200": {"description": "Its events up to the end.", "content": stream}}},
        "createFile": {"requestBody": upload()},
    }


def cog_operations() -> dict[str, Json]:
    """As `replicate_operations`, for Cog's root."""
    body = creation(reference("Input"), {"input": PHOTOMAKER_INPUT})
    answers: Json = {**SHOWN, "202": {"description": "It runs on.", "content": PREDICTION}}
    making = {"requestBody": body, "responses": answers, "parameters": WAITING}
    return {"cogPredict": making, "cogPut": making}


def creation(input_schema: Json, example: Json) -> Json:
    """A body with the input in what surrounds it."""
    schema = schema_of(PredictionRequest)
    properties = schema["properties"] | {"input": input_schema}
    whole = {"type": "object", "required": ["input"], "properties": properties}
    return {"required": True, "content": {"application/json": media(whole, example)}}


def upload() -> Json:
    content = {"type": "string", "format": "binary", "description": "the picture"}
    schema = {
        "type": "object",
        "required": ["content"],
        "properties": {"content": content, "metadata": {"type": "string", "description": "a JSON object (not kept)"}},
    }
    example = {"content": "(the bytes of selfie.jpg)"}
    return {"required": True, "content": {"multipart/form-data": media(schema, example)}}


def query(name: str, text: str) -> Json:
    return {"name": name, "in": "query", "required": False, "schema": {"type": "string"}, "description": text}
