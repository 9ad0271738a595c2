"""Reads the request of POST /v1/portraits: one picture as the body with fields in the query, or multipart.

The framework's own form reading is not used: it spools uploads of a megabyte and more to disk, and answers a few
malformed ones with 500. Here every byte stays in bytearrays that `wipe` can empty, and every bound is checked before
the bytes behind it are kept.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from litestar import Request
from multipart import MultipartError, MultipartSegment, PushMultipartParser  # pyright: ignore[reportMissingTypeStubs]

from service.api.portrait_form import (
    FILE_FIELDS,
    POSE_FIELD,
    TOKENS,
    PortraitForm,
    check_known,
    field_error,
    parse_form,
)
from service.api.presence import ClientLeft
from service.decoders.content import ACCEPTED
from service.decoders.protocol import MAX_BYTES
from service.errors import BadRequest, ServiceError, TooLarge, UnsupportedMedia
from service.jobs.sealing import MAX_TOKEN_CHARS
from service.memory import wipe

__all__ = ["ClientLeft", "PortraitForm", "Upload", "UploadLimits", "UploadTooSlow", "read_upload", "wipe"]

TEXT_CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii")
MAX_BOUNDARY_LENGTH = 200  # RFC 2046 says 70; nobody needs more than this
MAX_PART_HEADERS = 8

HttpRequest = Request[Any, Any, Any]


class UploadTooSlow(ServiceError):
    status = 408
    title = "The body took too long to arrive"
    closes_connection = True


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadLimits:
    """What one request may bring. `max_image_bytes` should be the decoders' own `max_bytes`."""

    max_images: int = 8
    max_image_bytes: int = MAX_BYTES
    max_body_bytes: int = 4 * MAX_BYTES  # eight phone selfies are 15-30 MB
    max_fields: int = 32
    max_field_bytes: int = 8192  # a prompt of 2000 characters, whatever the script
    read_seconds: float = 60.0  # 12 MB at 200 kB/s


@dataclass(frozen=True, slots=True)
class Upload:
    form: PortraitForm
    images: list[bytearray]  # the selfies
    pose: bytearray | None = None  # the photo whose face says where the new one goes
    proof: str | None = None  # of the picture that a final is made of

    @property
    def files(self) -> list[bytearray]:
        """All that has to be decoded and wiped, selfies first."""
        return [*self.images, *([] if self.pose is None else [self.pose])]

    def __repr__(self) -> str:
        return f"Upload({len(self.files)} images)"


async def read_upload(request: HttpRequest, *, limits: UploadLimits) -> Upload:
    """Raises BadRequest, UnsupportedMedia, TooLarge or UploadTooSlow; ClientLeft when the caller hangs up.

    Reads `receive` itself: the handler must bind no body. What was read of a refused upload is wiped.
    """
    kind, options = request.content_type
    check_encoding(request)
    parts = Parts(limits, read_query(request.scope["query_string"]))
    async with arriving(limits, parts.files):
        if kind == "multipart/form-data":
            await read_multipart(
                Body(request, limits.max_body_bytes, "body_too_large"), options.get("boundary", ""), parts
            )
            form = parse_form(parts.fields)
        elif kind.startswith("image/") or kind == "application/octet-stream":
            form = parse_form(parts.fields)  # first: a wrong field should not cost an upload
            await read_raw(Body(request, limits.max_image_bytes, "image_too_many_bytes"), parts)
        else:
            raise not_accepted(kind)
        upload = Upload(form, parts.images, parts.pose)
        check_who(upload)
        return upload


@contextlib.asynccontextmanager
async def arriving(limits: UploadLimits, files: list[bytearray]) -> AsyncGenerator[None]:
    """The time in which a body may be read. Raises UploadTooSlow; whatever is raised, what came of `files` is wiped."""
    try:
        async with asyncio.timeout(limits.read_seconds):
            yield
    except TimeoutError:
        wipe(files)
        message = f"The body did not arrive within {limits.read_seconds:g} s."
        raise UploadTooSlow("upload_too_slow", message, limit=limits.read_seconds) from None
    except BaseException:
        wipe(files)
        raise


