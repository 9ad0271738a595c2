"""A request's photos as pixels."""

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from typing import Any

from models.wire.order import Photos
from models.wire.picture import Picture
from service.api.forms.form import POSE, Form
from service.api.forms.upload import Upload
from service.api.presence import settle
from service.api.record import RequestRecord
from service.decoders.pool import Decoders
from service.errors import ServiceError
from service.jobs.job import Job


async def decode_photos(job: Job, record: RequestRecord, decoders: Decoders, upload: Upload[Form]) -> Photos:
    """All photos as pixels, side by side. Raises the first refusal, saying of which photo.

    The first time the request waits for it; the second time it is the job's turn, and nothing but its deadline ends
    its wait for a decoder.
    """
    named = [({"selfie": index}, data) for index, data in enumerate(upload.images)]
    named += [({"field": POSE.name}, upload.pose)] if upload.pose is not None else []
    wait_seconds = job.seconds_left if job.is_prepared else None
    with contextlib.nullcontext() if job.is_prepared else record.stage("decode_upload"):
        pictures = await _side_by_side([_decode_one(decoders, which, data, wait_seconds) for which, data in named])
    selfies, posed = pictures[: len(upload.images)], pictures[len(upload.images) :]
    return Photos(selfies=tuple(selfies), pose=posed[0] if posed else None)


async def _side_by_side(decodings: Sequence[Coroutine[Any, Any, Picture]]) -> list[Picture]:
    """Their pictures. Raises what the first that fails raises, when all have ended."""
    if len(decodings) == 1:  # as a rule; tasks are for several
        return [await decodings[0]]
    tasks = [asyncio.create_task(decoding) for decoding in decodings]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        await settle(*tasks)  # a decoder may still read the bytes
        raise


async def _decode_one(
    decoders: Decoders, which: dict[str, Any], data: bytearray, wait_seconds: float | None
) -> Picture:
    try:
        return await decoders.decode(data, wait_seconds)
    except ServiceError as error:
        error.extra |= which
        raise
