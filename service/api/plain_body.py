"""Bodies without a picture: JSON, a URL-encoded form, or multipart of texts -> one typed Struct."""

import asyncio
import dataclasses
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from msgspec import Struct

from service.api.fields import read_fields, unknown_field
from service.api.forms import Body, HttpRequest, Parts, UploadLimits, UploadTooSlow, check_encoding, read_parts
from service.api.json_body import read_json
from service.api.portrait_form import TOKENS, field_error
from service.errors import BadRequest, UnsupportedMedia
from service.jobs.sealing import MAX_TOKEN_CHARS
from service.memory import wipe

MAX_PLAIN_BYTES = 2 * MAX_TOKEN_CHARS  # a token, and all else beside it
URLENCODED = "application/x-www-form-urlencoded"
S = TypeVar("S", bound=Struct)


def is_plain(request: HttpRequest) -> bool:
    """Whether the body's type says that there is no picture in it. Multipart may have one or not."""
    kind, _ = request.content_type
    return kind in ("application/json", URLENCODED) or kind.endswith("+json")


async def read_plain(request: HttpRequest, limits: UploadLimits, struct: type[S]) -> S:
    """Raises BadRequest, UnsupportedMedia, TooLarge or UploadTooSlow; ClientLeft when the caller hangs up."""
    limits = dataclasses.replace(limits, max_body_bytes=min(limits.max_body_bytes, MAX_PLAIN_BYTES))
    kind, options = request.content_type
    if kind == "application/json" or kind.endswith("+json"):
        return read_fields(struct, await read_json(request, limits))
    check_encoding(request)
    body = Body(request, limits.max_body_bytes, "body_too_large")
    try:
        async with asyncio.timeout(limits.read_seconds):
            if kind == URLENCODED:
                fields = await _read_urlencoded(body)
            elif kind == "multipart/form-data":
                fields = await _read_multipart(body, options.get("boundary", ""), limits, struct)
            else:
                message = f"Send a form ({URLENCODED} or multipart/form-data) or JSON (application/json)."
                raise UnsupportedMedia("unsupported_media", message)
    except TimeoutError:
        message = f"The body did not arrive within {limits.read_seconds:g} s."
        raise UploadTooSlow("upload_too_slow", message, limit=limits.read_seconds) from None
    return read_fields(struct, _each_once(fields), from_text=True)


async def _read_urlencoded(body: Body) -> list[tuple[str, str]]:
    text = bytearray()
    async for chunk in body:
        text += chunk
    try:
        return parse_qsl(
            text.decode("ascii"), keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=32
        )
    except ValueError:
        message = "The form is malformed: write name=value pairs joined by &, percent-encoded as UTF-8."
        raise BadRequest("form_malformed", message) from None


async def _read_multipart(
    body: Body, boundary: str, limits: UploadLimits, struct: type[Struct]
) -> list[tuple[str, str]]:
    parts = Parts(limits, [], partial(_check_known, struct.__struct_fields__))
    try:
        await read_parts(body, boundary, parts.take)
        if parts.files:
            raise field_error("unknown_field", "image", "No photo is taken here: leave it out.")
    finally:
        wipe(parts.files)
    return parts.fields


def _check_known(known: tuple[str, ...], name: str) -> None:
    if name not in known:
        raise unknown_field(name, known)


def _each_once(fields: list[tuple[str, str]]) -> dict[str, Any]:
    """Tokens without the line's end that a file brings along."""
    values: dict[str, Any] = {}
    for name, text in fields:
        if name in values:
            raise field_error("duplicate_field", name, f"The field '{name}' is there more than once.")
        values[name] = text.strip() if name in TOKENS else text
    return values
