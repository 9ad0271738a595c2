"""An engine that computes nothing, on whatever clock the loop has: rows, ticks, cancels at step boundaries."""

import asyncio
import dataclasses

import msgspec

from models.wire.events import Done, Failed, Portrait, Started, Stepped, Timings
from models.wire.order import Order
from models.wire.reports import Ready
from scripts.fronts.fake_worker import BUNDLE


@dataclasses.dataclass(eq=False)
class VirtualJob:
    order: Order
    arrived: float
    fails: str | None = None  # a code, at its first step
    steps: dict = dataclasses.field(default_factory=dict)  # row -> steps made
    first_step_at: float | None = None
    is_cancelled: bool = False
    is_over: bool = False
    events: asyncio.Queue = dataclasses.field(default_factory=asyncio.Queue)
    gone: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)


class VirtualWorkers:
    """One worker. A tick takes `tick_seconds` and `row_seconds` more for each row in it."""

    def __init__(self, *, max_rows=8, tick_seconds=0.1, row_seconds=0.0):
        self.max_rows = max_rows
        self.tick_seconds = tick_seconds
        self.row_seconds = row_seconds
        self.ready = True
        self.jobs = {}  # that it holds, in the order of their arrival
        self.sent = []  # ids in the order in which they were sent
        self.most_images = 0
        self.image_steps = 0
        self.last_step_at = {}  # job id -> time
        self.failing = {}  # job id -> code
        self._ticking = None

    def describe(self):
        ready = Ready(
            device="virtual",
            bundle=msgspec.structs.replace(BUNDLE, max_steps=50),
            max_rows=self.max_rows,
            face_analyzer="fake",
            load_seconds=0.0,
            warm_up_seconds=0.0,
        )
        return [ready] if self.ready else []

    @property
    def images_held(self):
        return sum(len(job.order.seeds) for job in self.jobs.values())

    async def submit(self, order):
        loop = asyncio.get_running_loop()
        job = VirtualJob(order, loop.time(), self.failing.get(order.job_id))
        job.steps = dict.fromkeys(range(len(order.seeds)), 0)
        assert order.job_id not in self.sent, "a job was sent twice"
        self.jobs[order.job_id] = job
        self.sent.append(order.job_id)
        self.most_images = max(self.most_images, self.images_held)
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.create_task(self._tick_on())
        try:
            while True:
                event = await job.events.get()
                yield event
                if isinstance(event, Done | Failed):
                    return
        finally:
            if not job.is_over:
                job.is_cancelled = True
                await job.gone.wait()

    async def _tick_on(self):
        while self.jobs:
            for job in [job for job in self.jobs.values() if job.is_cancelled]:
                self._forget(job)
            rows = [(job, row) for job in self.jobs.values() for row in job.steps][: self.max_rows]
            if not rows:
                continue
            await asyncio.sleep(self.tick_seconds + self.row_seconds * len(rows))
            for job, row in rows:
                self._step(job, row)

    def _step(self, job, row):
        if job.is_over:
            return
        now, order = asyncio.get_running_loop().time(), job.order
        steps = order.sampling.steps or BUNDLE.default_steps
        if job.first_step_at is None:
            if job.fails is not None:
                self._forget(job)
                job.events.put_nowait(
                    Failed(job_id=order.job_id, code=job.fails, message="As scripted.", fault="worker")
                )
                return
            job.first_step_at = now
            sampling = msgspec.structs.replace(BUNDLE.sampling, sampler="euler", steps=steps, size="256x256")
            job.events.put_nowait(
                Started(
                    job_id=order.job_id,
                    faces=[],
                    adapter="photomaker-v2",
                    sampling=sampling,
                    placing=order.placing,
                )
            )
        job.steps[row] += 1
        self.image_steps += 1
        self.last_step_at[order.job_id] = now
        job.events.put_nowait(Stepped(job_id=order.job_id, index=row, step=job.steps[row], steps=steps))
        if job.steps[row] == steps:
            del job.steps[row]
            job.events.put_nowait(
                Portrait(
                    job_id=order.job_id,
                    index=row,
                    seed=order.seeds[row],
                    format="jpeg",
                    width=256,
                    height=256,
                    data=b"x" * 100,
                )
            )
        if not job.steps:
            self._forget(job)
            job.events.put_nowait(Done(job_id=order.job_id, timings=self._timings(job, now)))

    def _timings(self, job, now):
        queue = job.first_step_at - job.arrived
        names = ("face_ms", "identity_ms", "text_ms", "decode_ms", "encode_ms")
        return Timings(
            **dict.fromkeys(names, 0.0),
            queue_ms=queue * 1e3,
            steps_ms=(now - job.first_step_at) * 1e3,
            total_ms=(now - job.arrived) * 1e3,
        )

    def _forget(self, job):
        job.is_over = True
        del self.jobs[job.order.job_id]
        job.gone.set()
