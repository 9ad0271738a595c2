"""Whatever a day brings, in virtual time: a thousand jobs of greedy and modest callers, who leave, cancel, wait too
long and bring bad photos, before an engine that fails now and then. What must hold is checked all the while."""

import asyncio
import random
from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from service.errors import BadPicture, DeadlineExceeded, NoCapacity
from tests.service.jobs_harness import caller, check_ended_once, run_jobs
from tests.service.virtual_workers import VirtualWorkers

MAX_JOBS = 40
MAX_BYTES = 4_000
GREEDY = caller("greedy")
MODEST = [caller("ann"), caller("ben", weight=2.0), caller("cem")]


class Day:
    """One scripted day. Everything that happens in it follows from its seed."""

    def __init__(self, seed, *, num_jobs=1000, seconds=150.0, troubles=True):
        self.chance = random.Random(seed)
        self.num_jobs = num_jobs
        self.seconds = seconds
        self.troubles = troubles
        self.accepted = []
        self.refusals = []  # caller id, error
        self.asked = Counter()

    async def run(self, harness):
        watching = asyncio.create_task(self._watch(harness))
        times = sorted(self.chance.uniform(0, self.seconds) for _ in range(self.num_jobs))
        following = []
        for at in times:
            await asyncio.sleep(max(at - asyncio.get_running_loop().time(), 0))
            if (job := self._ask(harness)) is not None:
                following.append(asyncio.create_task(self._live(harness, job)))
        await asyncio.gather(*following)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        return self

    def _ask(self, harness):
        chance = self.chance
        who = GREEDY if chance.random() < 0.7 else chance.choice(MODEST)
        self.asked[who.id] += 1
        bad = BadPicture("image_undecodable", "No.") if self.troubles and chance.random() < 0.03 else None
        try:
            job = harness.accept(
                who,
                images=chance.choice([1, 1, 1, 2, 4]),
                steps=chance.choice([1, 4, 4, 8]),
                deadline=chance.choice([2.0, 10.0, 30.0]),
                on_disconnect=chance.choice(["cancel", "finish"]),
                keep=chance.random() < 0.3,
                num_bytes=chance.choice([50, 100, 400]),
                prepare_seconds=chance.uniform(0, 0.2),
                error=bad,
            )
        except NoCapacity as refused:
            self.refusals.append((who.id, refused))
            return None
        if self.troubles and chance.random() < 0.03:
            harness.workers.failing[job.id] = "nan_output"
        self.accepted.append(job)
        return job

    async def _live(self, harness, job):
        """A client: waits to the end, leaves early, or cancels."""
        job.attach()
        mood = self.chance.random() if self.troubles else 1.0
        patience = self.chance.uniform(0, 1.5)
        waiting = asyncio.create_task(job.finished())
        if mood < 0.2:
            await asyncio.wait({waiting}, timeout=patience)
            if mood < 0.1:
                job.cancel()
        else:
            await asyncio.wait({waiting})
        job.detach()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    async def _watch(self, harness):
        """The bounds, looked at all the time."""
        workers, jobs = harness.workers, harness.jobs
        window = workers.max_rows + workers.max_rows // 2
        while True:
            assert jobs.discrepancies() == {}
            assert harness.figure("held_bytes", kind="photos") <= MAX_BYTES
            assert harness.figure("held_bytes", kind="results") <= 2_000
            assert jobs.turns.num_rows_out < window + 4
            assert workers.images_held <= jobs.turns.num_rows_out
            assert jobs.turns.line.num_callers <= 1 + len(MODEST)
            await asyncio.sleep(0.05)


def check_day(day, workers):
    for job in day.accepted:
        check_ended_once(job)
        if job.stopped_at is not None and job.id in workers.last_step_at:
            assert workers.last_step_at[job.id] <= job.stopped_at + 0.2  # the step under way, and no other
    assert day.num_jobs == len(day.accepted) + len(day.refusals)
    assert all(error.retry_after_seconds >= 1 and error.extra["position"] >= 1 for _, error in day.refusals)
    assert len(set(workers.sent)) == len(workers.sent)


def live(day, workers):
    return run_jobs(
        day.run, workers, max_jobs=MAX_JOBS, max_job_bytes=MAX_BYTES, max_result_bytes=2_000, result_seconds=5.0
    )


@pytest.mark.parametrize("seed", range(4))
def test_a_thousand_jobs_end_once_each_and_the_bounds_hold(seed):
    workers = VirtualWorkers(max_rows=8, tick_seconds=0.05, row_seconds=0.01)
    day = live(Day(seed), workers)
    check_day(day, workers)
    states = Counter(job.state for job in day.accepted)
    assert states["succeeded"] > 400
    assert states["cancelled"] > 40
    assert states["failed"] > 20


@pytest.mark.parametrize("seed", range(4))
def test_under_four_times_the_load_nobody_starves_and_promises_are_kept(seed):
    workers = VirtualWorkers(max_rows=8, tick_seconds=0.05, row_seconds=0.01)
    day = live(Day(seed, seconds=60.0, troubles=False), workers)
    check_day(day, workers)
    late = [job for job in day.accepted if isinstance(job.error, DeadlineExceeded)]
    assert len(late) <= 0.03 * len(day.accepted)
    capacity = 8 / (0.05 + 0.08)
    assert workers.image_steps > 0.9 * capacity * 60
    served = Counter(job.caller.id for job in day.accepted if job.state == "succeeded")
    modest_share = sum(served[one.id] for one in MODEST) / sum(day.asked[one.id] for one in MODEST)
    greedy_share = served["greedy"] / day.asked["greedy"]
    assert modest_share > 2 * greedy_share
    assert greedy_share > 0


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10**6),
    max_rows=st.integers(1, 16),
    tick=st.sampled_from([0.001, 0.02, 0.2]),
    seconds=st.sampled_from([1.0, 20.0, 200.0]),
)
def test_any_small_day_keeps_the_books(seed, max_rows, tick, seconds):
    workers = VirtualWorkers(max_rows=max_rows, tick_seconds=tick)
    check_day(live(Day(seed, num_jobs=60, seconds=seconds), workers), workers)