def check_who(upload: Upload) -> None:
    """Selfies or an identity, one of the two."""
    if upload.form.identity is None and not upload.images:
        raise field_error("image_missing", "image", "There is no selfie: send one to eight files named 'image'.")
    if upload.form.identity is not None and upload.images:
        message = "Both selfies and an 'identity' are given: it takes their place, so send one of the two."
        raise field_error("identity_and_image", "identity", message)


async def read_raw(body: "Body", parts: "Parts") -> None:
    """The body is the one picture; its declared type is only how we know that it is meant as one."""
    image = bytearray()
    parts.images.append(image)
    parts.files.append(image)
    async for chunk in body:
        image += chunk
    if not image:
        raise field_error("image_missing", "image", f"The body is empty: send {ACCEPTED}.")


async def read_multipart(body: "Body", boundary: str, parts: "Parts") -> None:
    """A form with selfies, or with an identity in their place. Raises BadRequest when it has neither."""
    await read_parts(body, boundary, parts.take)
    if not parts.images and all(name != "identity" for name, _ in parts.fields):
        raise field_error("image_missing", "image", "There is no selfie: send one to eight files named 'image'.")


async def read_parts(
    body: "Body", boundary: str, take: Callable[[MultipartSegment | bytes | bytearray | None], None]
) -> None:
    """RFC 7578. The parser's own messages stay here: they are for programmers, and some quote the body."""
    if not 0 < len(boundary) <= MAX_BOUNDARY_LENGTH:
        raise BadRequest("form_malformed", "The Content-Type has no usable boundary: let your HTTP client write it.")
    try:
        with PushMultipartParser(boundary, max_header_count=MAX_PART_HEADERS) as parser:
            async for chunk in body:
                for event in parser.parse(chunk):
                    take(event)
    except (MultipartError, UnicodeError):
        message = "The multipart body is malformed or cut off: let your HTTP client write it, boundary and all."
        raise BadRequest("form_malformed", message) from None


class Body:
    """The request's body, chunk by chunk, within a bound that is checked against Content-Length first."""

    def __init__(self, request: HttpRequest, max_bytes: int, code: str) -> None:
        self._receive = request.receive
        self._max_bytes = max_bytes
        self._code = code
        declared = request.headers.get("content-length", "")
        if declared.isascii() and declared.isdigit():
            self._check(int(declared[:20]))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received, more = 0, True
        while more:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                raise ClientLeft
            assert event["type"] == "http.request"
            chunk, more = event.get("body", b""), event.get("more_body", False)
            received += len(chunk)
            self._check(received)
            if chunk:
                yield chunk

    def _check(self, num_bytes: int) -> None:
        if num_bytes > self._max_bytes:
            message = f"The body has more than {self._max_bytes} bytes: send fewer or smaller pictures."
            raise TooLarge(self._code, message, value=num_bytes, limit=self._max_bytes)


