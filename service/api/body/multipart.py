"""Forms with files, as RFC 7578 has them."""

from multipart import MultipartError, MultipartSegment, PushMultipartParser  # pyright: ignore[reportMissingTypeStubs]

from service.api.body.expected import Expected, FileField
from service.api.body.limits import UploadLimits
from service.api.body.received import Pair, Received, ReceivedFile
from service.api.body.stream import Stream
from service.errors import BadRequest, TooLarge

TEXT_CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii")
MAX_BOUNDARY_LENGTH = 200  # RFC 2046 says 70; nobody needs more than this
MAX_PART_HEADERS = 8


async def read_multipart(
    stream: Stream, boundary: str, expected: Expected, limits: UploadLimits, pairs: list[Pair], received: Received
) -> None:
    """Texts are added to `pairs`, files to `received`. Raises BadRequest or TooLarge, and as the stream does.

    The parser's own messages stay here: they are for programmers, and some quote the body.
    """
    if not 0 < len(boundary) <= MAX_BOUNDARY_LENGTH:
        raise BadRequest("form_malformed", "The Content-Type has no usable boundary: let your HTTP client write it.")
    parts = FormParts(expected, limits, pairs, received)
    try:
        with PushMultipartParser(boundary, max_header_count=MAX_PART_HEADERS) as parser:
            async for chunk in stream:
                for event in parser.parse(chunk):
                    parts.take(event)
    except (MultipartError, UnicodeError):
        message = "The multipart body is malformed or cut off: let your HTTP client write it, boundary and all."
        raise BadRequest("form_malformed", message) from None


class FormParts:
    """The parts of a form one after the other, every bound checked before a byte is kept."""

    def __init__(self, expected: Expected, limits: UploadLimits, pairs: list[Pair], received: Received) -> None:
        self._expected = expected
        self._limits = limits
        self._pairs = pairs
        self._received = received
        self._name = ""  # of the part that is being read, which is a file or else a text
        self._field: FileField | None = None
        self._file = ReceivedFile("")
        self._text = bytearray()

    def take(self, event: MultipartSegment | bytes | bytearray | None) -> None:
        """One of the parser's events: a part begins, has bytes, or ends."""
        if isinstance(event, MultipartSegment):
            self._begin(event)
        elif self._field is not None:
            self._end_file(self._field) if event is None else self._add_to_file(self._field, event)
        elif event is None:
            self._end_text()
        else:
            self._add_to_text(event)

    def _begin(self, part: MultipartSegment) -> None:
        self._name = part.name or ""
        self._field = self._expected.file_field(self._name)
        if self._field is None:
            self._begin_text(part)
        else:
            self._begin_file(self._field, part)

    def _begin_file(self, field: FileField, part: MultipartSegment) -> None:
        kind = part.content_type or ""
        if part.filename is None and not kind.startswith("image/") and kind != "application/octet-stream":
            message = f"'{self._name}' is a text, not a file; with curl: -F {self._name}=@selfie.jpg"
            raise BadRequest.of_field(field.missing, self._name, message)
        num_before = len(self._received.photos(field.name))
        if num_before and not field.several:
            raise BadRequest.of_field(
                "duplicate_field", self._name, f"The field '{self._name}' is there more than once."
            )
        self._limits.refuse_too_many(num_before + 1, self._name)
        self._file = self._received.add_file(field.name, kind)

    def _add_to_file(self, field: FileField, chunk: bytes | bytearray) -> None:
        limit = self._limits.max_image_bytes
        if len(self._file.data) + len(chunk) > limit:
            message = f"A photo has more than {limit} bytes: scale it down or save it as a JPEG."
            index = len(self._received.photos(field.name)) - 1
            which = {"selfie": index} if field.several else {"field": field.name}
            raise TooLarge("image_too_many_bytes", message, limit=limit, extra=which)
        self._file.data += chunk

    def _end_file(self, field: FileField) -> None:
        if not self._file.data:
            message = f"The file in '{self._name}' is empty: choose a photo."
            raise BadRequest.of_field(field.missing, self._name, message)

    def _begin_text(self, part: MultipartSegment) -> None:
        self._expected.refuse_unknown(self._name)
        if part.filename is not None and self._name not in self._expected.json_fields:
            message = f"The field '{self._name}' is a file: send it as text."
            raise BadRequest.of_field("invalid_field", self._name, message)
        if (part.charset or "utf-8").lower() not in TEXT_CHARSETS:
            raise self._not_text()
        if len(self._pairs) >= (limit := self._limits.max_fields):
            raise BadRequest("too_many_fields", f"There are more than {limit} fields.", limit=limit)
        self._text = bytearray()

    def _add_to_text(self, chunk: bytes | bytearray) -> None:
        limit = self._expected.max_field_bytes(self._name, self._limits)
        if len(self._text) + len(chunk) > limit:
            message = f"The field '{self._name}' has more than {limit} bytes."
            raise BadRequest.of_field("field_too_long", self._name, message, limit=limit)
        self._text += chunk

    def _end_text(self) -> None:
        try:
            self._pairs.append((self._name, self._text.decode("utf-8")))
        except UnicodeDecodeError:
            raise self._not_text() from None

    def _not_text(self) -> BadRequest:
        return BadRequest.of_field("invalid_field", self._name, f"The field '{self._name}' must be UTF-8 text.")
