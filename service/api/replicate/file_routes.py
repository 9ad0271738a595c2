"""/v1/files: where the `replicate` client puts a picture before it names it in a prediction."""

import re
from typing import Any

import msgspec
from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from multipart import MultipartSegment  # pyright: ignore[reportMissingTypeStubs]

from service.access.caller import caller_of
from service.api.fields import field_problem, unknown_field
from service.api.forms import Body, UploadLimits, arriving, check_encoding, read_parts
from service.api.front import Front
from service.api.intake.receiving import receiving
from service.api.replicate.files import StoredFile
from service.api.replicate.objects import FileObject, FileUrls, Page
from service.api.replicate.predictions import timestamp
from service.decoders.content import ACCEPTED
from service.errors import BadRequest, TooLarge, UnsupportedMedia

CONTENT = "content"
TEXTS = ("metadata", "filename", "type")
MAX_TEXT_BYTES = 8192
PLAIN_TYPE = re.compile(r"[a-z0-9.+-]{1,64}/[a-z0-9.+-]{1,64}")

AnyRequest = Request[Any, Any, Any]


@post(
    "/v1/files",
    operation_id="createFile",
    summary="Upload a picture for a prediction",
    status_code=201,
    request_max_body_size=None,
)
async def create_file(request: AnyRequest, front: NamedDependency[Front]) -> FileObject:
    """Hold a picture in memory for a while; name its address in a prediction's input."""
    with receiving(request, front):
        part = await read_file(request, front.upload_limits)
    file = front.files.add(caller_of(request.scope), part.content_type, part.data)
    return file_object(file, str(request.base_url))


@get("/v1/files", operation_id="listFiles", summary="The caller's files")
async def list_files(request: AnyRequest, front: NamedDependency[Front]) -> Page[FileObject]:
    """Newest first; what they are, never what is in them."""
    mine = front.files.of(caller_of(request.scope))
    return Page(results=[file_object(file, str(request.base_url)) for file in mine])


@get("/v1/files/{file_id:str}", operation_id="getFile", summary="What a file is")
async def get_file(request: AnyRequest, front: NamedDependency[Front], file_id: FromPath[str]) -> FileObject:
    """Its size, its hash and its end; never its content."""
    return file_object(front.files.find(file_id, caller_of(request.scope)), str(request.base_url))


@delete("/v1/files/{file_id:str}", operation_id="deleteFile", summary="Forget a file", status_code=204)
async def delete_file(request: AnyRequest, front: NamedDependency[Front], file_id: FromPath[str]) -> None:
    """Overwrite it now instead of when its time is over."""
    front.files.remove(file_id, caller_of(request.scope))


def file_object(file: StoredFile, base_url: str) -> FileObject:
    return FileObject(
        id=file.id,
        name=CONTENT,
        content_type=file.content_type,
        size=file.size,
        etag=file.sha256[:32],
        checksums={"sha256": file.sha256},
        metadata={},
        created_at=timestamp(file.created),
        expires_at=timestamp(file.expires),
        urls=FileUrls(get=f"{base_url}v1/files/{file.id}"),
    )


async def read_file(request: AnyRequest, limits: UploadLimits) -> "FilePart":
    """The one file of a multipart body. Raises a ServiceError, or ClientLeft."""
    kind, options = request.content_type
    if kind != "multipart/form-data":
        raise UnsupportedMedia("unsupported_media", "Send multipart/form-data with the picture as 'content'.")
    check_encoding(request)
    part = FilePart(limits.max_image_bytes)
    async with arriving(limits, [part.data]):
        body = Body(request, limits.max_image_bytes + 65_536, "image_too_many_bytes")
        await read_parts(body, options.get("boundary", ""), part.take)
        part.check()
    return part


class FilePart:
    """What a multipart body has brought so far: one file, and texts that are checked and dropped."""

    def __init__(self, max_bytes: int) -> None:
        self.content_type = "application/octet-stream"
        self.data = bytearray()
        self._max_bytes = max_bytes
        self._has_content = False
        self._field = ""
        self._text = bytearray()

    def take(self, event: MultipartSegment | bytes | bytearray | None) -> None:
        """One of the parser's events: a part begins, has bytes, or ends."""
        if isinstance(event, MultipartSegment):
            self._begin(event)
        elif event is not None and self._field == CONTENT:
            self._add(self.data, event, self._max_bytes)
        elif event is not None:
            self._add(self._text, event, MAX_TEXT_BYTES)
        elif self._field == "metadata":
            self._check_metadata()

    def check(self) -> None:
        if not self.data:
            raise field_problem("file_missing", CONTENT, f"There is no file: send {ACCEPTED} as the part 'content'.")

    def _begin(self, part: MultipartSegment) -> None:
        self._field = part.name or ""
        self._text = bytearray()
        if self._field != CONTENT and self._field not in TEXTS:
            raise unknown_field(self._field, (CONTENT, *TEXTS))
        if self._field != CONTENT:
            return
        if self._has_content:
            raise field_problem("duplicate_field", CONTENT, "The part 'content' is there more than once.")
        self._has_content = True
        kind = (part.content_type or "").lower()
        self.content_type = kind if PLAIN_TYPE.fullmatch(kind) else self.content_type

    def _add(self, kept: bytearray, chunk: bytes | bytearray, limit: int) -> None:
        if len(kept) + len(chunk) > limit:
            message = (
                f"The part '{self._field}' has more than {limit} bytes: scale the picture down or save it as a JPEG."
            )
            raise TooLarge("image_too_many_bytes", message, limit=limit, extra={"field": self._field})
        kept += chunk

    def _check_metadata(self) -> None:
        try:
            known = isinstance(msgspec.json.decode(self._text), dict)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            known = False
        if not known:
            raise BadRequest("invalid_field", "The part 'metadata' must be a JSON object.", extra={"field": "metadata"})
