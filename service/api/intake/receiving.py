"""The body, within its bounds: refused before a byte of it is read where it would be refused afterwards."""

import contextlib
from collections.abc import Generator, Mapping
from typing import Any, TypeVar

from litestar import Request

from service.access.caller import caller_of
from service.api.forms.form import Form
from service.api.forms.upload import Upload, read_upload
from service.api.front import Front
from service.api.intake.options import latest_deadline
from service.api.record import record_of
from service.jobs.idempotency import read_key

AnyRequest = Request[Any, Any, Any]
F = TypeVar("F", bound=Form)


@contextlib.contextmanager
def receiving(request: AnyRequest, front: Front) -> Generator[None]:
    """The time in which a job's body is read. Raises NoCapacity before a byte of it is."""
    latest = latest_deadline(request, front.settings)
    key = read_key(request.headers.get("idempotency-key"))
    with front.jobs.uploading(caller_of(request.scope), latest, key), record_of(request.scope).stage("upload"):
        yield


async def receive(
    request: AnyRequest, front: Front, form: type[F], otherwise: Mapping[str, Any] | None = None
) -> Upload[F]:
    """The body, within its bounds; `otherwise` is as `read_upload` has it. Raises NoCapacity before a byte is read."""
    with receiving(request, front):
        return await read_upload(request, form, front.upload_limits, otherwise)
