"""The jobs in a worker's hands and where each of them is: being prepared, or its pictures drawn and encoded."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from models.engine.rows import Row
from models.worker.job import WorkerJob


class HeldJobs:
    """All that have not ended, and what the other threads still have of those that have. For the engine's thread."""

    def __init__(self) -> None:
        self._jobs: dict[str, WorkerJob] = {}
        self._preparing: set[WorkerJob] = set()
        self._encoding: set[tuple[WorkerJob, int]] = set()  # with the image's index

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[WorkerJob]:
        return iter(list(self._jobs.values()))

    @property
    def is_idle(self) -> bool:
        """Whether no job is held and no thread has anything of one."""
        return not (self._jobs or self._preparing or self._encoding)

    def find(self, job_id: str) -> WorkerJob | None:
        return self._jobs.get(job_id)

    def accept(self, job: WorkerJob) -> None:
        """To be prepared."""
        self._jobs[job.order.job_id] = job
        self._preparing.add(job)

    def end_preparation(self, job: WorkerJob) -> None:
        self._preparing.remove(job)

    def begin_encoding(self, job: WorkerJob, index: int) -> None:
        self._encoding.add((job, index))

    def end_encoding(self, job: WorkerJob, index: int) -> None:
        self._encoding.remove((job, index))

    def remove(self, job: WorkerJob) -> None:
        """It has ended; what another thread has of it comes back all the same."""
        self._jobs.pop(job.order.job_id, None)

    def discrepancies(self, rows: Iterable[Row[Any]]) -> Iterator[str]:
        """What is wrong, by numbers alone. `rows` are all that the engines have and that will not leave unfinished."""
        drawn: defaultdict[str, set[int]] = defaultdict(set)
        for row in rows:
            drawn[row.job_id].add(row.index)
        for job_id, job in self._jobs.items():
            in_engine = drawn.pop(job_id, set())
            encoded = {index for other, index in self._encoding if other is job}
            if job.has_ended:
                yield "a job that has ended is held"
            elif job in self._preparing:
                if in_engine or encoded:
                    yield f"a job is being prepared, and {len(in_engine | encoded)} of its images are drawn"
            elif in_engine & encoded or in_engine | encoded != job.open_images:
                yield (
                    f"of a job's {len(job.open_images)} open images {len(in_engine)} are in an engine and "
                    f"{len(encoded)} are being encoded"
                )
        if drawn:
            yield f"rows of {len(drawn)} jobs that are not held are in an engine"
