"""A body that is a JSON object."""

import asyncio
from typing import Any, cast

import msgspec

from service.api.body.stream import Stream
from service.errors import BadRequest
from service.memory import wipe

LARGE = 200_000  # bytes; longer bodies are parsed in a thread, because the loop would stand still meanwhile


async def read_json(stream: Stream) -> dict[str, Any]:
    """Raises BadRequest, and as the stream does."""
    text = bytearray()
    try:
        await stream.read_into(text)
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
