"""A body while it arrives: of a kind that is expected, in time, and wiped if it is refused."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from functools import partial

from service.api.body.expected import Expected, Kind, kind_of
from service.api.body.inline import read_inline, take_inline
from service.api.body.json_object import read_json
from service.api.body.limits import UploadLimits
from service.api.body.multipart import read_multipart
from service.api.body.received import Received, each_once
from service.api.body.stream import HttpRequest, Stream
from service.api.body.urlencoded import read_query, read_urlencoded
from service.arrival import Arrival
from service.decoders.content import ACCEPTED
from service.errors import BadRequest, UnsupportedMedia, UploadTooSlow


@contextlib.asynccontextmanager
async def arriving(request: HttpRequest, expected: Expected, limits: UploadLimits) -> AsyncGenerator[Received]:
    """What the body brings, to be looked at within the time in which it may be read.

    A picture that is the whole body is read by `complete` alone: a wrong field should not cost an upload. Whatever is
    raised, also by the block, what came of the files is wiped.

    Raises BadRequest, UnsupportedMedia, TooLarge or UploadTooSlow; ClientLeft when the caller hangs up.
    """
    received, clock = Received(), asyncio.get_running_loop().time
    arrival = Arrival(limits.pace, clock())
    try:
        async with asyncio.timeout_at(arrival.late_at) as timeout:

            def note(num_bytes: int) -> None:
                arrival.add(num_bytes, clock())
                timeout.reschedule(arrival.late_at)

            await _read(request, expected, limits, received, note)
            yield received
    except TimeoutError:
        received.wipe()
        limit, message = arrival.lateness
        raise UploadTooSlow("upload_too_slow", message, limit=limit) from None
    except BaseException:
        received.wipe()
        raise


async def _read(
    request: HttpRequest, expected: Expected, limits: UploadLimits, received: Received, note: Callable[[int], None]
) -> None:
    kind = expected_kind(request, expected)
    pairs = read_query(request.scope["query_string"], limits) if expected.reads_query(kind) else []
    stream = partial(Stream, request, expected.bound(kind, limits), note)
    charset = request.content_type[1].get("charset")
    match kind:
        case "json":
            received.values, received.is_text = await read_json(stream(), charset), False
            if expected.has_inline_pictures and (found := take_inline(received.values, expected, limits)):
                received.complete = partial(read_inline, found, limits, received)
            return
        case "picture":
            received.complete = partial(_read_picture, stream, expected.files[0].name, received)
        case "urlencoded":
            pairs = await read_urlencoded(stream(), limits, charset)
        case "multipart":
            content_type = request.headers.get("content-type", "")
            await read_multipart(stream(), content_type, expected, limits, pairs, received)
    received.values = each_once(pairs)
    if kind != "picture":
        received.leave_out_blanks(expected.blank_fields)


async def _read_picture(stream: partial[Stream], name: str, received: Received) -> None:
    """The body is the one picture; its declared type is only how we know that it is meant as one."""
    picture = received.add_file(name, "")
    await stream().read_into(picture.data)
    if not picture.data:
        raise BadRequest.of_field("image_missing", name, f"The body is empty: send {ACCEPTED}.")


def expected_kind(request: HttpRequest, expected: Expected) -> Kind:
    """Raises UnsupportedMedia for a body that is compressed, or of a kind that is not expected."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMedia("content_encoded", "Compressed bodies are not read: pictures are compressed already.")
    media_type, _ = request.content_type
    kind = kind_of(media_type)
    if kind is None or kind not in expected.kinds:
        is_sane = 0 < len(media_type) <= 64 and media_type.isprintable()
        found = f"A body of type '{media_type}' is" if is_sane else "Such a body is"
        raise UnsupportedMedia("unsupported_media", f"{found} not read here: send {expected.sentence}.")
    return kind
