"""A request's body as a JSON object, within a bound and a time, for the surfaces that speak JSON."""

import asyncio
from typing import Any, cast

import msgspec

from service.api.forms import Body, HttpRequest, UploadLimits, arriving, check_encoding
from service.errors import BadRequest, UnsupportedMedia
from service.memory import wipe

LARGE = 200_000  # bytes; longer bodies are parsed in a thread, because the loop would stand still meanwhile
BASE64_SHARE = 4 / 3


async def read_json(request: HttpRequest, limits: UploadLimits) -> dict[str, Any]:
    """Raises BadRequest, UnsupportedMedia, TooLarge or UploadTooSlow; ClientLeft when the caller hangs up."""
    kind, _ = request.content_type
    if kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMedia("unsupported_media", "The body must be JSON: send Content-Type: application/json.")
    check_encoding(request)
    bound = int(limits.max_body_bytes * BASE64_SHARE)
    text = bytearray()
    async with arriving(limits, [text]):
        async for chunk in Body(request, bound, "body_too_large"):
            text += chunk
    try:
        return await asyncio.to_thread(parse_object, text) if len(text) > LARGE else parse_object(text)
    finally:
        wipe([text])  # its texts are copies, and go with the request


def parse_object(text: bytes | bytearray) -> dict[str, Any]:
    """Raises BadRequest `json_malformed`. The parser's own message stays here: it may quote the body."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest("json_malformed", "The body is not valid JSON, or it is cut off.") from None
    if not isinstance(value, dict):
        raise BadRequest("json_malformed", "The body must be a JSON object: {...}.")
    return cast(dict[str, Any], value)
