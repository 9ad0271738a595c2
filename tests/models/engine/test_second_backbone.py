"""The engine with another backbone: a small network on the rectified flow, with conditioning of its own."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import nn

from models.engine.plan import make_plan
from models.engine.rectified_flow import RectifiedFlow
from models.engine.rows import BatchKey, Refinement, Row, initial_latent, noise
from tests.models.engine.test_engine import CPU, CheckedEngine, Clock

CHANNELS, SIDE, WIDTH = 6, 8, 5
SHAPE = (CHANNELS, SIDE, SIDE)
PROCESS = RectifiedFlow(shift=3.0)
ACROSS_BATCH_SIZES = 1e-5  # of the largest value: float32 sums in another order


@dataclass(frozen=True, eq=False)
class Words:
    """All that steers a row of this backbone."""

    tokens: torch.Tensor  # [T, WIDTH], as many as there are


class Velocity(nn.Module):
    """Latent, time and the mean of the words to a direction."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.words = nn.Linear(WIDTH, CHANNELS)
        self.time = nn.Linear(1, CHANNELS)
        self.mix = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)

    def forward(self, x, sigmas, words):
        shift = self.words(words) + self.time(sigmas[:, None])
        return torch.tanh(self.mix(x) + shift[:, :, None, None])


class Toy:
    """What a folder beside `sdxl` would hold. Its variants are factors of the direction."""

    device = CPU

    def __init__(self):
        self.net = Velocity()
        self.calls = []

    def predict(self, latents, timesteps, rows, guidance, variant):
        assert timesteps.dtype == torch.float32
        self.calls.append((len(rows), variant))
        words = torch.stack([words.tokens.mean(0) for words, _ in rows])
        return self.net(latents, timesteps / 1000, words) * (variant or 1.0)


class ToyDecoder:
    """A picture is a latent in another order; a larger one repeats its numbers."""

    def decode(self, latents):
        return latents.permute(0, 2, 3, 1)

    def resized(self, latents, width, height):
        factor = height // latents.shape[-2]
        return latents.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


def make_words(seed):
    return Words(torch.randn(1 + seed % 3, WIDTH, generator=torch.Generator().manual_seed(seed)))


def make_row(job="job", *, seed=1, steps=4, sampler="euler", variant=None, **more):
    plan = make_plan(sampler, steps, PROCESS)
    return Row(
        job_id=job,
        index=0,
        seed=seed,
        key=BatchKey("toy", "toy", SIDE, SIDE, False, variant),
        plan=plan,
        conditioning=make_words(seed),
        guidance=1.0,
        deadline=math.inf,
        latent=initial_latent(seed, plan, SHAPE, CPU),
        **more,
    )


def with_refinement(row, *, steps=8, first=5, side=SIDE):
    plan = make_plan("euler", steps, PROCESS)
    key = replace(row.key, width=side, height=side)
    row.refinement = Refinement(key, plan, first, PROCESS.level_at(plan.steps[first].t), make_words(70))
    return row


def make_engine(buckets=(1, 2, 4)):
    toy = Toy()
    return CheckedEngine(toy, ToyDecoder(), buckets=buckets, clock=Clock()), toy


def run(engine, *rows):
    for row in rows:
        engine.add(row)
    pixels = {}
    while engine.has_work:
        pixels |= {finished.row.job_id: finished.pixels for finished in engine.tick().finished}
    return pixels


def is_close(result, expected):
    return (result - expected).abs().max() <= ACROSS_BATCH_SIZES * expected.abs().max()


@pytest.mark.parametrize("steps", [1, 4, 28])
@torch.inference_mode()
def test_a_row_is_what_diffusers_loop_makes_of_the_same_network(steps):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=PROCESS.shift)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps))
    toy, words, x = Toy(), make_words(1).tokens.mean(0)[None], noise(1, 0, SHAPE, CPU)[None]
    for t in scheduler.timesteps:
        [x] = scheduler.step(toy.net(x, t[None] / 1000, words), t, x, return_dict=False)
    assert is_close(run(make_engine()[0], make_row(steps=steps))["job"], x[0].permute(1, 2, 0))


