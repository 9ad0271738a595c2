"""The straight process's tables against diffusers' flow-match scheduler, step by step, on the same predictions."""

import math
from unittest.mock import patch

import numpy as np
import pytest
from diffusers import FlowMatchEulerDiscreteScheduler

from models.engine.plan import make_plan
from models.engine.rectified_flow import RectifiedFlow
from tests.models.engine.test_plan import fixed_noise, run_plan

STEPS = (1, 2, 4, 8, 28, 50)
TOLERANCE = 1e-5  # float32 noise of the oracle: its own sigmas are float32


def run_oracle(scheduler, start, predictions, noises):
    """The latent after every step. The scheduler's `randn_tensor` calls are served from `noises` in order."""
    x, passed, queue = start, [], iter(noises)
    with patch(f"{type(scheduler).__module__}.randn_tensor", lambda *_, **__: next(queue)):
        for t, v in zip(scheduler.timesteps, predictions, strict=True):
            [x] = scheduler.step(v, t, x, return_dict=False)
            passed.append(x)
    return passed


def strides(num_steps):
    """What FLUX's pipelines give the scheduler."""
    return np.linspace(1.0, 1 / num_steps, num_steps)


def oracle_of(sampler, num_steps, shift):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift, stochastic_sampling=sampler == "lcm")
    if sampler == "euler-linspace":
        scheduler.set_timesteps(num_steps)
    else:
        scheduler.set_timesteps(sigmas=strides(num_steps))
    return scheduler


def is_close(result, expected):
    return (result - expected).abs().max() <= TOLERANCE * max(1.0, expected.abs().max().item())


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("num_steps", STEPS)
@pytest.mark.parametrize("sampler", ["euler", "euler-linspace", "lcm"])
def test_plan_equals_the_diffusers_scheduler(sampler, num_steps, shift):
    scheduler = oracle_of(sampler, num_steps, shift)
    start, *predictions = fixed_noise(num_steps + 1)
    noises = fixed_noise(2 * num_steps + 1)[num_steps + 1 :]
    expected = run_oracle(scheduler, start, predictions, noises)
    plan = make_plan(sampler, num_steps, RectifiedFlow(shift=shift))
    assert [step.t for step in plan.steps] == pytest.approx(scheduler.timesteps.tolist(), rel=1e-6)
    for count in range(1, num_steps + 1):
        shorter = type(plan)(plan.steps[:count], plan.initial_scale)
        assert is_close(run_plan(shorter, start, predictions[:count], noises[:count]), expected[count - 1])


@pytest.mark.parametrize("num_steps", STEPS)
@pytest.mark.parametrize("mu", [0.5, 1.15, 2.3])
def test_the_exponential_time_shift_by_mu_is_a_shift_of_its_exponential(mu, num_steps):
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, time_shift_type="exponential")
    scheduler.set_timesteps(sigmas=strides(num_steps), mu=mu)
    start, *predictions = fixed_noise(num_steps + 1)
    expected = run_oracle(scheduler, start, predictions, [])[-1]
    plan = make_plan("euler", num_steps, RectifiedFlow(shift=math.exp(mu)))
    assert [step.t for step in plan.steps] == pytest.approx(scheduler.timesteps.tolist(), rel=1e-6)
    assert is_close(run_plan(plan, start, predictions, predictions), expected)


@pytest.mark.parametrize("num_steps", STEPS)
@pytest.mark.parametrize("sampler", ["euler", "euler-linspace", "lcm"])
def test_on_the_line_from_picture_to_noise_every_step_shows_the_picture_and_the_last_one_is_there(sampler, num_steps):
    process = RectifiedFlow(shift=3.0)
    picture, noise = fixed_noise(2)
    plan = make_plan(sampler, num_steps, process)
    for step in plan.steps:
        level = process.level_at(step.t)
        x, v = level.alpha * picture + level.sigma * noise, noise - picture
        of_x, of_v = step.clean
        assert is_close(of_x * x + of_v * v, picture)
    assert is_close(run_plan(plan, noise, [noise - picture] * num_steps, [noise] * num_steps), picture)


@pytest.mark.parametrize("num_steps", STEPS)
def test_a_refinement_s_noise_level_is_the_oracle_s(num_steps):
    process = RectifiedFlow(shift=3.0)
    scheduler = oracle_of("euler", num_steps, 3.0)
    picture, noise = fixed_noise(2)
    for step, t in zip(make_plan("euler", num_steps, process).steps, scheduler.timesteps, strict=True):
        level = process.level_at(step.t)
        assert is_close(level.alpha * picture + level.sigma * noise, scheduler.scale_noise(picture, t[None], noise))


def test_the_table_of_four_steps_has_the_numbers_one_expects():
    steps = make_plan("euler", 4, RectifiedFlow()).steps
    assert [(s.t, s.a, s.b, s.c) for s in steps] == [(t, 1.0, -0.25, 0.0) for t in (1000.0, 750.0, 500.0, 250.0)]


def test_a_sampler_of_another_process_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match="'ddim' is not one of euler, euler-linspace, lcm"):
        make_plan("ddim", 4, RectifiedFlow())
