"""Rectified flow, x = (1 - sigma)*x0 + sigma*z: a straight line, whose direction v = z - x0 the network predicts.

Euler's step is x' = x + (sigma' - sigma)*v. The consistency sampler goes to the clean guess x0 = x - sigma*v and adds
fresh noise: x' = (1 - sigma')*x0 + sigma'*z. The network sees sigma times 1000 as its timestep.

Rectified flow: arXiv 2209.03003; the shift: 2403.03206 (Stable Diffusion 3). Oracle: diffusers'
FlowMatchEulerDiscreteScheduler, in tests/models/engine.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from models.engine.plan import Level, Plan, PlanStep


@dataclass(frozen=True, slots=True, kw_only=True)
class RectifiedFlow:
    """The process with sigma from 1, pure noise, to 0.

    A `shift` above 1 spends more of the steps at high noise, as larger pictures need. FLUX's exponential time shift by
    `mu` is a shift of e^mu.
    """

    shift: float = 1.0
    train_steps: int = 1000

    @property
    def samplers(self) -> Sequence[str]:
        return tuple(_SAMPLERS)

    def plan(self, sampler: str, num_steps: int) -> Plan:
        grid, step = _SAMPLERS[sampler]
        sigmas = [self.shifted(sigma) for sigma in grid(num_steps, self)]
        pairs = zip(sigmas, [*sigmas[1:], 0.0], strict=True)
        return Plan(tuple(step(self.train_steps * now, now, then) for now, then in pairs), initial_scale=sigmas[0])

    def level_at(self, t: float) -> Level:
        sigma = t / self.train_steps
        return Level(1 - sigma, sigma)

    def shifted(self, sigma: float) -> float:
        return self.shift * sigma / (1 + (self.shift - 1) * sigma)


def _strides(num_steps: int, process: RectifiedFlow) -> list[float]:
    """Equal strides down from 1, as in FLUX's pipelines; few-step weights are trained on this grid."""
    return [1 - i / num_steps for i in range(num_steps)]


def _to_the_last(num_steps: int, process: RectifiedFlow) -> list[float]:
    """From 1 down to the last sigma of training, inclusive: Stable Diffusion 3's grid, and the oracle's default.

    The last one is shifted already and will be shifted once more, as in the oracle, because those weights are used so.
    """
    if num_steps == 1:
        return [1.0]
    last = process.shifted(1 / process.train_steps)
    return [1 + (last - 1) * i / (num_steps - 1) for i in range(num_steps)]


def _euler(t: float, now: float, then: float) -> PlanStep:
    return PlanStep(t, 1.0, then - now, 0.0, clean=(1.0, -now))


def _consistency(t: float, now: float, then: float) -> PlanStep:
    return PlanStep(t, 1 - then, -(1 - then) * now, then, clean=(1.0, -now))


_Grid = Callable[[int, RectifiedFlow], list[float]]
_Step = Callable[[float, float, float], PlanStep]

_SAMPLERS: dict[str, tuple[_Grid, _Step]] = {
    "euler": (_strides, _euler),
    "euler-linspace": (_to_the_last, _euler),
    "lcm": (_strides, _consistency),
}
