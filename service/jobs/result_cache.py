"""Ended jobs that may still be fetched: for a stated time, within a bound in bytes, in memory only."""

import asyncio
from collections.abc import Callable, Iterator

from service.jobs.books import Books
from service.jobs.job import Job


class ResultCache:
    """Jobs in the order of their ends. Used from the event loop's thread only."""

    def __init__(self, *, seconds: float, max_bytes: int, on_drop: Callable[[Job], None]) -> None:
        self.seconds = seconds
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._on_drop = on_drop
        self._jobs: dict[str, Job] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    def find(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    def put(self, job: Job) -> None:
        """Keep an ended job. When there is no room, the oldest go before their time."""
        self._jobs[job.id] = job
        self.num_bytes += job.log.num_bytes
        self._timers[job.id] = asyncio.get_running_loop().call_later(self.seconds, self.drop, job.id)
        while self.num_bytes > self.max_bytes:
            self.drop(next(iter(self._jobs)))

    def drop(self, job_id: str) -> None:
        job = self._jobs.pop(job_id)
        self._timers.pop(job_id).cancel()
        self.num_bytes -= job.log.num_bytes
        self._on_drop(job)

    def books(self) -> Books:
        return {
            "results": (len(self._timers), len(self._jobs)),
            "result_bytes": (self.num_bytes, sum(job.log.num_bytes for job in self)),
        }

    def clear(self) -> None:
        for job_id in list(self._jobs):
            self.drop(job_id)
