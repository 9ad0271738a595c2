"""A body that is a JSON object."""

import asyncio
from typing import Any, cast

import msgspec

from service.api.body.charsets import decode
from service.api.body.misnamed import what_is_misnamed
from service.api.body.stream import Stream
from service.errors import BadRequest
from service.memory import wipe

LARGE = 200_000  # bytes; longer bodies are parsed in a thread, because the loop would stand still meanwhile


async def read_json(stream: Stream, charset: str | None = None) -> dict[str, Any]:
    """What is null in it is left out. Raises BadRequest, and as the stream does."""
    text = bytearray()
    try:
        await stream.read_into(text)
        value = (
            await asyncio.to_thread(parse_object, text, charset) if len(text) > LARGE else parse_object(text, charset)
        )
        return {name: one for name, one in value.items() if one is not None}
    finally:
        wipe([text])  # its texts are copies, and go with the request


def parse_object(text: bytes | bytearray, charset: str | None = None) -> dict[str, Any]:
    """Raises BadRequest `json_malformed`. The parser's own message stays here: it may quote the body."""
    try:
        value = msgspec.json.decode(text if charset is None else decode(text, charset))
    except (msgspec.DecodeError, ValueError, RecursionError):
        message = what_is_misnamed(text) if text[:1] != b"{" else None
        raise BadRequest("json_malformed", message or "The body is not valid JSON, or it is cut off.") from None
    if not isinstance(value, dict):
        raise BadRequest("json_malformed", "The body must be a JSON object: {...}.")
    return cast(dict[str, Any], value)
