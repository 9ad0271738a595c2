"""Who is next: the line, and what the workers have already. They get only what they can soon run."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field

from service.access.caller import Caller
from service.jobs.admission import newcomer_weight
from service.jobs.books import Books
from service.jobs.forecast import Forecast
from service.jobs.job import Job
from service.jobs.line import Line
from service.jobs.outlook import Outlook
from service.workers.protocol import Workers

AHEAD_SHARE = 0.5  # of a worker's rows: images that it prepares while its batch is full


@dataclass(slots=True)
class _Out:
    """A job that has had its turn."""

    job: Job
    rows: int  # its images that the workers still have


@dataclass(slots=True)
class Turns:
    """Used from the event loop's thread only. A job joins, waits, frees its rows one by one, and leaves."""

    workers: Workers
    forecast: Forecast
    line: Line[Job] = field(default_factory=Line[Job])
    _out: dict[str, _Out] = field(default_factory=dict[str, _Out])
    _waiters: dict[str, asyncio.Event] = field(default_factory=dict[str, asyncio.Event])
    _rows_out: int = 0
    _rows: int = 1  # of all warm workers; the last known, when none is
    _window: int = 1

    def join(self, job: Job) -> None:
        """The job takes its place in line; it may go once it is prepared."""
        caller = job.caller
        self._waiters[job.id] = asyncio.Event()
        self.line.add(job, caller_id=caller.id, weight=caller.weight, cost=job.summary.cost, may_go=False)

    def may_go(self, job: Job) -> bool:
        """The job is prepared; whether its turn is now."""
        self.line.let_go(job)
        self._call_next()
        return self._waiters[job.id].is_set()

    async def wait(self, job: Job) -> None:
        """Until it is the turn of a job that is prepared."""
        await self._waiters[job.id].wait()

    def free_row(self, job: Job) -> None:
        """One of the job's images is finished."""
        summary = job.summary
        self.forecast.note_image(summary.cost / summary.num_images)
        self._free(self._out[job.id], 1)

    def leave(self, job: Job) -> None:
        """The mirror of `join`, whether the job had its turn or not."""
        del self._waiters[job.id]
        self.line.remove(job)
        out = self._out.pop(job.id, None)
        self._free(out, out.rows) if out is not None else self._call_next()

    def position(self, job: Job) -> int:
        """Jobs before it in line, and itself."""
        return self.line.order().index(job) + 1 if job in self.line else 1

    @property
    def num_rows_out(self) -> int:
        """Images that the workers have."""
        return self._rows_out

    def books(self, job_ids: Collection[str]) -> Books:
        """Each of these jobs is in line or has had its turn, and never both."""
        return {
            "jobs_with_turns": (len(self._waiters), sum(job_id in self._waiters for job_id in job_ids)),
            "jobs_in_line": (len(self.line), sum(job_id not in self._out for job_id in job_ids)),
            "turns_given": (len(self._out), sum(waiter.is_set() for waiter in self._waiters.values())),
            "rows_out": (self._rows_out, sum(out.rows for out in self._out.values())),
            **self.line.books(),
        }

    # ---- what is ahead

    def outlook(self, caller: Caller, cost: float, num_images: int) -> Outlook:
        """What a job of this caller would meet now. A sum over callers, not over jobs: refusing must be cheap."""
        num, ahead = self.line.ahead_of(caller.id, caller.weight)
        cost_each = cost / max(num_images, 1)
        self._look_at_workers()
        if not self.line and self._rows_out + num_images <= self._rows:
            seconds = self.forecast.service_seconds(cost_each)
            quickest = self.forecast.quickest_seconds(cost_each) if not self._rows_out else None
            return Outlook(1, seconds, seconds if quickest is None else quickest)
        running = self._cost_out()
        expected = self.forecast.finish_seconds(cost_each, ahead + running)
        if expected is None:
            return Outlook(num + 1, None, None)
        promised = expected
        if newcomer := newcomer_weight(caller):
            _, crowded = self.line.ahead_of(caller.id, caller.weight, newcomer_weight=newcomer)
            promised = self.forecast.finish_seconds(cost_each, crowded + running) or 0.0
        return Outlook(num + 1, expected, promised + self.forecast.margin_seconds())

    def seconds_to_end(self, job: Job) -> float | None:
        """Of a job that is in line or has had its turn."""
        cost_each = job.summary.cost / max(job.summary.num_images, 1)
        if job not in self.line:
            service = self.forecast.service_seconds(cost_each)
            return None if service is None else service * (1 - job.share_done)
        before = self.line.order()
        ahead = sum(other.summary.cost for other in before[: before.index(job)])
        return self.forecast.finish_seconds(cost_each, ahead + self._cost_out())

    def _cost_out(self) -> float:
        """What the workers have still to do."""
        return sum(out.job.summary.cost * (1 - out.job.share_done) for out in self._out.values())

    # ---- turns

    def _call_next(self) -> None:
        """Give turns while the workers have room: so the order is made here and not in their queues."""
        if self.line:
            self._look_at_workers()
        while self._rows_out < self._window and (job := self.line.pop()) is not None:
            self._out[job.id] = _Out(job, job.summary.num_images)
            self._rows_out += job.summary.num_images
            self._waiters[job.id].set()
        self.forecast.note_line(is_busy=len(self.line) > 0 and self._rows_out >= self._window)

    def _free(self, out: _Out, rows: int) -> None:
        out.rows -= rows
        self._rows_out -= rows
        assert out.rows >= 0
        self._call_next()

    def _look_at_workers(self) -> None:
        """With none warm the window stays: jobs wait in the pool for the next worker, and the others here."""
        rows = window = 0
        for worker in self.workers.describe():
            rows += worker.max_rows
            window += worker.max_rows + int(worker.max_rows * AHEAD_SHARE)
        if rows:
            self._rows = self.forecast.num_rows = rows
            self._window = window