@pytest.mark.parametrize("place", [0, 1, 3])
def test_mates_and_place_change_no_bit_in_a_batch_of_one_size(place):
    expected = run(make_engine((4,))[0], make_row("mine"))["mine"]
    mates = [make_row("a", seed=7), make_row("b", seed=8, sampler="lcm"), make_row("c", seed=9, steps=2)]
    mates.insert(place, make_row("mine"))
    assert torch.equal(run(make_engine((4,))[0], *mates)["mine"], expected)


def test_rows_of_other_lengths_samplers_and_ages_share_calls_and_come_out_as_if_alone():
    specs = {
        "a": {"seed": 2, "steps": 8},
        "b": {"seed": 3, "steps": 2, "sampler": "lcm"},
        "c": {"seed": 4, "steps": 5, "sampler": "euler-linspace"},
    }
    engine, toy = make_engine()
    engine.add(make_row("a", **specs["a"]))
    engine.tick()
    together = run(engine, make_row("b", **specs["b"]), make_row("c", **specs["c"]))
    assert [count for count, _ in toy.calls] == [1, 4, 4, 2, 2, 2, 1, 1]  # three rows are filled up to four
    for job, spec in specs.items():
        assert is_close(together[job], run(make_engine()[0], make_row(job, **spec))[job])


def test_rows_of_two_variants_never_share_a_call():
    engine, toy = make_engine()
    doubled, plain = make_row("doubled", variant=2.0), make_row("plain")
    pixels = run(engine, doubled, plain, make_row("plain too", seed=2))
    assert toy.calls == [(1, 2.0), (2, None)] * 4
    assert not torch.equal(pixels["doubled"], pixels["plain"])


@torch.inference_mode()
@pytest.mark.parametrize("side", [SIDE, 2 * SIDE])
def test_a_refinement_puts_noise_on_the_picture_and_runs_the_rest_of_the_longer_plan(side):
    """By hand, from the finished latent."""
    row = with_refinement(make_row(), side=side)
    plan, first, words = row.refinement.plan, row.refinement.first, row.refinement.conditioning.tokens.mean(0)[None]
    [picture] = run(make_engine()[0], make_row()).values()
    x = ToyDecoder().resized(picture.permute(2, 0, 1)[None], side, side)
    sigma = plan.steps[first].t / 1000
    x = (1 - sigma) * x + sigma * noise(row.seed, 51, (CHANNELS, side, side), CPU)
    for step in plan.steps[first:]:
        x = x + step.b * Toy().net(x, torch.tensor([step.t / 1000]), words)
    assert is_close(run(make_engine()[0], row)["job"], x[0].permute(1, 2, 0))


@pytest.mark.parametrize("ticks", [0, 2, 5])
def test_a_cancelled_row_leaves_at_the_next_tick_in_either_phase_and_its_mate_stays(ticks):
    engine, _ = make_engine()
    engine.add(with_refinement(make_row("goes")))
    engine.add(make_row("stays", seed=2, steps=8))
    for _ in range(ticks):
        engine.tick()
    engine.cancel("goes")
    report = engine.tick()
    assert [(row.job_id, reason) for row, reason in report.left] == [("goes", "cancelled")]
    assert [row.job_id for row in report.stepped] == ["stays"]
    assert list(run(engine)) == ["stays"]


@torch.inference_mode()
def test_a_preview_shows_the_clean_guess_and_the_last_one_is_the_picture():
    row = make_row(wants_previews=True)
    engine, toy = make_engine()
    engine.add(row)
    start = row.latent
    engine.tick()
    sigma = row.plan.steps[0].t / 1000
    direction = toy.net(start[None], torch.tensor([sigma]), row.conditioning.tokens.mean(0)[None])[0]
    assert is_close(row.clean, start - sigma * direction)
    run(engine)
    torch.testing.assert_close(row.clean, row.latent)
