"""/v1/jobs: how a job goes that nobody waits for on its own connection. A caller finds only its own."""

import math
from typing import Any

import msgspec
from litestar import Request, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from service.access.caller import caller_of
from service.api.events import EventStream
from service.api.front import Front
from service.api.job_answer import job_answer, links
from service.api.own_operations import EventsOperation, JobOperation
from service.api.prefer import Preferences
from service.api.record import RequestRecord, record_of
from service.errors import BadRequest
from service.jobs.job import Job

AnyRequest = Request[Any, Any, Any]


@get("/v1/jobs/{job_id:str}", operation_id="getJob", summary="How a job goes", operation_class=JobOperation)
async def get_job(request: AnyRequest, front: NamedDependency[Front], job_id: FromPath[str]) -> ASGIResponse:
    """The job's state and place in line, and its images as they are finished."""
    return job_response(front.jobs.find(job_id, caller_of(request.scope)), record_of(request.scope), front)


@get(
    "/v1/jobs/{job_id:str}/events",
    operation_id="followJob",
    summary="A job's events",
    operation_class=EventsOperation,
)
async def follow_job(request: AnyRequest, front: NamedDependency[Front], job_id: FromPath[str]) -> ASGIApp:
    """The job's events from the first, or from the one after `Last-Event-ID`, up to its end."""
    job = front.jobs.find(job_id, caller_of(request.scope))
    after = read_last_event_id(request.headers.get("last-event-id"))
    job.attach()
    return EventStream(job, record_of(request.scope), after=after)


@delete(
    "/v1/jobs/{job_id:str}",
    operation_id="cancelJob",
    summary="Cancel a job, or delete an ended one",
    status_code=200,
    operation_class=JobOperation,
)
async def cancel_job(request: AnyRequest, front: NamedDependency[Front], job_id: FromPath[str]) -> ASGIResponse:
    """Free the job's rows at the next step, or let go of all of an ended one, which is unknown from then on. No
    picture stays in either case. Cancelling twice is no error."""
    job = front.jobs.find(job_id, caller_of(request.scope))
    front.delete(job)
    return job_response(job, record_of(request.scope), front)


def job_response(
    job: Job, record: RequestRecord, front: Front, *, status: int = 200, headers: dict[str, str] | None = None
) -> ASGIResponse:
    record.job_id = job.id
    answer = job_answer(job, record.request_id, front.settings.result_seconds, record.prefix)
    if job.is_deleted:
        answer = msgspec.structs.replace(answer, images=[], kept_seconds=0.0)
    body = msgspec.json.encode(answer)
    return ASGIResponse(body=body, media_type="application/json", status_code=status, headers=headers or {})


def accepted_response(job: Job, record: RequestRecord, front: Front, preferences: Preferences) -> ASGIResponse:
    """202: the job runs on, and here is where to ask for it, and when first."""
    wait = math.ceil(job.eta_seconds or 1.0)
    record.headers["Preference-Applied"] = preferences.applied
    headers = {"Location": links(job, record.prefix).self_, "Retry-After": str(min(max(wait, 1), 60))}
    return job_response(job, record, front, status=202, headers=headers)


def read_last_event_id(header: str | None) -> int:
    """Raises BadRequest when it is none of our ids."""
    if header is None or not header.strip():
        return 0
    if not (header.isascii() and header.isdigit() and len(header) <= 9):
        raise BadRequest(
            "last_event_id_invalid",
            "The header Last-Event-ID must be the id of an event of this job: a whole number.",
            extra={"header": "Last-Event-ID"},
        )
    return int(header)
