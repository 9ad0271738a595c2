"""A job as server-sent events: queued, started, step, image, done, or error.

Every event has a counting `id:`, a name and JSON data; comments keep the connection alive while nothing happens.
The stream watches its client: when it goes, the job is cancelled.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable

import msgspec
from litestar.types import HTTPResponseBodyEvent, Receive, Scope, Send
from msgspec import Struct

from models.messages import Done, FaceReport, JobEvent, Portrait, Started, Stepped
from service.api.answers import JobInWords, TimingsAnswer, image_answer, note_timings, timings_answer
from service.api.presence import disconnected, settle
from service.errors import JobFailed, ServiceError
from service.logs import describe_exception

logger = logging.getLogger("proofsheet.error")

KEEP_ALIVE_SECONDS = 10.0
KEEP_ALIVE = b": still working\n\n"
HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]


class QueuedEvent(Struct, frozen=True, kw_only=True):
    """The job is accepted. `position` counts the jobs that have not started, this one included."""

    id: str
    position: int
    seeds: list[int]


class StartedEvent(Struct, frozen=True, kw_only=True):
    adapter: str
    sampler: str
    steps: int
    width: int
    height: int
    faces: list[FaceReport]


class StepEvent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Image `index` has made `step` of `steps`; `preview_b64` is a small JPEG if previews were asked for."""

    index: int
    step: int
    steps: int
    preview_b64: bytes | None = None


class DoneEvent(Struct, frozen=True, kw_only=True):
    id: str
    model: str
    style: str | None
    timings_ms: TimingsAnswer


class EventStream:
    """The ASGI application that sends a job's events as they come.

    It owns the job from here: `job_end` is called when the stream is over, whoever ended it.
    """

    def __init__(
        self,
        job: JobInWords,
        events: AsyncGenerator[JobEvent, None],
        job_end: Callable[[], None],
        *,
        keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
    ) -> None:
        self._keep_alive_seconds = keep_alive_seconds
        self._job = job
        self._events = events
        self._job_end = job_end
        self._count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        leaving = asyncio.create_task(disconnected(receive))
        texts = self._texts()
        try:
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            await self._send_all(texts, leaving, send)
        finally:
            await settle(leaving)
            await texts.aclose()
            self._job_end()

    async def _send_all(self, texts: AsyncGenerator[bytes, None], leaving: asyncio.Task[None], send: Send) -> None:
        while True:
            coming = asyncio.create_task(_next(texts))
            try:
                await self._keep_alive_until(coming, leaving, send)
            finally:
                if not coming.done():
                    await settle(coming)
            if leaving.done():
                self._job.record.disconnected = True
                return
            text = coming.result()
            await send(_body(text or b"", more=text is not None))
            if text is None:
                return

    async def _keep_alive_until(
        self, coming: asyncio.Task[bytes | None], leaving: asyncio.Task[None], send: Send
    ) -> None:
        pause, first = self._keep_alive_seconds, asyncio.FIRST_COMPLETED
        while not (await asyncio.wait({coming, leaving}, timeout=pause, return_when=first))[0]:
            await send(_body(KEEP_ALIVE, more=True))

    async def _texts(self) -> AsyncGenerator[bytes, None]:
        """The events as bytes. A failure after the headers are out is an event, not a status."""
        job = self._job
        yield self._event("queued", QueuedEvent(id=job.job_id, position=job.position, seeds=job.seeds))
        try:
            async with contextlib.aclosing(self._events) as events:
                async for event in events:
                    yield self._event(*self._data(event))
        except ServiceError as error:
            yield self._error(error)
        except Exception as error:  # the answer's edge: logged with types only, told to the caller
            logger.error(describe_exception(error), extra={"fields": {"request_id": job.record.request_id}})
            yield self._error(JobFailed("internal_error", "This is a bug; the request id finds it in our log."))

    def _data(self, event: JobEvent) -> tuple[str, Struct]:
        job = self._job
        match event:
            case Started():
                names = StartedEvent.__struct_fields__
                return "started", StartedEvent(**{name: getattr(event, name) for name in names})
            case Stepped():
                step = StepEvent(index=event.index, step=event.step, steps=event.steps, preview_b64=event.preview)
                return "step", step
            case Portrait():
                return "image", image_answer(event)
            case Done():
                note_timings(job.record, event.timings)
                timings = timings_answer(job.record, event.timings)
                return "done", DoneEvent(id=job.job_id, model=job.model, style=job.style, timings_ms=timings)
            case _:
                raise AssertionError("a Failed is raised before it gets here")

    def _error(self, error: ServiceError) -> bytes:
        self._job.record.code = error.code
        return self._event("error", error.problem(self._job.record.request_id))

    def _event(self, name: str, data: object) -> bytes:
        self._count += 1
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (self._count, name.encode(), msgspec.json.encode(data))


async def _next(texts: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(texts, None)


def _body(text: bytes, *, more: bool) -> HTTPResponseBodyEvent:
    return {"type": "http.response.body", "body": text, "more_body": more}
