"""Predictions: jobs as Replicate names and shows them. Each is there as long as its job can be found."""

import asyncio
import contextlib
import time
from base64 import b64encode
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from models.wire.events import Portrait
from service.access.caller import Caller
from service.api.replicate.catalogue import PublishedModel
from service.api.replicate.objects import PredictionMetrics, PredictionObject, PredictionUrls, Status
from service.errors import DeadlineExceeded, NotFound
from service.jobs.job import Job, JobState
from service.jobs.jobs import Jobs

STATUSES: dict[JobState, Status] = {
    "queued": "starting",
    "running": "processing",
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "canceled",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """`id` is the job's, or the caller's own in Cog's PUT. `shown_input` has what of the input is not personal."""

    id: str
    job: Job
    model: PublishedModel
    version: str
    shown_input: dict[str, Any]
    notes: tuple[str, ...] = ()
    has_own_deadline: bool = False

    @property
    def status(self) -> Status:
        """A prediction whose own Cancel-After has passed counts as cancelled, as at Replicate."""
        job = self.job
        if self.has_own_deadline and isinstance(job.error, DeadlineExceeded):
            return "canceled"
        return STATUSES[job.state]

    @property
    def logs(self) -> str:
        """The notes and warnings, and the progress as tqdm prints it: the client reads it back."""
        warnings = [warning.message for warning in self.job.started.warnings] if self.job.started else []
        return "".join(f"{line}\n" for line in [*self.notes, *warnings, *self._progress()])

    def _progress(self) -> list[str]:
        step = self.job.last_step
        return [] if step is None else [progress_line(step.step, step.steps)]


class Predictions:
    """All predictions that can be found. Used from the event loop's thread only."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._predictions: dict[tuple[str, str], Prediction] = {}  # by caller and id, oldest first
        self._being_named: dict[tuple[str, str], asyncio.Event] = {}

    def add(self, prediction: Prediction) -> Prediction:
        """Remember it for as long as its job can be found."""
        self._predictions[prediction.job.caller.id, prediction.id] = prediction
        prediction.job.when_dropped(lambda: self._forget(prediction))
        return prediction

    @contextlib.asynccontextmanager
    async def naming(self, prediction_id: str, caller: Caller) -> AsyncGenerator[None]:
        """The time in which a prediction of the caller's own id is looked for and made: one request at a time."""
        key = (caller.id, prediction_id)
        while (other := self._being_named.get(key)) is not None:
            await other.wait()
        mine = self._being_named[key] = asyncio.Event()
        try:
            yield
        finally:
            del self._being_named[key]
            mine.set()

    def find(self, prediction_id: str, caller: Caller) -> Prediction:
        """This caller's prediction. Raises NotFound."""
        prediction = self._predictions.get((caller.id, prediction_id))
        if prediction is None:
            raise NotFound("prediction_not_found", "You have no such prediction here: it never was, or it is gone.")
        self._jobs.find(prediction.job.id, caller)
        return prediction

    def of_job(self, job: Job) -> Prediction | None:
        """The one that was made of this job before."""
        mine = (one for one in self._predictions.values() if one.job is job)
        return next(mine, None)

    def of(self, caller: Caller) -> list[Prediction]:
        """Newest first."""
        known = reversed(self._predictions.values())
        return [one for one in known if one.job.caller.id == caller.id and not one.job.is_deleted]

    def _forget(self, prediction: Prediction) -> None:
        key = (prediction.job.caller.id, prediction.id)
        if self._predictions.get(key) is prediction:  # and not another one under the caller's own id
            del self._predictions[key]


def prediction_object(
    prediction: Prediction, base_url: str, *, status: Status | None = None, with_output: bool = True
) -> PredictionObject:
    """`base_url` ends with a slash. `status` overrides what the job says: a wait that expired must say starting."""
    job, place = prediction.job, f"{base_url}v1/predictions/{prediction.id}"
    shown = status or prediction.status
    return PredictionObject(
        id=prediction.id,
        model=prediction.model.id,
        version=prediction.version,
        status=shown,
        input=prediction.shown_input,
        output=_output(job) if with_output and shown in ("processing", "succeeded") else None,
        logs=prediction.logs,
        error=job.error.message if job.error is not None else None,
        metrics=_metrics(job),
        created_at=timestamp(job.created),
        started_at=timestamp(_wall_clock(job, job.started_at)),
        completed_at=timestamp(_wall_clock(job, job.ended_at)),
        deadline=timestamp(job.created + job.deadline_seconds) or "",
        urls=PredictionUrls(get=place, cancel=f"{place}/cancel", stream=f"{place}/stream", web=place),
        code=job.error.code if job.error is not None else None,
        seeds=job.summary.seeds,
        proofs=[job.tokens.proofs.get(portrait.index) for portrait in job.portraits],
    )


def as_data_url(portrait: Portrait) -> str:
    return f"data:image/{portrait.format};base64,{b64encode(portrait.data).decode()}"


def progress_line(step: int, steps: int) -> str:
    share = round(100 * step / steps)
    return f"{share:3d}%|{'#' * (share // 10):<10}| {step}/{steps}"


def timestamp(seconds: float | None) -> Any:
    """RFC 3339 in UTC, with milliseconds."""
    if seconds is None:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03d}Z"


def _output(job: Job) -> list[str] | None:
    """The pictures that are finished; None for none yet."""
    return [as_data_url(portrait) for portrait in job.portraits] or None


def _metrics(job: Job) -> PredictionMetrics:
    if not job.has_ended:
        return PredictionMetrics()
    total = round(job.elapsed_seconds, 3)
    if job.started_at is None or job.ended_at is None:
        return PredictionMetrics(total_time=total)
    return PredictionMetrics(predict_time=round(job.ended_at - job.started_at, 3), total_time=total)


def _wall_clock(job: Job, monotonic: float | None) -> float | None:
    return None if monotonic is None else job.created + monotonic - job.accepted_at
