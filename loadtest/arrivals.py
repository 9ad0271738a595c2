"""When each request of an open-loop run is due and how many steps it asks for; a seed fixes both before the run."""

import random
from dataclasses import dataclass
from typing import Literal

Pattern = Literal["poisson", "even"]

STEPS = (2, 4, 8)
STEPS_WEIGHTS = (1, 2, 1)


@dataclass(frozen=True, slots=True)
class DueRequest:
    due_seconds: float  # after the run's start
    steps: int


def plan_arrivals(pattern: Pattern, rate: float, seconds: float, seed: int) -> list[DueRequest]:
    """Arrivals at `rate` per second on average: independent callers ("poisson") or a metronome ("even")."""
    draw = random.Random(seed)
    plan: list[DueRequest] = []
    due = 0.0
    while True:
        due += draw.expovariate(rate) if pattern == "poisson" else 1 / rate
        if due >= seconds:
            return plan
        plan.append(DueRequest(due, draw_steps(draw)))


def draw_steps(draw: random.Random) -> int:
    return draw.choices(STEPS, STEPS_WEIGHTS)[0]
