"""A job from its place in the house to its one end, and the desk that hands out the places."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Generator

from models.messages import Done, Failed, Generate, JobEvent, Portrait, Ready, Started
from service.errors import DeadlineExceeded, NoCapacity
from service.jobs.admission import Places, RecentDurations, full
from service.jobs.failures import to_error
from service.metrics import Metrics
from service.workers.protocol import Workers


class Jobs:
    """All jobs of this front. Used from the event loop's thread only."""

    def __init__(self, workers: Workers, metrics: Metrics, *, max_jobs: int, max_uploads: int) -> None:
        self.workers = workers
        self.metrics = metrics
        self.stopping = False
        self._jobs = Places(max_jobs)
        self._uploads = Places(max_uploads)
        self._durations = RecentDurations()
        self._waiting = 0
        metrics.queue_depth.set_function(lambda: self._waiting)
        metrics.jobs_running.set_function(lambda: self._jobs.taken)
        metrics.uploads_running.set_function(lambda: self._uploads.taken)
        metrics.ready.set_function(lambda: float(self.is_ready))

    @property
    def is_ready(self) -> bool:
        return self.workers.ready and not self.stopping

    @property
    def in_flight(self) -> int:
        return self._jobs.taken

    @property
    def waiting(self) -> int:
        """Jobs accepted and not started yet."""
        return self._waiting

    def warm(self) -> Ready:
        """What a warm worker said of itself. Raises NoCapacity while there is none."""
        ready = self.workers.describe()
        if not ready:
            raise NoCapacity("not_ready", "The models are not warm yet; try again shortly.", retry_after_seconds=5)
        return ready[0]

    def check_open(self) -> None:
        """Refuse before a body is read what would be refused after it. Raises NoCapacity."""
        if self.stopping:
            raise NoCapacity("stopping", "The service is stopping; try again shortly.", retry_after_seconds=5)
        self.warm()
        for places in (self._jobs, self._uploads):
            if places.is_full:
                raise full(places, self._durations)

    @contextlib.contextmanager
    def uploading(self) -> Generator[None]:
        """The time in which one body is received. Raises NoCapacity."""
        self.check_open()
        self._uploads.take()
        try:
            yield
        finally:
            self._uploads.give_back()

    def accept(self, deadline_seconds: float) -> "Job":
        """A place for a job; whoever gets it calls `end`. Raises NoCapacity."""
        if self._jobs.is_full:
            raise full(self._jobs, self._durations)
        self._jobs.take()
        self._waiting += 1
        return Job(self, deadline_seconds)

    def _start(self, job: "Job") -> None:
        if not job.has_started:
            job.has_started = True
            self._waiting -= 1

    def _end(self, job: "Job", seconds: float) -> None:
        if job.has_started:
            self._durations.add(seconds)
        self._start(job)
        self._jobs.give_back()

    def retry_after_seconds(self) -> int:
        return self._durations.retry_after_seconds()


class Job:
    """One accepted generation. Made by `Jobs.accept`; `end` gives its place back, once, whatever happened."""

    def __init__(self, jobs: Jobs, deadline_seconds: float) -> None:
        self.id = secrets.token_hex(16)
        self.has_started = False
        self.has_ended = False
        self._jobs = jobs
        self._clock = asyncio.get_running_loop().time
        self._accepted_at = self._clock()
        self._deadline_seconds = deadline_seconds

    def seconds_left(self) -> float:
        """Until the deadline. Raises DeadlineExceeded when there is nothing left."""
        left = self._accepted_at + self._deadline_seconds - self._clock()
        if left <= 0:
            raise DeadlineExceeded(
                "deadline_exceeded", "The deadline passed before the job began.", limit=self._deadline_seconds
            )
        return left

    async def events(self, generate: Generate) -> AsyncGenerator[JobEvent, None]:
        """Started, Stepped and Portrait events, with Done as the last; a failure is raised as its ServiceError.

        Closing it early cancels the job in the worker.
        """
        metrics = self._jobs.metrics
        async with contextlib.aclosing(self._jobs.workers.submit(generate)) as events:
            async for event in events:
                match event:
                    case Started():
                        self._jobs._start(self)  # pyright: ignore[reportPrivateUsage] - the desk keeps the count
                        metrics.add_faces(event.faces)
                    case Portrait():
                        metrics.images.labels(event.format).inc()
                    case Done():
                        metrics.add_timings(event.timings)
                    case Failed():
                        metrics.add_faces(event.faces)
                        raise to_error(event, retry_after_seconds=self._jobs.retry_after_seconds())
                    case _:
                        pass
                yield event

    def end(self) -> None:
        """Give the place back. Calling it again does nothing."""
        if not self.has_ended:
            self.has_ended = True
            self._jobs._end(self, self._clock() - self._accepted_at)  # pyright: ignore[reportPrivateUsage]
