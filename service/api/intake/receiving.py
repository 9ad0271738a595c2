"""The body, within its bounds: refused before a byte of it is read where it would be refused afterwards."""

import contextlib
from collections.abc import Generator
from typing import Any

from litestar import Request

from service.access.caller import caller_of
from service.api.forms import PortraitForm, Upload, check_who, read_upload
from service.api.front import Front
from service.api.intake.terms import latest_deadline
from service.api.plain_body import is_plain, read_plain
from service.api.portrait_form import check_together
from service.api.record import record_of
from service.jobs.idempotency import read_key

AnyRequest = Request[Any, Any, Any]


@contextlib.contextmanager
def receiving(request: AnyRequest, front: Front) -> Generator[None]:
    """The time in which a job's body is read. Raises NoCapacity before a byte of it is."""
    latest = latest_deadline(request, front.settings)
    key = read_key(request.headers.get("idempotency-key"))
    with front.jobs.uploading(caller_of(request.scope), latest, key), record_of(request.scope).stage("upload"):
        yield


async def receive(request: AnyRequest, front: Front) -> Upload:
    """The body, within its bounds. Raises NoCapacity before a byte of it is read."""
    with receiving(request, front):
        if is_plain(request):
            form = await read_plain(request, front.upload_limits, PortraitForm)
            check_together(form)
            upload = Upload(form, [])
            check_who(upload)
            return upload
        return await read_upload(request, limits=front.upload_limits)
