"""The variance-preserving process, x = alpha*x0 + sigma*eps with alpha^2 + sigma^2 = 1, and integer timesteps.

For an epsilon prediction, every few-step sampler in use is

    x' = alpha'*x0 + sqrt(sigma'^2 - c^2)*eps + c*z,    x0 = (x - sigma*eps)/alpha

and differs only in the timesteps and in c, from 0 (DDIM, Euler) over TCD's gamma to sigma' (LCM). Predictions of v or
of the sample are folded into a and b.

Euler: arXiv 2206.00364 and 2402.13929 (Lightning); DDIM: 2010.02502; LCM: 2310.04378; TCD: 2402.19159;
Euler ancestral: k-diffusion, 2311.17042 (Turbo). Oracles: the diffusers schedulers, in tests/models/engine.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from models.engine.plan import Level, Plan, PlanStep

Prediction = Literal["epsilon", "v_prediction", "sample"]
_ORIGINAL_STEPS = 50  # the grid that LCM and TCD were distilled on


@dataclass(frozen=True, slots=True, kw_only=True)
class VariancePreserving:
    """The process that a network was trained on; the defaults are SDXL's."""

    train_steps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    prediction: Prediction = "epsilon"
    final_alpha_is_one: bool = True  # DDIM's `set_alpha_to_one`; Hyper-SD and PCM want False
    gamma: float = 0.3  # TCD's stochasticity: 0 is DDIM, 1 nearly LCM

    @property
    def samplers(self) -> Sequence[str]:
        return tuple(_RULES)

    def plan(self, sampler: str, num_steps: int) -> Plan:
        rule, acp = _RULES[sampler], self.alphas_cumprod()
        grid = rule.grid(num_steps, self.train_steps)
        steps = []
        for t, t_next in zip(grid, [*grid[1:], None], strict=True):
            now = _level(acp[t])
            then = _level(acp[t_next]) if t_next is not None else _final_level(rule, acp, self)
            c = rule.noise(now, then, t_next, acp, self.gamma)
            steps.append(_fold(_affine(t, now, then, c, rule), now, self.prediction))
        first = _level(acp[grid[0]])
        return Plan(tuple(steps), initial_scale=first.sigma if rule.starts_scaled else 1.0)

    def level_at(self, t: float) -> Level:
        return _level(self.alphas_cumprod()[int(t)])

    def alphas_cumprod(self) -> list[float]:
        """Product over t of (1 - beta_t) with sqrt(beta) linear ("scaled_linear"), in float64."""
        low, high = math.sqrt(self.beta_start), math.sqrt(self.beta_end)
        product, result = 1.0, []
        for i in range(self.train_steps):
            product *= 1 - (low + (high - low) * i / (self.train_steps - 1)) ** 2
            result.append(product)
        return result


@dataclass(frozen=True, slots=True)
class _Rule:
    """One sampler: its timesteps, and how much of each step's noise is drawn anew."""

    grid: Callable[[int, int], list[int]]
    noise: Callable[[Level, Level, int | None, list[float], float], float]
    starts_scaled: bool  # Euler starts from sigma_max noise, i.e. sigma*z here; the others from z
    final: Literal["one", "first", "trained"]  # the last step's target: alpha 1, sqrt(acp[0]), or as trained
    boundary: bool = False  # LCM's skip and out scalings


def _level(alpha_cumprod: float) -> Level:
    return Level(math.sqrt(alpha_cumprod), math.sqrt(1 - alpha_cumprod))


def _affine(t: int, now: Level, then: Level, c: float, rule: _Rule) -> PlanStep:
    a = then.alpha / now.alpha
    b = math.sqrt(max(then.sigma**2 - c**2, 0.0)) - then.alpha * now.sigma / now.alpha
    if rule.boundary:
        skip = 0.25 / ((10 * t) ** 2 + 0.25)
        out = 10 * t / math.sqrt((10 * t) ** 2 + 0.25)
        a = then.alpha * (out / now.alpha + skip)
        b = -then.alpha * out * now.sigma / now.alpha
    return PlanStep(t, a, b, c, clean=(1 / now.alpha, -now.sigma / now.alpha))


def _fold(step: PlanStep, now: Level, prediction: Prediction) -> PlanStep:
    """Rewrite an epsilon table for what the network predicts."""
    if prediction == "v_prediction":  # eps = alpha*v + sigma*x, x0 = alpha*x - sigma*v
        a, b, clean = step.a + step.b * now.sigma, step.b * now.alpha, (now.alpha, -now.sigma)
    elif prediction == "sample":  # eps = (x - alpha*x0) / sigma
        a, b, clean = step.a + step.b / now.sigma, -step.b * now.alpha / now.sigma, (0.0, 1.0)
    else:
        return step
    return PlanStep(step.t, a, b, step.c, clean)


def _final_level(rule: _Rule, acp: list[float], process: VariancePreserving) -> Level:
    at_one = rule.final == "one" or (rule.final == "trained" and process.final_alpha_is_one)
    return Level(1.0, 0.0) if at_one else _level(acp[0])


def _trailing_grid(num_steps: int, train_steps: int) -> list[int]:
    """Equal strides down from the noisiest timestep; few-step weights are trained on this grid."""
    return [round(train_steps - i * train_steps / num_steps) - 1 for i in range(num_steps)]


def _leading_grid(num_steps: int, train_steps: int) -> list[int]:
    """Equal strides up from 1, SDXL base's own setting. It never starts from pure noise, so it needs many steps."""
    stride = train_steps // num_steps
    return [i * stride + 1 for i in reversed(range(num_steps))]


def _distilled_grid(num_steps: int, train_steps: int) -> list[int]:
    """Evenly spaced among the 50 timesteps of the consistency distillation."""
    stride = train_steps // _ORIGINAL_STEPS
    origin = [i * stride - 1 for i in range(_ORIGINAL_STEPS, 0, -1)]
    return [origin[math.floor(i * _ORIGINAL_STEPS / num_steps)] for i in range(num_steps)]


def _no_noise(now: Level, then: Level, t_next: int | None, acp: list[float], gamma: float) -> float:
    return 0.0


def _lcm_noise(now: Level, then: Level, t_next: int | None, acp: list[float], gamma: float) -> float:
    return then.sigma if t_next is not None else 0.0


def _tcd_noise(now: Level, then: Level, t_next: int | None, acp: list[float], gamma: float) -> float:
    if t_next is None:
        return 0.0
    middle = acp[math.floor((1 - gamma) * t_next)]
    return math.sqrt(max(1 - then.alpha**2 / middle, 0.0))


def _ancestral_noise(now: Level, then: Level, t_next: int | None, acp: list[float], gamma: float) -> float:
    if t_next is None:
        return 0.0
    sigma, sigma_next = now.sigma / now.alpha, then.sigma / then.alpha  # in the exploding coordinates
    up = math.sqrt(sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2)
    return then.alpha * up


_RULES: dict[str, _Rule] = {
    "euler": _Rule(_trailing_grid, _no_noise, starts_scaled=True, final="one"),
    "euler-leading": _Rule(_leading_grid, _no_noise, starts_scaled=False, final="one"),
    "ddim": _Rule(_trailing_grid, _no_noise, starts_scaled=False, final="trained"),
    "lcm": _Rule(_distilled_grid, _lcm_noise, starts_scaled=False, final="one", boundary=True),
    "tcd": _Rule(_distilled_grid, _tcd_noise, starts_scaled=False, final="first"),
    "euler-ancestral": _Rule(_trailing_grid, _ancestral_noise, starts_scaled=True, final="one"),
}
