"""A job's end, told to the address that its caller named: a Standard Webhooks message, signed as all of ours are."""

import time

import msgspec
from msgspec import Struct

from service.api.job_answer import JobAnswer, job_answer
from service.jobs.job import Job
from service.jobs.webhooks import Webhooks


class JobEnded(Struct, frozen=True, kw_only=True):
    """`type` is job.succeeded, job.failed or job.cancelled. `data` is the job as `GET /v1/jobs/{id}` shows it, but
    without its images, which are fetched there: an address on the internet is no place for faces."""

    type: str
    timestamp: str  # UTC, RFC 3339
    data: JobAnswer


def tell_end(webhooks: Webhooks, target: str, job: Job, request_id: str, kept_seconds: float, prefix: str = "") -> None:
    """To be called at the job's end. Waits for nothing."""
    name = f"job.{job.state}"
    data = msgspec.structs.replace(job_answer(job, request_id, kept_seconds, prefix), images=[])
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    body = msgspec.json.encode(JobEnded(type=name, timestamp=now, data=data))
    webhooks.deliver(target, name, body, caller_id=job.caller.id)
