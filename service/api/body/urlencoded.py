"""Name=value pairs joined by &, as a query or as a body. Strictly: text that is no UTF-8 is refused, not replaced."""

from urllib.parse import parse_qsl

from service.api.body.charsets import codec_of
from service.api.body.limits import UploadLimits
from service.api.body.misnamed import what_is_misnamed
from service.api.body.received import Pair
from service.api.body.stream import Stream
from service.errors import BadRequest
from service.memory import wipe

HOW = "write name=value pairs joined by &, percent-encoded as UTF-8"


def read_query(query: bytes, limits: UploadLimits) -> list[Pair]:
    """The fields in an address. Raises BadRequest."""
    try:
        return _pairs(query, limits)
    except ValueError:
        raise BadRequest("query_malformed", f"The query is malformed: {HOW}.") from None


async def read_urlencoded(stream: Stream, limits: UploadLimits, charset: str | None = None) -> list[Pair]:
    """The fields of a form without files. Raises BadRequest, and as the stream does."""
    text = bytearray()
    try:
        await stream.read_into(text)
        if (told := what_is_misnamed(text)) is not None:
            raise BadRequest("form_malformed", told)
        return _pairs(text, limits, charset)
    except ValueError:
        raise BadRequest("form_malformed", f"The form is malformed: {HOW}.") from None
    finally:
        wipe([text])


def _pairs(text: bytes | bytearray, limits: UploadLimits, charset: str | None = None) -> list[Pair]:
    """Nothing between two & is no pair, and no error."""
    pieces = [piece for piece in text.decode("ascii").split("&") if piece]
    return parse_qsl(
        "&".join(pieces),
        keep_blank_values=True,
        strict_parsing=bool(pieces),
        encoding=codec_of(charset),
        errors="strict",
        max_num_fields=limits.max_fields,
    )
