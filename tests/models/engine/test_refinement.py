"""A row of two phases: the preview is made again to the bit, and the rest is a row like any other."""

import dataclasses

import pytest
import torch

from models.engine.plan import make_plan
from models.engine.rows import DRAWS_A_PHASE, Refinement, noise
from models.engine.variance_preserving import VariancePreserving
from tests.models.engine.test_engine import CPU, SHAPE, Clock, make_engine, make_row, run

LARGE = 128
PROCESS = VariancePreserving()


class ScalingDecoder:
    """Pixels are latents; twice the size is every number four times. Notes what it was asked to resize."""

    def __init__(self):
        self.resized_latents = []

    def decode(self, latents):
        return latents.permute(0, 2, 3, 1)

    def resized(self, latents, width, height):
        self.resized_latents.append(latents[0].clone())
        factor = height // (8 * latents.shape[-2])
        return latents.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


def engine_of(buckets=(1, 2, 4, 8), clock=None, **more):
    return make_engine(buckets, clock, **({"decoder": ScalingDecoder()} | more))


def make_final(job="final", *, size=64, steps=8, first=5, sampler="euler", word=9, **changes):
    """A row as `make_row`'s, and after it the last steps of a plan of `steps`."""
    row = make_row(job, sampler=sampler, **changes)
    plan = make_plan(sampler, steps, PROCESS)
    row.refinement = Refinement(
        key=dataclasses.replace(row.key, width=size, height=size),
        plan=plan,
        first=first,
        level=PROCESS.level_at(plan.steps[first].t),
        conditioning=make_row(word=word).conditioning,
    )
    return row


def make_ticks(engine, count):
    for _ in range(count):
        engine.tick()


def finished_latent(row):
    engine, _ = engine_of((1,))
    run(engine, row)
    return row.latent


@pytest.mark.parametrize("sampler", ["euler", "lcm", "tcd", "euler-ancestral"])
def test_the_first_phase_ends_on_the_previews_latent_to_the_bit(sampler):
    preview = finished_latent(make_row("preview", sampler=sampler))
    final = make_final(sampler=sampler, size=LARGE)
    decoder = ScalingDecoder()
    engine, _ = engine_of((1,), decoder=decoder)
    run(engine, final)
    assert torch.equal(decoder.resized_latents[0], preview)
    assert torch.equal(final.latent, preview)


def test_the_second_phase_is_the_picture_under_noise_through_the_rest_of_the_plan():
    """By hand, from the preview's latent."""
    final = make_final()
    plan, first = final.refinement.plan, final.refinement.first
    x = finished_latent(make_row())
    level = PROCESS.level_at(plan.steps[first].t)
    x = level.alpha * x + level.sigma * noise(final.seed, DRAWS_A_PHASE, SHAPE, CPU)
    for step in plan.steps[first:]:
        x = step.a * x + step.b * (0.3 * x + step.t / 1000 + 9)
    [pixels] = run(engine_of((1,))[0], final).values()
    torch.testing.assert_close(pixels, x.permute(1, 2, 0))


def test_the_network_sees_the_previews_steps_and_then_the_rest_of_the_longer_plan():
    engine, denoiser = engine_of()
    run(engine, make_final(steps=8, first=5))
    short, longer = make_plan("euler", 4, PROCESS), make_plan("euler", 8, PROCESS)
    seen = [timesteps[0] for _, timesteps, _ in denoiser.calls]
    assert seen == [step.t for step in (*short.steps, *longer.steps[5:])]


def test_progress_counts_over_both_phases():
    engine, _ = engine_of()
    engine.add(make_final(steps=8, first=5))
    told = []
    while engine.has_work:
        [row] = engine.tick().stepped
        told.append((row.steps_made, row.steps_wanted))
    assert told == [(step, 7) for step in range(1, 8)]


