"""The loop with a denoiser whose answer is known, and a clock that the test turns."""

import math
import weakref

import pytest
import torch

from models.engine.engine import BooksError, Engine
from models.engine.plan import make_plan
from models.engine.rows import BatchKey, Row, initial_latent, noise
from models.engine.scheduler import Scheduler
from models.engine.variance_preserving import VariancePreserving
from models.sdxl.conditioning import Prompt, RowConditioning

CPU = torch.device("cpu")
SHAPE = (4, 8, 8)


class LinearDenoiser:
    """Predicts a mix of the latent, the timestep and the row's prompt; notes every call."""

    device = CPU

    def __init__(self):
        self.calls = []
        self.fails_on_seed = None

    def predict(self, latents, timesteps, rows, guidance=None, lora=None):
        assert timesteps.dtype == torch.int64
        self.calls.append((len(latents), timesteps.tolist(), guidance))
        words = torch.stack([conditioning.prompt_at(step).pooled[0] for conditioning, step in rows])
        predicted = 0.3 * latents + (timesteps / 1000 + words)[:, None, None, None]
        if self.fails_on_seed is not None and any(w == self.fails_on_seed for w in words):
            raise RuntimeError("planted")
        return predicted if guidance is None else predicted * guidance[:, None, None, None]


class PassThroughDecoder:
    def decode(self, latents):
        return latents.permute(0, 2, 3, 1)


class CheckedEngine(Engine):
    """One whose books are checked after every tick."""

    def tick(self):
        report = super().tick()
        self.check_books()
        return report


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def prompt(value):
    return Prompt(torch.zeros(77, 8), torch.tensor([float(value)]))


def make_row(
    job="job", *, index=0, seed=1, steps=4, sampler="euler", size=64, guidance=1.0, deadline=math.inf, **changes
):
    plan = make_plan(sampler, steps, VariancePreserving())
    conditioning = RowConditioning(
        personal=prompt(changes.pop("word", seed)),
        plain=prompt(0),
        merge_step=changes.pop("merge_step", -1),
        negative=None,
        time_ids=torch.zeros(6),
    )
    return Row(
        job_id=job,
        index=index,
        seed=seed,
        key=BatchKey("b", "a", size, size, guidance > 1),
        plan=plan,
        conditioning=conditioning,
        guidance=guidance,
        deadline=deadline,
        latent=initial_latent(seed, plan, SHAPE, CPU),
        **changes,
    )


def make_engine(buckets=(1, 2, 4, 8), clock=None, decoder=None, **more):
    denoiser = LinearDenoiser()
    return CheckedEngine(
        denoiser, decoder or PassThroughDecoder(), buckets=buckets, clock=clock or Clock(), **more
    ), denoiser


def run(engine, *rows):
    for row in rows:
        engine.add(row)
    finished = {}
    while engine.has_work:
        finished |= {(f.row.job_id, f.row.index): f.pixels for f in engine.tick().finished}
    return finished


def test_rows_of_other_samplers_lengths_and_ages_share_one_call_and_come_out_as_if_alone():
    specs = [
        {"job": "a", "seed": 1, "sampler": "euler", "steps": 4},
        {"job": "b", "seed": 2, "sampler": "lcm", "steps": 2},
        {"job": "c", "seed": 3, "sampler": "tcd", "steps": 8, "merge_step": 2},
        {"job": "d", "seed": 4, "sampler": "euler-ancestral", "steps": 1},
    ]
    alone = {}
    for spec in specs:
        alone |= run(make_engine((1,))[0], make_row(**spec))
    engine, denoiser = make_engine((1, 2, 3, 4))
    engine.add(make_row(**specs[2]))
    engine.tick()  # c is one step old when the others join
    together = run(engine, *(make_row(**spec) for spec in (specs[0], specs[1], specs[3])))
    assert denoiser.calls[1][0] == 4
    assert len(set(denoiser.calls[1][1])) > 1
    for key, pixels in alone.items():
        assert torch.equal(together[key], pixels), key


def test_a_finished_row_leaves_at_once_and_its_place_is_taken():
    engine, _ = make_engine((1, 2))
    for job, steps in (("short", 1), ("long", 3), ("next", 1)):
        engine.add(make_row(job, steps=steps))
    assert [f.row.job_id for f in engine.tick().finished] == ["short"]
    assert [row.job_id for row in engine.tick().stepped] == ["long", "next"]


def test_a_cancelled_row_leaves_at_the_next_tick_without_a_picture_and_nobody_else_does():
    engine, _ = make_engine()
    for job in ("stays", "goes", "waits"):
        engine.add(make_row(job))
    engine.tick()
    engine.cancel("goes")
    report = engine.tick()
    assert [(row.job_id, reason) for row, reason in report.left] == [("goes", "cancelled")]
    assert [row.job_id for row in report.stepped] == ["stays", "waits"]
    assert engine.num_rows == 2


