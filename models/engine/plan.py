"""A sampler is a table: per step (t, a, b, c), and x' = a*x + b*m + c*z.

x is the latent, m the network's prediction and z fresh noise. What x and m mean depends on the *process*: how noise was
mixed into pictures in training, and so how samplers remove it. Rows of different samplers and lengths share one network
call and this one line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_STEPS = 50


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One row's step: the timestep that the network sees and the three numbers of the update.

    A process has integer `t` only, or float `t` only. `clean` holds the factors of x and m that give the network's
    present guess of the clean latent, for previews.
    """

    t: float
    a: float
    b: float
    c: float
    clean: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Plan:
    """A row's steps from noise to picture. `initial_scale` turns unit noise into the first latent."""

    steps: tuple[PlanStep, ...]
    initial_scale: float

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True, slots=True)
class Level:
    """A noise level, x = alpha*x0 + sigma*z: the weights of picture and noise in a latent."""

    alpha: float
    sigma: float


class Process(Protocol):
    """The forward process that a network was trained on, and the samplers that undo it."""

    @property
    def samplers(self) -> Sequence[str]: ...

    def plan(self, sampler: str, num_steps: int) -> Plan:
        """The plan of one of `samplers`. Call `make_plan` instead, which checks the arguments."""
        ...

    def level_at(self, t: float) -> Level:
        """The noise level of a latent at timestep `t`."""
        ...


def make_plan(sampler: str, num_steps: int, process: Process) -> Plan:
    """Make the table for `num_steps` steps (1 to 50).

    Raises ValueError for a sampler that the process does not have or a step count out of range.
    """
    if not 1 <= num_steps <= MAX_STEPS:
        raise ValueError(f"{num_steps} steps: from 1 to {MAX_STEPS} are possible")
    if sampler not in process.samplers:
        raise ValueError(f"sampler {sampler!r} is not one of {', '.join(process.samplers)}")
    return process.plan(sampler, num_steps)