def test_a_larger_second_phase_runs_with_rows_of_its_size_and_an_equal_one_with_its_mates():
    engine, denoiser = engine_of((1, 2, 3))
    for row in (make_final("large", size=LARGE), make_final("same"), make_row("mate", steps=8)):
        engine.add(row)
    for _ in range(4):
        engine.tick()  # the previews and the mate, side by side
    assert [count for count, *_ in denoiser.calls] == [3, 3, 3, 3]
    sizes = []
    while engine.has_work:
        sizes.append({row.job_id for row in engine.tick().stepped})
    assert {"same", "mate"} in sizes
    assert {"large"} in sizes
    assert all("large" not in size or size == {"large"} for size in sizes)


def test_mates_change_nothing_in_either_phase():
    alone = run(engine_of((1,))[0], make_final(seed=3, size=LARGE))
    engine, _ = engine_of((1, 2, 3, 4))
    engine.add(make_row("older", steps=2, seed=8))
    engine.tick()
    others = [make_final("b", seed=4, size=LARGE, sampler="lcm", first=6), make_row("c", seed=5, steps=6)]
    together = run(engine, *others, make_final(seed=3, size=LARGE))
    assert torch.equal(together["final", 0], alone["final", 0])


@pytest.mark.parametrize("ticks", [0, 2, 4, 6])
def test_a_cancel_frees_the_row_in_either_phase_and_between_them(ticks):
    engine, denoiser = engine_of()
    engine.add(make_final(size=LARGE))
    for _ in range(ticks):
        engine.tick()
    engine.cancel("final")
    report = engine.tick()
    assert [(row.job_id, reason) for row, reason in report.left] == [("final", "cancelled")]
    assert not engine.has_work
    assert len(denoiser.calls) == ticks


@pytest.mark.parametrize("ticks", [2, 4, 6])
def test_a_deadline_holds_over_both_phases(ticks):
    clock = Clock()
    engine, _ = engine_of(clock=clock)
    engine.add(make_final(size=LARGE, deadline=5))
    for _ in range(ticks):
        engine.tick()
    clock.now = 5
    assert [reason for _, reason in engine.tick().left] == ["expired"]
    assert not engine.has_work


def test_a_failed_second_phase_leaves_alone():
    engine, denoiser = engine_of(on_fault=lambda _: None)
    denoiser.fails_on_seed = 13
    engine.add(make_final(size=LARGE, word=13))
    engine.add(make_row("other", steps=8))
    left = []
    while engine.has_work:
        report = engine.tick()
        left += [(row.job_id, reason) for row, reason in report.left]
        finished = [one.row.job_id for one in report.finished]
    assert (left, finished) == ([("final", "failed")], ["other"])


def test_a_failure_between_the_phases_costs_no_other_row():
    class Broken(ScalingDecoder):
        def resized(self, *_):
            raise RuntimeError("planted")

    engine, _ = engine_of(on_fault=lambda _: None, decoder=Broken())
    engine.add(make_row("finished"))
    engine.add(make_final(size=LARGE))
    engine.add(make_row("running", steps=8))
    for _ in range(3):
        engine.tick()
    report = engine.tick()
    assert [(row.job_id, reason) for row, reason in report.left] == [("final", "failed")]
    assert [one.row.job_id for one in report.finished] == ["finished"]
    assert engine.num_rows == 1


def test_a_preview_that_is_not_finite_is_never_refined():
    decoder = ScalingDecoder()
    engine, _ = engine_of(decoder=decoder)
    row = make_final(size=LARGE)
    row.conditioning = make_row(word=float("nan")).conditioning
    engine.add(row)
    left = []
    while engine.has_work:
        left += engine.tick().left
    assert [reason for _, reason in left] == ["not_finite"]
    assert decoder.resized_latents == []


def test_both_phases_draw_noise_of_their_own():
    """The refinement's must not be the preview's: the same noise twice would show."""
    drawn = []

    def draw(seed, number, shape, device):
        drawn.append((seed, number))
        return noise(seed, number, shape, device)

    run(engine_of(draw_noise=draw)[0], make_final(seed=3, sampler="lcm"))
    numbers = [number for _, number in drawn]
    assert len(set(numbers)) == len(numbers) == 3 + 1 + 2
