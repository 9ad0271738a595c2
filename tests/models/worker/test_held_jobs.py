"""Where a worker's jobs are: every image of every one in exactly one place, and what is elsewhere is told."""

from types import SimpleNamespace

import pytest

from models.worker.held_jobs import HeldJobs
from models.worker.job import WorkerJob
from tests.orders import order_of


def a_job(job_id="one", images=2):
    seeds = list(range(images))
    return WorkerJob.accept(order_of(job_id=job_id, prompt="p", seeds=seeds, deadline_seconds=10.0), now=0.0)


def rows_of(job, *indexes):
    return [SimpleNamespace(job_id=job.order.job_id, index=index) for index in indexes]


class Life:
    """One job's way through a worker, to be stopped anywhere."""

    def __init__(self):
        self.held, self.job, self.rows = HeldJobs(), a_job(), []

    def accept(self):
        self.held.accept(self.job)

    def start(self):
        self.held.end_preparation(self.job)
        self.rows = rows_of(self.job, 0, 1)

    def finish(self, index):
        self.rows = [row for row in self.rows if row.index != index]
        self.held.begin_encoding(self.job, index)

    def deliver(self, index):
        self.held.end_encoding(self.job, index)
        self.job.open_images.discard(index)

    def end(self):
        self.job.has_ended, self.rows = True, []
        self.held.remove(self.job)

    def discrepancies(self):
        return list(self.held.discrepancies(self.rows))


STEPS = [
    lambda life: life.accept(),
    lambda life: life.start(),
    lambda life: life.finish(1),
    lambda life: life.deliver(1),
    lambda life: life.finish(0),
    lambda life: life.deliver(0),
    lambda life: life.end(),
]


def life_until(num_steps):
    life = Life()
    for step in STEPS[:num_steps]:
        step(life)
    return life


@pytest.mark.parametrize("num_steps", range(len(STEPS) + 1))
def test_the_books_balance_at_every_step_of_a_job(num_steps):
    life = life_until(num_steps)
    assert life.discrepancies() == []
    assert life.held.is_idle == (num_steps in (0, len(STEPS)))


@pytest.mark.parametrize(
    ("num_steps", "come_back"),
    [(1, lambda life: life.held.end_preparation(life.job)), (3, lambda life: life.held.end_encoding(life.job, 1))],
    ids=["while it is prepared", "while a picture is encoded"],
)
def test_a_job_that_is_cancelled_is_gone_when_the_other_thread_lets_go_of_it(num_steps, come_back):
    life = life_until(num_steps)
    life.end()
    assert (len(life.held), life.discrepancies()) == (0, [])
    assert not life.held.is_idle
    come_back(life)
    assert life.held.is_idle


@pytest.mark.parametrize(
    ("num_steps", "spoil", "told"),
    [
        (1, lambda life: life.rows.extend(rows_of(life.job, 0)), "being prepared, and 1 of its images are drawn"),
        (1, lambda life: life.held.begin_encoding(life.job, 0), "being prepared, and 1 of its images are drawn"),
        (1, lambda life: life.held.end_preparation(life.job), "2 open images 0 are in an engine and 0"),
        (2, lambda life: life.rows.pop(), "2 open images 1 are in an engine and 0"),
        (3, lambda life: life.held.end_encoding(life.job, 1), "2 open images 1 are in an engine and 0"),
        (3, lambda life: life.rows.extend(rows_of(life.job, 1)), "2 open images 2 are in an engine and 1"),
        (4, lambda life: life.rows.extend(rows_of(life.job, 1)), "1 open images 2 are in an engine and 0"),
        (2, lambda life: life.rows.extend(rows_of(a_job("other"), 0)), "rows of 1 jobs that are not held"),
        (7, lambda life: life.rows.extend(rows_of(life.job, 0)), "rows of 1 jobs that are not held"),
        (2, lambda life: setattr(life.job, "has_ended", True), "a job that has ended is held"),
    ],
)
def test_what_is_lost_or_twice_somewhere_is_told(num_steps, spoil, told):
    life = life_until(num_steps)
    spoil(life)
    [wrong] = life.discrepancies()
    assert told in wrong
