"""What a job looks like on the wire while it runs and after it."""

import time
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from models.wire.events import FaceReport, JobWarning
from service.api.answers import ImageAnswer, TimingsAnswer, image_answer, timings_answer
from service.jobs.job import Job, JobState


class JobLinks(Struct, frozen=True, kw_only=True):
    """Paths on this server. `self` also takes DELETE."""

    self_: str = msgspec.field(name="self")
    events: str


class JobAnswer(Struct, frozen=True, kw_only=True):
    """How a job goes. `images` are those that are finished; all of them once `status` is succeeded.

    `position` counts the jobs before it in line and itself, 0 from its start on. `eta_seconds` is the predicted time to
    its end, null while nothing was measured yet and after the end. `error` is the problem that a request would have
    been answered with. After the end it is kept for `kept_seconds`, and then unknown.
    """

    id: str
    status: JobState
    position: int
    eta_seconds: float | None
    created_at: Annotated[str, Meta(description="UTC, RFC 3339.")]
    deadline_seconds: float
    kept_seconds: float
    model: str
    adapter: str
    style: str | None
    seeds: list[int]
    images: list[ImageAnswer]
    faces: list[FaceReport]
    warnings: list[JobWarning]
    timings_ms: TimingsAnswer | None
    error: dict[str, Any] | None
    links: JobLinks


def job_answer(job: Job, request_id: str, kept_seconds: float, prefix: str = "") -> JobAnswer:
    """`prefix` stands before our paths in the caller's address."""
    return JobAnswer(
        id=job.id,
        status=job.state,
        position=job.position,
        eta_seconds=rounded(job.eta_seconds),
        created_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(job.created)),
        deadline_seconds=job.deadline_seconds,
        kept_seconds=kept_seconds,
        model=job.summary.model,
        adapter=job.summary.adapter,
        style=job.summary.style,
        seeds=job.summary.seeds,
        images=[image_answer(job, portrait) for portrait in job.portraits],
        faces=job.started.faces if job.started is not None else [],
        warnings=job.started.warnings if job.started is not None else [],
        timings_ms=timings_answer(job, job.timings, job.total_ms) if job.timings is not None else None,
        error=job.error.problem(request_id, prefix) if job.error is not None else None,
        links=links(job, prefix),
    )


def links(job: Job, prefix: str) -> JobLinks:
    place = f"{prefix}/v1/jobs/{job.id}"
    return JobLinks(self_=place, events=f"{place}/events")


def rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)
