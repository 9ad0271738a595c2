"""A job that makes pictures, answered as the request asks: at once, as events, as JSON or as one plain image."""

from typing import Any

from litestar import Request
from litestar.types import ASGIApp

from service.api.accept import AnswerForm
from service.api.answers import image_response, json_response
from service.api.events import EventStream
from service.api.front import Front
from service.api.intake.waiting import answered, answered_within, hand_over
from service.api.jobs import accepted_response
from service.api.prefer import read_prefer
from service.api.record import record_of
from service.jobs.job import Job


async def respond(request: Request[Any, Any, Any], front: Front, job: Job, form: AnswerForm) -> ASGIApp:
    """The answer to whoever asked for the job. Detaches. Raises the job's ServiceError, or ClientLeft."""
    record = record_of(request.scope)
    preferences = read_prefer(request.headers.get("prefer"))
    if preferences.respond_async:
        hand_over(job)
        return accepted_response(job, record, front, preferences)
    if form == "events":
        return EventStream(job, record)
    if preferences.wait_seconds is not None:
        finished = await answered_within(request, job, preferences.wait_seconds)
        if finished is None:
            return accepted_response(job, record, front, preferences)
        record.headers["Preference-Applied"] = preferences.applied
    else:
        finished = await answered(request, job)
    if form == "image":
        return image_response(job, record, finished, front.kept_proofs)
    return json_response(job, record, finished)