def test_a_cancel_of_one_job_does_not_touch_a_later_one_of_the_same_name():
    engine, _ = make_engine()
    engine.cancel("again")
    engine.tick()
    engine.add(make_row("again"))
    assert len(engine.tick().stepped) == 1


def test_a_cancel_is_forgotten_where_there_is_nobody_to_cancel():
    engine, _ = make_engine()
    engine.cancel("again")
    engine.check_books()
    engine.add(make_row("again"))
    assert len(engine.tick().stepped) == 1


def test_an_expired_row_leaves_whether_it_runs_or_waits():
    clock = Clock()
    engine, _ = make_engine((1,), clock)
    engine.add(make_row("runs", deadline=5))
    engine.add(make_row("waits", deadline=5))
    engine.add(make_row("lives", deadline=50))
    engine.tick()
    clock.now = 5
    report = engine.tick()
    assert [(row.job_id, reason) for row, reason in report.left] == [("runs", "expired"), ("waits", "expired")]
    assert [row.job_id for row in report.stepped] == ["lives"]


def test_deadlines_are_looked_at_when_the_first_of_them_has_come_and_never_before():
    class RecordingScheduler(Scheduler):
        def remove(self, leaves):
            looks.append(clock.now)
            return super().remove(leaves)

    clock, looks = Clock(), []
    engine, _ = make_engine((1,), clock, policy=RecordingScheduler(1))
    for job, deadline in (("soon", 5), ("later", 9), ("last", 50)):
        engine.add(make_row(job, deadline=deadline, steps=40))
    left = []
    for clock.now in range(12):
        left += [(row.job_id, clock.now) for row, _ in engine.tick().left]
    assert looks == [5, 9]
    assert left == [("soon", 5), ("later", 9)]


def test_other_sizes_and_guidance_run_in_ticks_of_their_own():
    engine, denoiser = make_engine()
    for row in (make_row("a"), make_row("b", size=96), make_row("c", guidance=5.0), make_row("d")):
        engine.add(row)
    for _ in range(3):
        engine.tick()
    assert [(count, guidance is not None) for count, _, guidance in denoiser.calls] == [
        (2, False),
        (1, False),
        (1, True),
    ]


def test_a_batch_is_padded_to_its_bucket_and_the_padding_makes_no_picture():
    engine, denoiser = make_engine((2, 4))
    finished = run(engine, *(make_row("job", index=i, seed=i, steps=1) for i in range(3)))
    assert [count for count, _, _ in denoiser.calls] == [4]
    assert sorted(finished) == [("job", 0), ("job", 1), ("job", 2)]


def test_a_row_that_is_not_finite_is_let_go_alone():
    engine, _ = make_engine()
    engine.add(make_row("fine", steps=1))
    engine.add(make_row("broken", steps=1, word=math.nan))
    report = engine.tick()
    assert [f.row.job_id for f in report.finished] == ["fine"]
    assert [(row.job_id, reason) for row, reason in report.left] == [("broken", "not_finite")]


def test_an_error_of_the_network_is_raised_where_nobody_is_told_of_faults():
    engine, denoiser = make_engine()
    denoiser.fails_on_seed = 13
    engine.add(make_row("bad", seed=13))
    with pytest.raises(RuntimeError, match="planted"):
        engine.tick()


@pytest.mark.parametrize("bad", [(0,), (5,), (2, 3), (0, 7), tuple(range(8))])
def test_a_row_that_fails_leaves_alone_and_its_mates_make_the_same_step(bad):
    faults = []
    engine, denoiser = make_engine(on_fault=faults.append)
    denoiser.fails_on_seed = 13
    rows = [make_row(f"job {i}", seed=13 if i in bad else i + 20, sampler="lcm") for i in range(8)]
    for row in rows:
        engine.add(row)
    report = engine.tick()
    assert len(denoiser.calls) <= 15
    assert [(row.job_id, reason) for row, reason in report.left] == [(f"job {i}", "failed") for i in bad]
    fine = [row for i, row in enumerate(rows) if i not in bad]
    assert report.stepped == fine
    assert engine.num_rows == len(fine)
    assert {str(fault) for fault in faults} == {"planted"}
    for row in fine:
        alone, _ = make_engine()
        twin = make_row(seed=row.seed, sampler="lcm")
        alone.add(twin)
        alone.tick()
        assert (row.step, torch.equal(row.latent, twin.latent)) == (1, True)
    assert [row.step for i, row in enumerate(rows) if i in bad] == [0] * len(bad)


def test_a_batch_that_does_not_fit_goes_in_parts_and_loses_nobody():
    calls = []

    class Narrow(LinearDenoiser):
        def predict(self, latents, *rest):
            assert [ref() for ref in held] == [None] * len(held)  # or there would be less and less room
            large = latents.clone()
            held.append(weakref.ref(large))
            calls.append(len(latents))
            if len(latents) > 2:
                raise torch.OutOfMemoryError
            return super().predict(latents, *rest)

    held = []
    engine = Engine(Narrow(), PassThroughDecoder(), buckets=(1, 2, 4, 8), clock=Clock(), on_fault=lambda _: None)
    for i in range(7):
        engine.add(make_row(f"job {i}", steps=2))
    assert (len(engine.tick().stepped), calls) == (7, [8, 4, 1, 2, 4, 2, 2])
    assert len(engine.tick().finished) == 7


