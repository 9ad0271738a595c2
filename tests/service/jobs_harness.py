"""`Jobs` before virtual workers, in virtual time."""

import asyncio

from models.wire.events import Done, Portrait
from models.wire.picture import Picture
from service.access.caller import ANONYMOUS, SCOPES, Caller
from service.jobs.jobs import Jobs
from service.jobs.log import Ended
from service.jobs.options import JobOptions
from service.metrics import Metrics
from service.settings import Settings
from tests.orders import order_of
from tests.service.figures import figure_of
from tests.service.some_job import some_summary
from tests.service.virtual_workers import VirtualWorkers
from tests.virtual_time import run_virtually

PICTURE = Picture(width=2, height=2, rgb=bytes(12))


def caller(name, weight=1.0):
    return Caller(id=name, scopes=SCOPES, weight=weight)


class JobsHarness:
    """`Jobs` and what stands behind it."""

    def __init__(self, workers=None, **settings):
        self.workers = workers or VirtualWorkers()
        self.metrics = Metrics()
        self.jobs = Jobs(self.workers, self.metrics, Settings(**settings))

    def accept(
        self,
        who=ANONYMOUS,
        *,
        images=1,
        steps=4,
        deadline=None,
        on_disconnect="cancel",
        keep=False,
        num_bytes=0,
        prepare_seconds=0.0,
        error=None,
    ):
        """A job on its way. `error` is what its photos end in."""
        seeds = list(range(images))

        async def prepare(job):
            await asyncio.sleep(prepare_seconds)
            if error is not None:
                raise error
            return order_of(
                job_id=job.id,
                selfies=[PICTURE],
                prompt="a person",
                seeds=seeds,
                steps=steps,
                deadline_seconds=job.seconds_left,
            )

        options = JobOptions(deadline_seconds=deadline, on_disconnect=on_disconnect, keep=keep)
        summary = some_summary(images, steps)
        return self.jobs.accept(who, summary, options, prepare, photos=[bytearray(num_bytes)])

    def figure(self, name, **labels):
        return figure_of(self.metrics, name, **labels)

    def check_is_empty(self):
        assert self.jobs.is_idle
        assert self.jobs.discrepancies() == {}
        assert self.figure("held_bytes", kind="photos") == 0
        assert not self.workers.jobs


async def settled(jobs):
    """Wait until every job has ended and its worker has let go of it."""
    while not jobs.is_idle:
        assert jobs.discrepancies() == {}
        await asyncio.sleep(0.05)


def check_ended_once(job):
    """The log of an ended job: one end, after everything else, and every portrait once if it is a good end."""
    events = [logged.event for logged in job.log]
    ids = [logged.id for logged in job.log]
    assert ids == sorted(set(ids))
    ends = [event for event in events if isinstance(event, Done | Ended)]
    assert ends == [events[-1]]
    indexes = [event.index for event in events if isinstance(event, Portrait)]
    assert len(indexes) == len(set(indexes))
    if job.state == "succeeded":
        assert isinstance(events[-1], Done)
        assert sorted(indexes) == list(range(job.summary.num_images))
    else:
        assert isinstance(events[-1], Ended)
        assert job.error is not None


def run_jobs(scenario, workers=None, **settings):
    """Run `scenario(harness)` in virtual time; afterwards nothing is left anywhere."""

    async def run():
        harness = JobsHarness(workers, **settings)
        result = await scenario(harness)
        await settled(harness.jobs)
        harness.check_is_empty()
        return result

    return run_virtually(run())
