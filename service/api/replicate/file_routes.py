"""/v1/files: where the `replicate` client puts a picture before it names it in a prediction."""

import re
from typing import Any

from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from service.access.caller import caller_of
from service.api.body.arriving import arriving
from service.api.body.expected import Expected, FileField
from service.api.body.json_object import parse_object
from service.api.body.limits import UploadLimits
from service.api.body.received import ReceivedFile
from service.api.forms.values import unknown_field
from service.api.front import Front
from service.api.intake.receiving import receiving
from service.api.replicate.files import StoredFile
from service.api.replicate.objects import FileObject, FileUrls, Page
from service.api.replicate.parts import PredictionParts
from service.api.replicate.predictions import timestamp
from service.decoders.content import ACCEPTED
from service.errors import BadRequest

CONTENT = FileField(name="content", purpose="for the picture", missing="file_missing")
TEXTS = ("metadata", "filename", "type")  # are read and dropped
MEDIA_TYPE = re.compile(r"[a-z0-9.+-]{1,64}/[a-z0-9.+-]{1,64}")

AnyRequest = Request[Any, Any, Any]


@post(
    "/v1/files",
    operation_id="createFile",
    summary="Upload a picture for a prediction",
    status_code=201,
    request_max_body_size=None,
)
async def create_file(
    request: AnyRequest, front: NamedDependency[Front], parts: NamedDependency[PredictionParts]
) -> FileObject:
    """Hold a picture in memory for a while; name its address in a prediction's input."""
    with receiving(request, front):
        received = await read_file(request, front.upload_limits)
    file = parts.files.add(caller_of(request.scope), media_type(received.content_type), received.data)
    return file_object(file, str(request.base_url))


@get("/v1/files", operation_id="listFiles", summary="The caller's files")
async def list_files(request: AnyRequest, parts: NamedDependency[PredictionParts]) -> Page[FileObject]:
    """Newest first; what they are, never what is in them."""
    mine = parts.files.of(caller_of(request.scope))
    return Page(results=[file_object(file, str(request.base_url)) for file in mine])


@get("/v1/files/{file_id:str}", operation_id="getFile", summary="What a file is")
async def get_file(request: AnyRequest, parts: NamedDependency[PredictionParts], file_id: FromPath[str]) -> FileObject:
    """Its size, its hash and its end; never its content."""
    return file_object(parts.files.find(file_id, caller_of(request.scope)), str(request.base_url))


@delete("/v1/files/{file_id:str}", operation_id="deleteFile", summary="Forget a file", status_code=204)
async def delete_file(request: AnyRequest, parts: NamedDependency[PredictionParts], file_id: FromPath[str]) -> None:
    """Overwrite it now instead of when its time is over."""
    parts.files.remove(file_id, caller_of(request.scope))


def file_object(file: StoredFile, base_url: str) -> FileObject:
    return FileObject(
        id=file.id,
        name=CONTENT.name,
        content_type=file.content_type,
        size=file.size,
        etag=file.sha256[:32],
        checksums={"sha256": file.sha256},
        metadata={},
        created_at=timestamp(file.created),
        expires_at=timestamp(file.expires),
        urls=FileUrls(get=f"{base_url}v1/files/{file.id}"),
    )


async def read_file(request: AnyRequest, limits: UploadLimits) -> ReceivedFile:
    """The one file of a multipart body. Raises a ServiceError, or ClientLeft."""
    async with arriving(request, FILE, limits) as received:
        if received.values.get("metadata") is not None:
            _refuse_no_object(received.values["metadata"])
        if CONTENT.name not in received.files:
            message = f"There is no file: send {ACCEPTED} as the part 'content'."
            raise BadRequest.of_field("file_missing", CONTENT.name, message)
        return received.files[CONTENT.name][0]


def media_type(declared: str) -> str:
    """In small letters, if it looks like one."""
    return declared.lower() if MEDIA_TYPE.fullmatch(declared.lower()) else "application/octet-stream"


def _refuse_no_object(metadata: str) -> None:
    try:
        parse_object(metadata.encode())
    except BadRequest:
        message = "The part 'metadata' must be a JSON object."
        raise BadRequest.of_field("invalid_field", "metadata", message) from None


def _refuse_unknown(name: str) -> None:
    if name not in TEXTS:
        raise unknown_field(name, TEXTS, FILE.files)


FILE = Expected(kinds=("multipart",), refuse_unknown=_refuse_unknown, files=(CONTENT,), json_fields=("metadata",))
