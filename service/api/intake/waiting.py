"""Waiting for a job on behalf of its request: while the client is there, or for as long as it likes to wait."""

import asyncio
from typing import Any

from litestar import Request

from service.api.presence import while_present
from service.jobs.job import Job, JobResult

AnyRequest = Request[Any, Any, Any]


async def prepared(request: AnyRequest, job: Job) -> Job:
    """The job with its photos read. Raises what refused them, or ClientLeft; then the job is detached."""
    try:
        await while_present(request.receive, job.prepared())
    except BaseException:
        job.detach()
        raise
    return job


async def answered(request: AnyRequest, job: Job) -> JobResult:
    """The job's good end, while the client is there. Detaches. Raises the job's ServiceError, or ClientLeft."""
    try:
        return await while_present(request.receive, job.finished())
    finally:
        job.detach()


async def answered_within(request: AnyRequest, job: Job, seconds: float) -> JobResult | None:
    """As `answered`, but None when the time is up first: then the job runs on, to be fetched later, and is kept."""
    waiting = asyncio.wait_for(job.finished(), seconds)
    try:
        return await while_present(request.receive, waiting)
    except TimeoutError:
        job.outlive_followers()
        return None
    finally:
        job.detach()


def hand_over(job: Job) -> None:
    """Let the job run on without this request. Detaches."""
    job.outlive_followers()
    job.detach()
