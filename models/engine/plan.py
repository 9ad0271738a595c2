"""A sampler is a table: per step (t, a, b, c), and x' = a*x + b*m + c*z.

x is the latent, m the network's prediction and z fresh noise. What x and m are is the business of the *process*: how
noise was mixed into pictures when the network was trained, and so how samplers take it out again. Rows of different
samplers and lengths share one network call and this one line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_STEPS = 50


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One row's step: the timestep that the network sees and the three numbers of the update.

    All `t` of a process are integers, or none. `clean` holds the two factors of x and m that give the network's present
    guess of the clean latent, for previews.
    """

    t: float
    a: float
    b: float
    c: float
    clean: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a row does from noise to picture. `initial_scale` turns unit noise into the first latent."""

    steps: tuple[PlanStep, ...]
    initial_scale: float

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True, slots=True)
class Level:
    """A noise level: x = alpha*x0 + sigma*z, the shares of the picture and of the noise in a latent."""

    alpha: float
    sigma: float


class Process(Protocol):
    """The forward process that a network was trained on, and the samplers that undo it."""

    @property
    def samplers(self) -> Sequence[str]: ...

    def plan(self, sampler: str, num_steps: int) -> Plan:
        """By one of `samplers`; to be asked through `make_plan`, which checks."""
        ...

    def level_at(self, t: float) -> Level:
        """How noisy a latent is that the network sees at timestep `t`."""
        ...


def make_plan(sampler: str, num_steps: int, process: Process) -> Plan:
    """The table for `num_steps` steps (1 to 50).

    Raises ValueError for a sampler that the process does not have or a step count out of range.
    """
    if not 1 <= num_steps <= MAX_STEPS:
        raise ValueError(f"{num_steps} steps: from 1 to {MAX_STEPS} are possible")
    if sampler not in process.samplers:
        raise ValueError(f"sampler {sampler!r} is not one of {', '.join(process.samplers)}")
    return process.plan(sampler, num_steps)
