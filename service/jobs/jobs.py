"""All jobs: takes them in, runs each as a task of its own, and finds them again for their callers."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Generator, Sequence

import msgspec

from models.wire.events import Done, Failed, JobEvent, Portrait, Started
from models.wire.order import Order
from models.wire.reports import Ready
from service.access.caller import Caller
from service.errors import DeadlineExceeded, JobCancelled, JobFailed, NoCapacity, NotFound, ServiceError
from service.jobs import admission
from service.jobs.admission import RecentDurations
from service.jobs.books import Books, discrepancies
from service.jobs.failures import to_error
from service.jobs.forecast import Forecast
from service.jobs.idempotency import Replays
from service.jobs.job import Job, Summary
from service.jobs.options import JobOptions
from service.jobs.origin import Origin
from service.jobs.outlook import Outlook
from service.jobs.photos import HeldPhotos
from service.jobs.places import Places
from service.jobs.result_cache import ResultCache
from service.jobs.tokens import CallerTokens
from service.jobs.turns import Turns
from service.logs import describe_exception
from service.metrics import Metrics
from service.settings import Settings
from service.workers.protocol import Workers

logger = logging.getLogger("proofsheet.error")

Prepare = Callable[[Job], Awaitable[Order]]


class Jobs:
    """All jobs of this front. Used from the event loop's thread only."""

    def __init__(self, workers: Workers, metrics: Metrics, settings: Settings) -> None:
        self.workers = workers
        self.metrics = metrics
        self.settings = settings
        self.stopping = False
        self._jobs: dict[str, Job] = {}  # accepted, and not gone from the workers yet
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._forecast = Forecast(lambda: asyncio.get_running_loop().time())
        self.turns = Turns(workers, self._forecast)
        self._replays = Replays()
        self._results: ResultCache[Job] = ResultCache(
            seconds=settings.result_seconds, max_bytes=settings.max_result_bytes, on_drop=self._drop
        )
        self._places = Places(settings.max_jobs)
        self._bytes = Places(settings.max_job_bytes)
        self._uploads = Places(settings.max_uploads)
        self._durations = RecentDurations()
        metrics.queue_depth.set_function(lambda: self.waiting)
        metrics.jobs_running.set_function(lambda: self.in_flight)
        metrics.uploads_running.set_function(lambda: self._uploads.taken)
        metrics.held_bytes.labels("photos").set_function(lambda: self._bytes.taken)
        metrics.held_bytes.labels("results").set_function(lambda: self._results.num_bytes)
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
        job = self._jobs.get(job_id) or self._results.find(job_id)
        if job is None or job.is_deleted or job.caller.id != caller.id:
            seconds = self.settings.result_seconds
            raise NotFound(
                "job_not_found",
                f"You have no such job here: results are kept for {seconds:g} s after the end, and then gone.",
                limit=seconds,
            )
        return job

    def of(self, caller: Caller) -> list[Job]:
        """This caller's jobs that can be found, newest first."""
        known = {job.id: job for job in (*self._results, *self._jobs.values())}
        mine = [job for job in known.values() if job.caller.id == caller.id and not job.is_deleted]
        return sorted(mine, key=lambda job: job.accepted_at, reverse=True)

    def delete(self, job: Job) -> None:
        """Cancel a job that runs, and let go of its pictures; let go of all of one that has ended by itself."""
        if job.cancel():
            job.drop_pictures()
        elif job.state != "cancelled":
            job.set_deleted()
            self._results.drop(job.id)
            self._replays.forget(job)

    def joined(self, caller: Caller, options: JobOptions) -> Job | None:
        """The job that the same request made before, running or kept. Raises KeyReused."""
        return self._replays.find(caller.id, options)

    # ---- the books

    @property
    def is_idle(self) -> bool:
        """No job runs, and the workers have let go of all."""
        return not self._jobs

    def discrepancies(self) -> Books:
        """Every place, byte, row and task that is not accounted for exactly once; empty when all is right."""
        jobs = self._jobs
        return discrepancies(
            {
                "places": (self._places.taken, len(jobs)),
                "places_over": (self._places.over, 0),
                "uploads_over": (self._uploads.over, 0),
                "photo_bytes": (self._bytes.taken, sum(job.photos.num_bytes for job in jobs.values())),
                "tasks": (len(self._tasks), len(jobs)),
                "tasks_of_jobs": (len(self._tasks), sum(job_id in jobs for job_id in self._tasks)),
                **self.turns.books(jobs),
                **self._results.books(),
                **self._replays.books(lambda job_id: job_id in jobs or self._results.find(job_id) is not None),
            }
        )

    def _check_books(self) -> None:
        """Said to the operator and to nobody else: what is wrong with the books is no reason to stop serving."""
        if wrong := self.discrepancies():
            fields = {name: {"counted": counted, "found": found} for name, (counted, found) in wrong.items()}
            logger.error("the books of the jobs do not balance", extra={"fields": fields})

    # ---- the way in

    def check_open(self, caller: Caller, deadline_seconds: float) -> None:
        """Refuse before a body is read what would be refused after it, as far as one can know. Raises NoCapacity.

        `deadline_seconds` is the most that the body may still ask for.
        """
        if self.stopping:
            raise NoCapacity("stopping", "The service is stopping; try again shortly.", retry_after_seconds=5)
        bundle = self.warm().bundle
        outlook = self.turns.outlook(caller, bundle.default_steps, 1)
        self._check_places(caller, outlook)
        if not self._uploads.has_room():
            raise admission.queue_full(self._uploads, outlook, self._retry_after())
        _check_deadline(outlook, deadline_seconds)

    @contextlib.contextmanager
    def uploading(self, caller: Caller, deadline_seconds: float, key: str | None) -> Generator[None]:
        """The time in which one body is received. Raises NoCapacity, but not for a job that only would be joined."""
        if not (self._replays.knows(caller.id, key) and self._uploads.has_room()):
            self.check_open(caller, deadline_seconds)
        self._uploads.take()
        try:
            yield
        finally:
            self._uploads.give_back()

    def accept(
        self,
        caller: Caller,
        summary: Summary,
        options: JobOptions,
        prepare: Prepare,
        *,
        photos: Sequence[bytearray] = (),
        tokens: CallerTokens | None = None,
        origin: Origin | None = None,
    ) -> Job:
        """A job that runs from now on, in its own task, whoever stays or leaves. Raises NoCapacity.

        `prepare` makes the worker's message out of the photos, at once and again if the job had to wait; what it
        raises is the job's end. From here on the job owns the photos and wipes them.
        """
        deadline_seconds = options.deadline_seconds or self.settings.deadline_seconds
        outlook = self.turns.outlook(caller, summary.cost, summary.num_images)
        self._check_places(caller, outlook)
        if not self._bytes.has_room(sum(map(len, photos))):
            raise admission.too_many_bytes(self._bytes, outlook, self._retry_after())
        _check_deadline(outlook, deadline_seconds)
        self._places.take()
        job = Job(
            caller,
            summary,
            options,
            runner=self,
            outlook=outlook,
            deadline_seconds=deadline_seconds,
            photos=HeldPhotos(photos, self._bytes),
            tokens=tokens or CallerTokens(),
            origin=origin or Origin(),
        )
        self._jobs[job.id] = job
        self._replays.remember(job)
        self.turns.join(job)
        self._start(job, prepare)
        return job

    def _check_places(self, caller: Caller, outlook: Outlook) -> None:
        if not self._places.has_room():
            raise admission.queue_full(self._places, outlook, self._retry_after())
        share = admission.share_of(caller, self._jobs.values(), self._places.limit)
        if sum(job.caller.id == caller.id for job in self._jobs.values()) >= share:
            raise admission.share_full(share, outlook, self._retry_after())

    def _retry_after(self) -> int:
        return self._durations.retry_after_seconds()

    # ---- what a job asks of its runner

    def position(self, job: Job) -> int:
        return self.turns.position(job)

    def seconds_to_end(self, job: Job) -> float | None:
        return self.turns.seconds_to_end(job)

    def abort(self, job: Job) -> None:
        """Not at once: a task that is cancelled before its first step would never clean up."""
        asyncio.get_running_loop().call_soon(self._tasks[job.id].cancel)

    # ---- a job's life

    def _start(self, job: Job, prepare: Prepare) -> None:
        loop = asyncio.get_running_loop()
        task = self._tasks[job.id] = asyncio.create_task(self._run(job, prepare), name=f"job {job.id}")
        late = DeadlineExceeded(
            "deadline_exceeded", "The portraits were not finished within the deadline.", limit=job.deadline_seconds
        )
        timer = loop.call_at(job.accepted_at + job.deadline_seconds, job.stop, late)

        def leave(_task: asyncio.Task[None]) -> None:
            timer.cancel()
            self._leave(job)

        task.add_done_callback(leave)

    async def _run(self, job: Job, prepare: Prepare) -> None:
        """From the photos to the end. Whatever happens, the job ends here if it has not ended before."""
        try:
            order = await prepare(job)
            job.set_prepared()
            if not self.turns.may_go(job):
                del order  # pixels are many times what they came as: a job waits with its photos as they came
                await self.turns.wait(job)
                order = await prepare(job)
            job.photos.become_pixels(order.photos.num_bytes)
            await self._work(job, msgspec.structs.replace(order, traceparent=job.origin.traceparent))
        except ServiceError as error:
            job.end(error)
        except asyncio.CancelledError:
            job.end(JobCancelled("cancelled", "The job was cancelled."))
        except Exception as error:  # the task's edge: logged with types only, told to the caller
            logger.error(describe_exception(error), extra={"fields": {"job_id": job.id}})
            job.end(JobFailed("internal_error", "This is a bug; the request id finds it in our log."))

    async def _work(self, job: Job, order: Order) -> None:
        async with contextlib.aclosing(self.workers.submit(order)) as events:
            async for event in events:
                self._note(job, event)
                if isinstance(event, Failed):
                    raise to_error(event, retry_after_seconds=self._retry_after())
                job.take(event)
                if isinstance(event, Portrait):
                    self.turns.free_row(job)

    def _note(self, job: Job, event: JobEvent) -> None:
        match event:
            case Started():
                self.metrics.add_faces(event.faces)
                self.metrics.add_warnings(event.warnings)
            case Failed():
                self.metrics.add_faces(event.faces)
            case Portrait():
                self.metrics.count_image(event.format, is_final=job.summary.is_final)
            case Done():
                self.metrics.add_timings(event.timings)
                self._learn(job, event)
            case _:
                pass

    def _learn(self, job: Job, done: Done) -> None:
        """A finished job teaches us about the next ones."""
        summary = job.summary
        if summary.num_images:
            running = self.turns.num_rows_out + summary.num_images  # its own have left by now
            self._forecast.note_job(summary.cost / summary.num_images, done.timings, running)
        self._durations.add(job.elapsed_seconds)
        if job.predicted_seconds is not None:
            self._forecast.note_error(job.predicted_seconds, job.elapsed_seconds)
            self.metrics.add_forecast(job.predicted_seconds, job.elapsed_seconds)

    def _leave(self, job: Job) -> None:
        """The mirror of `accept`, when the workers have let go of the job too."""
        assert job.has_ended
        del self._jobs[job.id], self._tasks[job.id]
        job.photos.release()  # no decoder reads them any more
        self._places.give_back()
        if job.stopped_at is not None and job.error is not None:
            self.metrics.cancel_seconds.labels(job.error.code).observe(job.clock() - job.stopped_at)
        if job.is_kept and self.settings.result_seconds and not self.stopping:
            self._results.put(job.id, job, job.log.num_bytes)
        else:
            self._drop(job)
        self.turns.leave(job)
        if self.is_idle:
            self._check_books()

    def _drop(self, job: Job) -> None:
        self._replays.forget(job)
        job.set_dropped()

    async def stop(self) -> None:
        """End what still runs: jobs that nobody waits for on a connection. Returns when all are gone."""
        self.stopping = True
        for job in list(self._jobs.values()):
            job.stop(NoCapacity("stopping", "The service is stopping; try again shortly.", retry_after_seconds=5))
        if self._tasks:
            await asyncio.wait(set(self._tasks.values()), timeout=self.settings.drain_seconds)
        self._results.clear()


def _check_deadline(outlook: Outlook, deadline_seconds: float) -> None:
    if outlook.promised_seconds is not None and outlook.promised_seconds > deadline_seconds:
        raise admission.too_late(outlook, outlook.promised_seconds, deadline_seconds)