class Parts:
    """What a multipart body has brought so far, every bound checked before a byte is kept."""

    def __init__(
        self, limits: UploadLimits, fields: list[tuple[str, str]], check: Callable[[str], None] = check_known
    ) -> None:
        self.fields = fields
        self.files: list[bytearray] = []  # the selfies and the pose photo as they came; the last is being read
        self.images: list[bytearray] = []
        self.pose: bytearray | None = None
        self._limits = limits
        self._check_name = check  # raises for a text field that this surface does not know
        self._name = ""
        self._text: bytearray | None = None  # of the text field that is being read; None while a file is

    def take(self, event: MultipartSegment | bytes | bytearray | None) -> None:
        """One of the parser's events: a part begins, has bytes, or ends."""
        if isinstance(event, MultipartSegment):
            self._begin(event)
        elif event is None:
            self._end()
        elif self._text is None:
            self._add_file_bytes(event)
        else:
            self._add_text_bytes(self._text, event)

    def _begin(self, part: MultipartSegment) -> None:
        self._name = part.name or ""
        if self._name in FILE_FIELDS:
            self._text = None
            self._begin_file(part)
            return
        self._check_name(self._name)
        if part.filename is not None:
            raise field_error("invalid_field", self._name, f"The field '{self._name}' is a file: send it as text.")
        if (part.charset or "utf-8").lower() not in TEXT_CHARSETS:
            raise self._not_text()
        if len(self.fields) >= self._limits.max_fields:
            limit = self._limits.max_fields
            raise BadRequest("too_many_fields", f"There are more than {limit} fields.", limit=limit)
        self._text = bytearray()

    def _begin_file(self, part: MultipartSegment) -> None:
        kind = part.content_type or ""
        if part.filename is None and not kind.startswith("image/") and kind != "application/octet-stream":
            message = f"'{self._name}' is a text, not a file; with curl: -F {self._name}=@selfie.jpg"
            raise field_error("image_missing", self._name, message)
        if self._name == POSE_FIELD:
            if self.pose is not None:
                raise field_error("duplicate_field", self._name, "The field 'pose' is there more than once.")
            self.pose = bytearray()
            self.files.append(self.pose)
            return
        if len(self.images) >= self._limits.max_images:
            limit = self._limits.max_images
            message = f"There are more than {limit} selfies: send the best {limit}."
            raise BadRequest("too_many_images", message, limit=limit, extra={"field": self._name})
        self.images.append(bytearray())
        self.files.append(self.images[-1])

    def _add_file_bytes(self, chunk: bytes | bytearray) -> None:
        file, limit = self.files[-1], self._limits.max_image_bytes
        if len(file) + len(chunk) > limit:
            message = f"A photo has more than {limit} bytes: scale it down or save it as a JPEG."
            which = {"field": POSE_FIELD} if file is self.pose else {"selfie": len(self.images) - 1}
            raise TooLarge("image_too_many_bytes", message, limit=limit, extra=which)
        file += chunk

    def _add_text_bytes(self, text: bytearray, chunk: bytes | bytearray) -> None:
        limit = MAX_TOKEN_CHARS if self._name in TOKENS else self._limits.max_field_bytes
        if len(text) + len(chunk) > limit:
            message = f"The field '{self._name}' has more than {limit} bytes."
            raise BadRequest("field_too_long", message, limit=limit, extra={"field": self._name})
        text += chunk

    def _end(self) -> None:
        if self._text is not None:
            try:
                self.fields.append((self._name, self._text.decode("utf-8")))
            except UnicodeDecodeError:
                raise self._not_text() from None
        elif not self.files[-1]:
            raise field_error("image_missing", self._name, f"The file in '{self._name}' is empty: choose a photo.")

    def _not_text(self) -> BadRequest:
        return field_error("invalid_field", self._name, f"The field '{self._name}' must be UTF-8 text.")


def read_query(query: bytes) -> list[tuple[str, str]]:
    """The query's fields, strictly: text that is no UTF-8 is refused, not replaced."""
    try:
        text = query.decode("ascii")
        return parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=32)
    except ValueError:
        message = "The query is malformed: write name=value pairs joined by &, percent-encoded as UTF-8."
        raise BadRequest("query_malformed", message) from None


def check_encoding(request: HttpRequest) -> None:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMedia("content_encoded", "Compressed bodies are not read: pictures are compressed already.")


def not_accepted(kind: str) -> UnsupportedMedia:
    found = f"A body of type '{kind}' is" if 0 < len(kind) <= 64 and kind.isprintable() else "Such a body is"
    message = f"{found} not read here: send {ACCEPTED} as the body (Content-Type: image/...), or multipart/form-data."
    return UnsupportedMedia("unsupported_media", message)
