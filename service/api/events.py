"""A job as server-sent events: queued, started, step, image, done, or error.

Every event has a counting `id:`, a name and JSON data; comments keep the connection alive while nothing happens.
The stream watches its client: when the last one goes, the job is cancelled, or finished for later if it was asked so.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Self

import msgspec
from litestar.types import HTTPResponseBodyEvent, HTTPResponseStartEvent, Receive, Scope, Send
from msgspec import Struct

from models.wire.events import Done, FaceReport, JobWarning, Portrait, Started, Stepped
from service.api.answers import TimingsAnswer, image_answer, note_timings, timings_answer
from service.api.head import is_head
from service.api.presence import disconnected, settle
from service.api.record import RequestRecord
from service.jobs.job import Job
from service.jobs.log import Ended, JobNews, Logged, Queued

KEEP_ALIVE_SECONDS = 10.0
KEEP_ALIVE = b": still working\n\n"
HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]


class QueuedEvent(Struct, frozen=True, kw_only=True):
    """The job is accepted. `position` counts the jobs that have not started, this one included."""

    id: str
    position: int
    eta_seconds: float | None
    seeds: list[int]


class StartedEvent(Struct, frozen=True, kw_only=True):
    adapter: str
    sampler: str
    steps: int
    width: int
    height: int
    faces: list[FaceReport]
    warnings: list[JobWarning]

    @classmethod
    def of(cls, started: Started) -> Self:
        sampling = started.sampling
        return cls(
            adapter=started.adapter,
            sampler=sampling.sampler,
            steps=sampling.steps,
            width=sampling.width,
            height=sampling.height,
            faces=started.faces,
            warnings=started.warnings,
        )


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
    """The ASGI application that sends a job's events as they come, from the one after id `after` on.

    Where nothing is left to be told it answers 204, which keeps a browser's EventSource from asking again (HTML,
    section 9.2). It takes over an attached job: when the stream is over, whoever ended it, the job is detached. `tell`
    makes an event's bytes where they are not ours: nothing for one that has no word there.
    """

    def __init__(
        self,
        job: Job,
        record: RequestRecord,
        *,
        tell: Callable[[Logged], bytes] | None = None,
        after: int = 0,
        keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
    ) -> None:
        self._tell = tell
        self._keep_alive_seconds = keep_alive_seconds
        self._job = job
        self._record = record
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        leaving = asyncio.create_task(disconnected(receive))
        events = self._job.follow(self._after)
        is_over = self._job.log.is_over(self._after)
        start: HTTPResponseStartEvent = {
            "type": "http.response.start",
            "status": 204 if is_over else 200,
            "headers": [] if is_over else HEADERS,
        }
        try:
            await send(start)
            if is_over or is_head(scope):
                await send(_body(b"", more=False))
            else:
                await self._send_all(events, leaving, send)
        finally:
            await settle(leaving)
            await events.aclose()
            self._job.detach()

    async def _send_all(self, events: AsyncGenerator[Logged, None], leaving: asyncio.Task[None], send: Send) -> None:
        while True:
            coming = asyncio.create_task(_next(events))
            try:
                await self._keep_alive_until(coming, leaving, send)
            finally:
                if not coming.done():
                    await settle(coming)
            if leaving.done():
                self._record.disconnected = True
                return
            logged = coming.result()
            if logged is None:
                await send(_body(b"", more=False))
                return
            tell = self._tell or self._text  # kept on the stream, its own method would keep it alive
            if text := tell(logged):
                await send(_body(text, more=True))

    async def _keep_alive_until(
        self, coming: asyncio.Task[Logged | None], leaving: asyncio.Task[None], send: Send
    ) -> None:
        pause, first = self._keep_alive_seconds, asyncio.FIRST_COMPLETED
        while not (await asyncio.wait({coming, leaving}, timeout=pause, return_when=first))[0]:
            await send(_body(KEEP_ALIVE, more=True))

    def _text(self, logged: Logged) -> bytes:
        name, data = self._data(logged.event)
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (logged.id, name.encode(), msgspec.json.encode(data))

    def _data(self, event: JobNews) -> tuple[str, object]:
        job, summary = self._job, self._job.summary
        match event:
            case Queued():
                queued = QueuedEvent(
                    id=job.id, position=event.position, eta_seconds=event.eta_seconds, seeds=summary.seeds
                )
                return "queued", queued
            case Started():
                return "started", StartedEvent.of(event)
            case Stepped():
                step = StepEvent(index=event.index, step=event.step, steps=event.steps, preview_b64=event.preview)
                return "step", step
            case Portrait():
                return "image", image_answer(job, event)
            case Done():
                note_timings(self._record, event.timings)
                timings = timings_answer(job, event.timings, job.total_ms)
                return "done", DoneEvent(id=job.id, model=summary.model, style=summary.style, timings_ms=timings)
            case Ended():  # after the headers are out a failure is an event, not a status
                self._record.code = event.error.code
                return "error", event.error.problem(self._record.request_id, self._record.prefix)


async def _next(events: AsyncGenerator[Logged, None]) -> Logged | None:
    return await anext(events, None)


def _body(text: bytes, *, more: bool) -> HTTPResponseBodyEvent:
    return {"type": "http.response.body", "body": text, "more_body": more}
