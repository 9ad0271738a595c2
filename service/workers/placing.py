"""Which worker a job goes to."""

from collections.abc import Iterable, Sequence

from service.workers.held_job import HeldJob
from service.workers.supervisor import Supervisor


def choose_worker(job: HeldJob, jobs: Iterable[HeldJob], workers: Sequence[Supervisor]) -> Supervisor | None:
    """The warm worker with the fewest images; None if the job has to wait for one. `jobs` are all that there are.

    A suspect goes to a worker that has nothing else, and nothing joins it there: if that worker dies as well it was
    this job, and nobody's is lost with it.
    """
    warm = [worker for worker in workers if worker.ready is not None]
    if job.is_suspect:
        free = [worker for worker in warm if not worker.jobs_held]
    else:
        closed = _closed(jobs, warm)
        free = [worker for worker in warm if worker not in closed]
    return min(free, key=lambda worker: worker.images_held, default=None)


def _closed(jobs: Iterable[HeldJob], warm: Sequence[Supervisor]) -> list[Supervisor]:
    """Workers with a suspect; and while another suspect waits the first one, so that it empties."""
    suspects = [job for job in jobs if job.is_suspect]
    waits = any(job.worker is None and not job.ended for job in suspects)
    return [*(job.worker for job in suspects if job.worker is not None), *(warm[:1] if waits else [])]
