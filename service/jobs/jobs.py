"""The desk: takes jobs in, runs each as a task of its own, hands out turns, and finds them again for their callers."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Generator

import msgspec

from models.messages import Done, Failed, Generate, JobEvent, Portrait, Ready, Started
from service.access.caller import Caller
from service.errors import DeadlineExceeded, JobCancelled, JobFailed, NoCapacity, NotFound, ServiceError
from service.jobs.admission import Places, RecentDurations, full
from service.jobs.failures import to_error
from service.jobs.job import Job, Summary
from service.jobs.line import Line
from service.jobs.shelf import Shelf
from service.jobs.terms import Terms
from service.logs import describe_exception
from service.metrics import Metrics
from service.settings import Settings
from service.workers.protocol import Workers

logger = logging.getLogger("proofsheet.error")

AHEAD_SHARE = 0.5  # of a worker's rows: images that it prepares while its batch is full
Prepare = Callable[[Job], Awaitable[Generate]]


class Jobs:
    """All jobs of this front. Used from the event loop's thread only."""

    def __init__(self, workers: Workers, metrics: Metrics, settings: Settings) -> None:
        self.workers = workers
        self.metrics = metrics
        self.settings = settings
        self.stopping = False
        self._jobs: dict[str, Job] = {}  # accepted and not gone from the workers yet
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turns: dict[str, asyncio.Event] = {}
        self._rows: dict[str, int] = {}  # job id -> its images that a worker has
        self._line: Line[Job] = Line()
        self._shelf = Shelf(seconds=settings.result_seconds, max_bytes=settings.max_result_bytes)
        self._places = Places(settings.max_jobs)
        self._uploads = Places(settings.max_uploads)
        self._durations = RecentDurations()
        self._known_window = 1
        metrics.queue_depth.set_function(lambda: self.waiting)
        metrics.jobs_running.set_function(lambda: self.in_flight)
        metrics.uploads_running.set_function(lambda: self._uploads.taken)
        metrics.ready.set_function(lambda: float(self.is_ready))

    # ---- how things stand

    @property
    def is_ready(self) -> bool:
        return self.workers.ready and not self.stopping

    @property
    def in_flight(self) -> int:
        """Jobs accepted and not ended yet."""
        return sum(not job.has_ended for job in self._jobs.values())

    @property
    def waiting(self) -> int:
        """Jobs accepted and not started yet."""
        return sum(job.state == "queued" for job in self._jobs.values())

    def warm(self) -> Ready:
        """What a warm worker said of itself. Raises NoCapacity while there is none."""
        ready = self.workers.describe()
        if not ready:
            raise NoCapacity("not_ready", "The models are not warm yet; try again shortly.", retry_after_seconds=5)
        return ready[0]

    def find(self, job_id: str, caller: Caller) -> Job:
        """This caller's job, running or kept. Raises NotFound, which never tells whether another caller has it."""
        job = self._jobs.get(job_id) or self._shelf.find(job_id)
        if job is None or job.caller.id != caller.id:
            seconds = self.settings.result_seconds
            raise NotFound(
                "job_not_found",
                f"You have no such job here: results are kept for {seconds:g} s after the end, and then gone.",
                limit=seconds,
            )
        return job

    def of(self, caller: Caller) -> list[Job]:
        """This caller's jobs that can be found, newest first."""
        known = {job.id: job for job in (*self._shelf, *self._jobs.values())}
        mine = [job for job in known.values() if job.caller.id == caller.id]
        return sorted(mine, key=lambda job: job.accepted_at, reverse=True)

    # ---- the way in

    def check_open(self) -> None:
        """Refuse before a body is read what would be refused after it. Raises NoCapacity."""
        if self.stopping:
            raise NoCapacity("stopping", "The service is stopping; try again shortly.", retry_after_seconds=5)
        self.warm()
        for places in (self._places, self._uploads):
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

    def accept(self, caller: Caller, summary: Summary, terms: Terms, prepare: Prepare) -> Job:
        """A job that runs from now on, in its own task, whoever stays or leaves. Raises NoCapacity.

        `prepare` makes the worker's message out of what was uploaded; what it raises is the job's end.
        """
        if self._places.is_full:
            raise full(self._places, self._durations)
        self._places.take()
        deadline_seconds = terms.deadline_seconds or self.settings.deadline_seconds
        job = Job(caller, summary, terms, deadline_seconds=deadline_seconds)
        self._jobs[job.id] = job
        self._turns[job.id] = asyncio.Event()
        self._line.add(job, caller_id=caller.id, weight=caller.weight, cost=summary.cost, may_go=False)
        job.place_in_line = lambda: self._line.order().index(job) + 1 if job in self._line else 1
        job.queue()
        self._start(job, prepare)
        return job

    def _start(self, job: Job, prepare: Prepare) -> None:
        loop = asyncio.get_running_loop()
        task = self._tasks[job.id] = asyncio.create_task(self._run(job, prepare), name=f"job {job.id}")
        late = DeadlineExceeded(
            "deadline_exceeded",
            "The portraits were not finished within the deadline.",
            limit=job.deadline_seconds,
        )
        timer = loop.call_at(job.accepted_at + job.deadline_seconds, job.stop, late)
        # Not at once: a task that is cancelled before its first step never runs its cleanup.
        job.abort = lambda: loop.call_soon(task.cancel) and None

        def leave(_task: asyncio.Task[None]) -> None:
            timer.cancel()
            self._leave(job)

        task.add_done_callback(leave)

    # ---- a job's life

    async def _run(self, job: Job, prepare: Prepare) -> None:
        """From the photos to the end. Whatever happens, the job ends here if it has not ended before."""
        try:
            order = msgspec.structs.replace(await prepare(job), traceparent=job.traceparent)
            if not job.has_ended:
                self._line.let_go(job)
                job.set_prepared()
                self._call_next()
                await self._turns[job.id].wait()
                await self._work(job, order)
        except ServiceError as error:
            job.end(error)
        except asyncio.CancelledError:
            job.end(JobCancelled("cancelled", "The job was cancelled."))
        except Exception as error:  # the task's edge: logged with types only, told to the caller
            logger.error(describe_exception(error), extra={"fields": {"job_id": job.id}})
            job.end(JobFailed("internal_error", "This is a bug; the request id finds it in our log."))

    async def _work(self, job: Job, order: Generate) -> None:
        async with contextlib.aclosing(self.workers.submit(order)) as events:
            async for event in events:
                self._note(event)
                if isinstance(event, Failed):
                    raise to_error(event, retry_after_seconds=self._durations.retry_after_seconds())
                job.take(event)
                if isinstance(event, Portrait):
                    self._free_rows(job, 1)

    def _note(self, event: JobEvent) -> None:
        match event:
            case Started() | Failed():
                self.metrics.add_faces(event.faces)
            case Portrait():
                self.metrics.images.labels(event.format).inc()
            case Done():
                self.metrics.add_timings(event.timings)
            case _:
                pass

    def _leave(self, job: Job) -> None:
        """The mirror of `accept`, when the workers have let go of the job too."""
        assert job.has_ended
        self._line.remove(job)
        self._places.give_back()
        if job.started_at is not None:
            self._durations.add(job.elapsed_seconds)
        del self._jobs[job.id], self._tasks[job.id], self._turns[job.id]
        if job.keep and not self.stopping:
            self._shelf.put(job)
        self._free_rows(job, self._rows.get(job.id, 0))
        self._rows.pop(job.id, None)
        job.set_gone()

    # ---- turns

    def _call_next(self) -> None:
        """Give turns while the workers have room; what they get they can soon run, so the order is made here."""
        while sum(self._rows.values()) < self._window():
            job = self._line.pop()
            if job is None:
                return
            self._rows[job.id] = job.summary.num_images
            self._turns[job.id].set()

    def _free_rows(self, job: Job, count: int) -> None:
        if count:
            self._rows[job.id] -= count
            self._call_next()

    def _window(self) -> int:
        """Images that the workers may have at once. With none warm it stays: they wait in the pool for the next."""
        ready = self.workers.describe()
        if ready:
            self._known_window = sum(one.max_rows + int(one.max_rows * AHEAD_SHARE) for one in ready)
        return self._known_window

    async def stop(self) -> None:
        """End what still runs: jobs that nobody waits for on a connection. Returns when all are gone."""
        self.stopping = True
        for job in list(self._jobs.values()):
            job.stop(NoCapacity("stopping", "The service is stopping; try again shortly.", retry_after_seconds=5))
        if self._tasks:
            await asyncio.wait(set(self._tasks.values()), timeout=self.settings.drain_seconds)
        self._shelf.clear()
