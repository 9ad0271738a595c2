"""Pictures that are decoded beside other rows' steps, with a decoder that is done when the test says so."""

import math

import pytest
import torch

from models.engine.decoding import at_once
from models.engine.engine import Engine
from tests.models.engine.test_engine import CheckedEngine, Clock, LinearDenoiser, PassThroughDecoder, make_row


class Slow:
    """One picture on its way; waiting for it makes it done."""

    seconds = 0.5

    def __init__(self, latent, breaks):
        self.latent, self.is_done, self._breaks = latent, False, breaks

    def pixels(self):
        self.is_done = True
        if self._breaks:
            raise RuntimeError("the device failed")
        return self.latent.permute(1, 2, 0)


class SlowDecoding:
    def __init__(self):
        self.begun = []
        self.breaks = False

    def __call__(self, latent):
        self.begun.append(Slow(latent, self.breaks))
        return self.begun[-1]


@pytest.fixture
def decoding():
    return SlowDecoding()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def engine(decoding, clock):
    return CheckedEngine(
        LinearDenoiser(),
        PassThroughDecoder(),
        buckets=(1, 2),
        clock=clock,
        start_decoding=decoding,
        on_fault=lambda _: None,
    )


def jobs(report):
    return [finished.row.job_id for finished in report.finished]


def add(engine, *names, steps=1, **more):
    for name in names:
        engine.add(make_row(name, steps=steps, **more))


def test_a_tick_does_not_wait_for_a_picture_while_other_rows_step(engine, decoding):
    add(engine, "first")
    add(engine, "long", steps=4)
    assert jobs(engine.tick()) == []
    assert jobs(engine.tick()) == []
    decoding.begun[0].is_done = True
    report = engine.tick()
    assert jobs(report) == ["first"]
    assert [row.job_id for row in report.stepped] == ["long"]
    assert report.finished[0].decode_seconds == 0.5


def test_with_nothing_to_step_a_tick_waits_for_one_picture(engine):
    add(engine, "a", "b")
    assert jobs(engine.tick()) == []
    assert engine.has_work
    assert jobs(engine.tick()) == ["a"]
    assert jobs(engine.tick()) == ["b"]
    assert not engine.has_work


def test_pictures_leave_in_the_order_in_which_they_were_finished(engine, decoding):
    add(engine, "a", "b")
    add(engine, "long", steps=3)
    engine.tick()
    decoding.begun[1].is_done = True
    assert jobs(engine.tick()) == []
    decoding.begun[0].is_done = True
    assert jobs(engine.tick()) == ["a", "b"]


def test_no_more_pictures_than_a_batch_wait_at_once(engine):
    add(engine, *"abcdef")
    handed = []
    for _ in range(3):
        handed += jobs(engine.tick())
        assert engine.num_rows - engine.num_running - engine.num_waiting <= 2
    assert handed == ["a", "b", "c", "d"]


def test_a_job_cancelled_while_its_picture_is_decoded_gets_none(engine):
    add(engine, "goes", "stays")
    engine.tick()
    engine.cancel("goes")
    report = engine.tick()
    assert [(row.job_id, reason) for row, reason in report.left] == [("goes", "cancelled")]
    assert jobs(report) == ["stays"]
    assert not engine.has_work


def test_a_deadline_counts_until_the_picture_is_there(engine, clock):
    add(engine, "late", deadline=5)
    engine.tick()
    clock.now = 5
    report = engine.tick()
    assert [(row.job_id, reason) for row, reason in report.left] == [("late", "expired")]
    assert not report.finished


def test_a_picture_that_fails_takes_only_itself_along(engine, decoding):
    decoding.breaks = True
    add(engine, "broken")
    engine.tick()
    decoding.breaks = False
    add(engine, "fine")
    add(engine, "long", steps=3)
    engine.tick()
    decoding.begun[0].is_done = True
    report = engine.tick()
    assert [(row.job_id, reason) for row, reason in report.left] == [("broken", "failed")]
    assert [row.job_id for row in report.stepped] == ["long"]
    decoding.begun[1].is_done = True
    assert jobs(engine.tick()) == ["fine"]


def test_a_picture_whose_decoding_cannot_even_begin_takes_only_itself_along(clock):
    class Full(PassThroughDecoder):
        decoded = 0

        def decode(self, latents):
            self.decoded += 1
            if self.decoded == 2:
                raise torch.OutOfMemoryError
            return super().decode(latents)

    engine = Engine(LinearDenoiser(), Full(), buckets=(1, 2, 4), clock=clock, on_fault=lambda _: None)
    add(engine, "a", "b", "c", deadline=math.inf)
    report = engine.tick()
    assert [(row.job_id, reason) for row, reason in report.left] == [("b", "out_of_memory")]
    assert jobs(report) == ["a", "c"]


def test_of_many_jobs_with_failures_and_cancels_each_leaves_once(engine, decoding):
    names = [f"job {i}" for i in range(40)]
    left = []
    for i, name in enumerate(names):
        decoding.breaks = i % 7 == 3
        add(engine, name, steps=1 + i % 3)
        if i % 5 == 2:
            engine.cancel(names[i // 2])
        left += ended(engine.tick())
    while engine.has_work:  # what a worker does until its jobs have ended
        left += ended(engine.tick())
    assert sorted(left) == sorted(names)


def ended(report):
    return [*jobs(report), *(row.job_id for row, _ in report.left)]


def test_at_once_means_in_the_same_tick():
    engine = Engine(LinearDenoiser(), PassThroughDecoder(), buckets=(1,), clock=Clock())
    add(engine, "a", deadline=math.inf)
    assert jobs(engine.tick()) == ["a"]
    assert torch.equal(at_once(PassThroughDecoder())(torch.ones(4, 2, 2)).pixels(), torch.ones(2, 2, 4))
