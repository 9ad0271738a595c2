"""Forms with files, as RFC 7578 has them."""

import re

from multipart import MultipartError, MultipartSegment, PushMultipartParser  # pyright: ignore[reportMissingTypeStubs]

from service.api.body.charsets import decode
from service.api.body.expected import Expected, FileField
from service.api.body.limits import UploadLimits
from service.api.body.misnamed import START, what_is_misnamed
from service.api.body.received import Pair, Received, ReceivedFile
from service.api.body.stream import Stream
from service.errors import BadRequest, TooLarge

BOUNDARY = re.compile(r';\s*boundary\s*=\s*("([^"]*)"|[^;]*)', re.IGNORECASE)  # bare, it may have = and : in it
FILE_NAME = re.compile(r";\s*filename\*?\s*=", re.IGNORECASE)
CHARSET_FIELD = "_charset_"  # the name of all texts' charset, where a part has it (RFC 7578, section 4.6)
MAX_BOUNDARY_LENGTH = 200  # RFC 2046 says 70; nobody needs more than this
MAX_PART_HEADERS = 8


async def read_multipart(
    stream: Stream, content_type: str, expected: Expected, limits: UploadLimits, pairs: list[Pair], received: Received
) -> None:
    """Texts are added to `pairs`, files to `received`. Raises BadRequest or TooLarge, and as the stream does.

    The parser's own messages stay here: they are for programmers, and some quote the body.
    """
    boundary = boundary_of(content_type)
    if not 0 < len(boundary) <= MAX_BOUNDARY_LENGTH:
        raise BadRequest("form_malformed", "The Content-Type has no usable boundary: let your HTTP client write it.")
    parts, start = FormParts(expected, limits, pairs, received), b""
    try:
        # every byte of a header is a letter: a file may have any name
        with PushMultipartParser(
            boundary.encode("latin-1"), max_header_count=MAX_PART_HEADERS, header_charset="latin-1"
        ) as parser:
            async for chunk in stream:
                start = start or chunk[:START]
                for event in parser.parse(chunk):
                    parts.take(event)
    except (MultipartError, UnicodeError):
        message = "The multipart body is malformed or cut off: let your HTTP client write it, boundary and all."
        raise BadRequest("form_malformed", what_is_misnamed(start) or message) from None


def boundary_of(content_type: str) -> str:
    """Empty where there is none."""
    found = BOUNDARY.search(content_type)
    return "" if found is None else (found[1].strip() if found[2] is None else found[2])


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
        self._unused: MultipartSegment | None = None  # a part that is nothing, unless bytes come
        self._num_texts = len(pairs)
        self._charset: str | None = None  # of the text
        self._usual_charset: str | None = None

    def take(self, event: MultipartSegment | bytes | bytearray | None) -> None:
        """One of the parser's events: a part begins, has bytes, or ends."""
        if isinstance(event, MultipartSegment):
            self._begin_unused(event) if _is_unused(event) else self._begin(event)
        elif self._unused is not None:
            self._take_unused(self._unused, event)
        elif self._field is not None:
            self._end_file(self._field) if event is None else self._add_to_file(self._field, event)
        elif event is None:
            self._end_text()
        else:
            self._add_to_text(event)

    def _begin_unused(self, part: MultipartSegment) -> None:
        self._unused = part
        self._count()

    def _take_unused(self, part: MultipartSegment, event: bytes | bytearray | None) -> None:
        """Nothing comes of it, or it is a file after all."""
        self._unused = None
        if event is not None:
            self._begin(part)
            self.take(event)

    def _begin(self, part: MultipartSegment) -> None:
        self._name = _as_utf8(part.name or "")
        self._field = self._expected.file_field(self._name)
        if self._field is None:
            self._begin_text(part)
        else:
            self._begin_file(self._field, part)

    def _begin_file(self, field: FileField, part: MultipartSegment) -> None:
        kind = part.content_type or ""
        if not _is_file(part) and not kind.startswith("image/") and kind != "application/octet-stream":
            message = f"'{self._name}' is a text, not a file; with curl: -F {self._name}=@selfie.jpg{field.advice}"
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
        if self._name != CHARSET_FIELD:
            self._expected.refuse_unknown(self._name)
        if _is_file(part) and self._name not in self._expected.json_fields:
            message = f"The field '{self._name}' is a file: send it as text."
            raise BadRequest.of_field("invalid_field", self._name, message)
        self._count()
        self._text = bytearray()
        self._charset = part.charset or self._usual_charset

    def _count(self) -> None:
        self._num_texts += 1
        if self._num_texts > (limit := self._limits.max_fields):
            raise BadRequest("too_many_fields", f"There are more than {limit} fields.", limit=limit)

    def _add_to_text(self, chunk: bytes | bytearray) -> None:
        limit = self._expected.max_field_bytes(self._name, self._limits)
        if len(self._text) + len(chunk) > limit:
            message = f"The field '{self._name}' has more than {limit} bytes."
            raise BadRequest.of_field("field_too_long", self._name, message, limit=limit)
        self._text += chunk

    def _end_text(self) -> None:
        try:
            text = decode(self._text, self._charset)
        except ValueError:
            message = f"The field '{self._name}' must be text in the charset that its part declares, or in UTF-8."
            raise BadRequest.of_field("invalid_field", self._name, message) from None
        if self._name == CHARSET_FIELD:
            self._usual_charset = text
        else:
            self._pairs.append((self._name, text))


def _is_unused(part: MultipartSegment) -> bool:
    """Whether a browser writes a file input so for which no file was chosen; that it is empty shows later."""
    return part.filename == ""


def _is_file(part: MultipartSegment) -> bool:
    """Its name may be written in any way, and also in one that the parser can't read."""
    return part.filename is not None or any(
        name == "Content-Disposition" and FILE_NAME.search(value) for name, value in part.headerlist
    )


def _as_utf8(name: str) -> str:
    """A field's name, of which the parser has read each byte as a letter."""
    try:
        return name.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return name