def test_an_error_after_some_rows_were_moved_moves_none():
    engine, _ = make_engine(on_fault=lambda _: None, draw_noise=failing_for(3))
    rows = [make_row(f"job {i}", seed=i, sampler="lcm") for i in range(4)]
    for row in rows:
        engine.add(row)
    report = engine.tick()
    assert [row.job_id for row, _ in report.left] == ["job 3"]
    assert [row.step for row in rows] == [1, 1, 1, 0]


def failing_for(unlucky):
    def draw(seed, number, shape, device):
        if seed == unlucky:
            raise RuntimeError("no noise")
        return noise(seed, number, shape, device)

    return draw


def test_the_merge_step_switches_the_prompt_of_its_own_row_alone():
    row, other = make_row("late", merge_step=1, word=7), make_row("early", merge_step=-1, word=9)
    assert [row.conditioning.prompt_at(i).pooled.item() for i in range(4)] == [0, 0, 7, 7]
    assert [other.conditioning.prompt_at(i).pooled.item() for i in range(4)] == [9, 9, 9, 9]


def test_previews_are_kept_only_for_rows_that_want_them():
    engine, _ = make_engine()
    wanting, plain = make_row("wants", wants_previews=True), make_row("plain")
    engine.add(wanting)
    engine.add(plain)
    engine.tick()
    assert wanting.clean is not None
    assert wanting.clean.shape == SHAPE
    assert plain.clean is None


def test_the_last_steps_clean_guess_is_the_finished_latent():
    engine, _ = make_engine()
    row = make_row(wants_previews=True)
    run(engine, row)
    torch.testing.assert_close(row.clean, row.latent)


def test_noise_depends_on_seed_and_draw_alone():
    assert torch.equal(noise(5, 2, SHAPE, CPU), noise(5, 2, SHAPE, CPU))
    different = [
        noise(5, 2, SHAPE, CPU),
        noise(5, 3, SHAPE, CPU),
        noise(6, 2, SHAPE, CPU),
        noise(2**32 + 5, 2, SHAPE, CPU),
    ]
    correlations = torch.corrcoef(torch.stack([n.flatten() for n in different])) - torch.eye(4)
    assert correlations.abs().max() < 0.25


def test_buckets_out_of_order_are_refused():
    with pytest.raises(ValueError, match="ascending"):
        Engine(LinearDenoiser(), PassThroughDecoder(), buckets=(4, 2))


class Careless(Scheduler):
    """A policy with one bug, which the test chooses."""

    def __init__(self, max_rows, bug):
        super().__init__(max_rows)
        self.bug = bug

    def add(self, row):
        for _ in range({"loses": 0, "doubles": 2}.get(self.bug, 1)):
            super().add(row)

    def next_batch(self):
        return [*super().next_batch()] if self.bug != "crowds" else self._crowded()

    def _crowded(self):
        self.max_rows += 1
        batch = super().next_batch()
        self.max_rows -= 1
        return batch

    def release(self, rows):
        if self.bug != "keeps":
            super().release(rows)


@pytest.mark.parametrize(
    ("bug", "said"),
    [
        ("loses", "0 rows are here, 0 are counted and 2 are owed"),
        ("doubles", "a row is here twice; 4 rows are here, 4 are counted and 2 are owed"),
        ("crowds", "2 rows of a key run where 1 may"),
    ],
)
def test_books_that_do_not_add_up_are_told_in_numbers(bug, said):
    engine = Engine(LinearDenoiser(), PassThroughDecoder(), buckets=(1, 2), clock=Clock(), policy=Careless(1, bug))
    for name in "ab":
        engine.add(make_row(name))
    if bug == "crowds":
        engine.tick()
    with pytest.raises(BooksError, match=said):
        engine.check_books()


def test_a_finished_row_that_is_kept_to_be_stepped_is_found():
    engine = Engine(LinearDenoiser(), PassThroughDecoder(), buckets=(1, 2), clock=Clock(), policy=Careless(2, "keeps"))
    engine.add(make_row(steps=1))
    engine.tick()
    with pytest.raises(
        BooksError, match="1 rows are here, 1 are counted and 0 are owed; a finished row is to be stepped"
    ):
        engine.check_books()


@pytest.mark.parametrize("change", [{"key": BatchKey("b", "a", 96, 96, False)}, {"deadline": 3.0}])
def test_a_row_that_was_changed_under_way_is_found(change):
    engine, _ = make_engine()
    row = make_row(deadline=5.0)
    engine.add(row)
    engine.tick()
    for name, value in change.items():
        setattr(row, name, value)
    with pytest.raises(BooksError, match=r"another key|a row's deadline is before"):
        engine.check_books()
