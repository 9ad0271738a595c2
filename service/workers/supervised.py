"""All workers of this front as one: choose the least loaded, and send again what a dead one held.

Every accepted job ends exactly once here: by its worker's Done or Failed, by its deadline, by cancel, or by the loss
of its worker when it can't be sent again.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence

from models.wire.events import Done, Dropped, Failed, JobEvent, Portrait, Started, Stepped
from models.wire.messages import Cancel, FromWorker
from models.wire.order import Order
from models.wire.reports import Figures, Ready
from models.wire.setup import Setup
from service.workers.held_job import HeldJob
from service.workers.placing import choose_worker
from service.workers.process import launch_process
from service.workers.protocol import Launcher, OnFigures, OnRestart, WorkerStatus
from service.workers.supervisor import SupervisionPolicy, Supervisor

logger = logging.getLogger("proofsheet.worker")

DROP_SECONDS = 2.0  # for a worker to say that it dropped a job; longer than the longest step


class SupervisedWorkers:
    """The Workers of a service: one supervisor per setup. Used from the event loop's thread only."""

    def __init__(
        self,
        setups: Sequence[Setup],
        *,
        launcher: Launcher = launch_process,
        policy: SupervisionPolicy | None = None,
        on_figures: OnFigures = lambda _worker, _figures: None,
        on_restart: OnRestart = lambda _worker: None,
    ) -> None:
        self._supervisors = [
            Supervisor(str(number), setup, launcher, policy or SupervisionPolicy())
            for number, setup in enumerate(setups)
        ]
        self._jobs: dict[str, HeldJob] = {}
        self._on_figures = on_figures
        self._first_ready = asyncio.Event()
        self._hopeless = asyncio.Event()
        self._reason = ""
        for supervisor in self._supervisors:
            supervisor.on_message = self._hear
            supervisor.on_ready = self._welcome
            supervisor.on_lost = self._lose
            supervisor.on_restart = lambda worker: on_restart(worker.name)
            supervisor.on_give_up = self._give_up

    @property
    def ready(self) -> bool:
        return any(supervisor.ready is not None for supervisor in self._supervisors)

    async def start(self) -> None:
        for supervisor in self._supervisors:
            supervisor.start()

    async def stop(self) -> None:
        for job in self._jobs.values():
            job.fail("worker_stopping", "The service is stopping.")
            self._detach(job)
        await asyncio.gather(*(supervisor.stop() for supervisor in self._supervisors))

    async def wait_ready(self) -> None:
        await self._first_ready.wait()

    async def gave_up(self) -> str:
        await self._hopeless.wait()
        return self._reason

    def describe(self) -> list[Ready]:
        return [supervisor.ready for supervisor in self._supervisors if supervisor.ready is not None]

    def status(self) -> list[WorkerStatus]:
        return [supervisor.status() for supervisor in self._supervisors]

    async def submit(self, order: Order) -> AsyncGenerator[JobEvent, None]:
        """See `Workers.submit`. With no worker warm at the moment, the job waits for one within its deadline."""
        loop = asyncio.get_running_loop()
        job = HeldJob(order, deadline=loop.time() + order.deadline_seconds)
        self._jobs[order.job_id] = job
        timer = loop.call_at(job.deadline, self._expire, job)
        try:
            self._place(job)
            while True:
                event = await job.events.get()
                yield event
                if job.ended and job.events.empty():
                    return
        finally:
            timer.cancel()
            try:
                await self._withdraw(job)
            finally:
                del self._jobs[order.job_id]
                self._place_waiting()

    async def _withdraw(self, job: HeldJob) -> None:
        """A worker that still has the job drops it; its rows count as taken until it says so, or is gone."""
        job.fail("cancelled", "The job was cancelled.")
        if job.worker is None:
            return
        job.worker.send(Cancel(job_id=job.order.job_id))
        try:
            await asyncio.wait_for(job.gone.wait(), DROP_SECONDS)
        except TimeoutError:
            logger.warning("a worker did not say within %g s that it dropped a job", DROP_SECONDS)
        finally:
            self._detach(job)

    def _place(self, job: HeldJob) -> None:
        """Give the job to a worker, or leave it waiting for one."""
        job.worker = choose_worker(job, self._jobs.values(), self._supervisors)
        if job.worker is not None:
            job.worker.carry(job.to_send(asyncio.get_running_loop().time()))

    def _place_waiting(self) -> None:
        for job in self._jobs.values():
            if job.worker is None and not job.ended:
                self._place(job)

    def _detach(self, job: HeldJob) -> None:
        if job.worker is not None:
            job.worker.let_go(job.order)
            job.worker = None
            job.gone.set()

    def _hear(self, worker: Supervisor, message: FromWorker) -> None:
        match message:
            case Figures():
                self._on_figures(worker.name, message)
            case Started() | Stepped() | Portrait() | Done() | Failed() | Dropped():
                job = self._jobs.get(message.job_id)
                if job is None or job.worker is not worker:
                    return  # dropped, or moved to another worker since
                if not isinstance(message, Dropped):
                    job.take(message)
                if isinstance(message, Done | Failed | Dropped):
                    self._detach(job)
            case _:
                pass

    def _welcome(self, worker: Supervisor) -> None:
        self._first_ready.set()
        self._place_waiting()

    def _lose(self, worker: Supervisor) -> None:
        """A warm worker died, perhaps of one of its jobs: each goes once more to a worker, alone."""
        held = [job for job in self._jobs.values() if job.worker is worker]
        for job in held:
            self._detach(job)
            if job.may_be_sent_again:
                job.is_suspect = True
                job.gone.clear()
            else:
                job.fail(
                    "worker_killed", "Two workers died while they had this job, the second nothing else.", "worker"
                )
        self._place_waiting()
        logger.warning("a worker died with %d jobs", len(held))

    def _give_up(self, worker: Supervisor, reason: str) -> None:
        self._reason = f"the worker for {worker.setup.device} can't be kept alive: {reason}"
        logger.critical("%s", self._reason)
        for job in list(self._jobs.values()):
            if job.worker is None:
                job.fail("worker_lost", "The worker that had this job is gone for good.")
        self._hopeless.set()

    def _expire(self, job: HeldJob) -> None:
        """The deadline: end the job for its caller, who then withdraws it."""
        job.fail("deadline_exceeded", "The portraits were not finished within the deadline.")
