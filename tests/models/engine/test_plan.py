"""Every sampler's table against diffusers' scheduler object, step by step, on the same predictions and noise."""

from unittest.mock import patch

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    TCDScheduler,
)

from models.engine.plan import make_plan
from models.engine.variance_preserving import VariancePreserving

SDXL = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
TOLERANCE = 1e-4  # float32 noise of the oracle: its own sigmas are float32


def fixed_noise(count):
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(1, 4, 8, 8, generator=generator) for _ in range(count)]


def run_plan(plan, start, predictions, noises):
    x = start * plan.initial_scale
    for step, m, z in zip(plan.steps, predictions, noises, strict=True):
        x = step.a * x + step.b * m + step.c * z
    return x


def run_oracle(scheduler, num_steps, start, predictions, noises, **step_arguments):
    """The scheduler's own loop; its `randn_tensor` calls are served from `noises` in order."""
    scheduler.set_timesteps(num_steps)
    x = start * scheduler.init_noise_sigma
    queue = iter(noises)
    module = type(scheduler).__module__
    with patch(f"{module}.randn_tensor", lambda *_, **__: next(queue)):
        for t, m in zip(scheduler.timesteps, predictions, strict=True):
            scheduler.scale_model_input(x, t)
            x = scheduler.step(m, t, x, return_dict=False, **step_arguments)[0]
    return x, scheduler.timesteps


ORACLES = {
    "euler": (EulerDiscreteScheduler, {"timestep_spacing": "trailing"}, {}),
    "euler-leading": (EulerDiscreteScheduler, {"timestep_spacing": "leading", "steps_offset": 1}, {}),
    "ddim": (
        DDIMScheduler,
        {"timestep_spacing": "trailing", "clip_sample": False, "set_alpha_to_one": True},
        {},
    ),
    "ddim-first-alpha": (
        DDIMScheduler,
        {"timestep_spacing": "trailing", "clip_sample": False, "set_alpha_to_one": False},
        {},
    ),
    "lcm": (LCMScheduler, {"clip_sample": False}, {}),
    "tcd": (TCDScheduler, {"clip_sample": False}, {"eta": 0.3}),
    "euler-ancestral": (EulerAncestralDiscreteScheduler, {"timestep_spacing": "trailing"}, {}),
}

# Where n does not divide 1000, DDIMScheduler steps to t - 1000 // n, which is not its own next timestep: no oracle.
CASES = [
    (name, n) for name in ORACLES for n in (1, 2, 3, 4, 6, 8, 20, 50) if not (name.startswith("ddim") and 1000 % n)
]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' ancestral scheduler
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(("name", "num_steps"), CASES)
def test_plan_equals_the_diffusers_scheduler(name, num_steps, prediction):
    scheduler_class, config, step_arguments = ORACLES[name]
    scheduler = scheduler_class(**SDXL, **config, prediction_type=prediction)
    start, *predictions = fixed_noise(num_steps + 1)
    noises = fixed_noise(2 * num_steps + 1)[num_steps + 1 :]
    expected, timesteps = run_oracle(scheduler, num_steps, start, predictions, noises, **step_arguments)

    sampler = "ddim" if name.startswith("ddim") else name
    process = VariancePreserving(prediction=prediction, final_alpha_is_one=name != "ddim-first-alpha", gamma=0.3)
    plan = make_plan(sampler, num_steps, process)

    assert [step.t for step in plan.steps] == [int(t) for t in timesteps]
    result = run_plan(plan, start, predictions, noises)
    assert (result - expected).abs().max() <= TOLERANCE * max(1.0, expected.abs().max().item())


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
def test_tcd_gamma_spans_ddim_to_full_noise(gamma):
    scheduler = TCDScheduler(**SDXL, clip_sample=False)
    start, *predictions = fixed_noise(5)
    noises = fixed_noise(9)[5:]
    expected, _ = run_oracle(scheduler, 4, start, predictions, noises, eta=gamma)
    result = run_plan(make_plan("tcd", 4, VariancePreserving(gamma=gamma)), start, predictions, noises)
    assert (result - expected).abs().max() <= TOLERANCE * expected.abs().max()


def test_lightning_table_has_the_published_numbers():
    steps = make_plan("euler", 4, VariancePreserving()).steps
    assert [s.t for s in steps] == [999, 749, 499, 249]
    assert [round(s.a, 6) for s in steps] == [3.485786, 2.214450, 1.559649, 1.216772]
    assert [round(s.b, 6) for s in steps] == [-2.506379, -1.300941, -0.755837, -0.693205]


def test_a_sample_prediction_of_one_step_returns_the_networks_output():
    plan = make_plan("euler", 1, VariancePreserving(prediction="sample"))
    start, m = fixed_noise(2)
    assert torch.allclose(run_plan(plan, start, [m], [torch.zeros_like(m)]), m, atol=1e-5)


@pytest.mark.parametrize("num_steps", [0, -1, 51])
def test_a_step_count_out_of_range_is_refused_with_the_limits(num_steps):
    with pytest.raises(ValueError, match=rf"{num_steps} steps: from 1 to 50"):
        make_plan("euler", num_steps, VariancePreserving())


def test_an_unknown_sampler_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'dpm' is not one of euler, euler-leading, ddim, lcm, tcd, euler-ancestral"):
        make_plan("dpm", 4, VariancePreserving())
