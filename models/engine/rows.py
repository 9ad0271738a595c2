"""A row: one image in progress, with everything that it needs. And the noise that belongs to it."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Generic

import torch
from torch import Tensor

from models.engine.backbone import C, Variant
from models.engine.plan import MAX_STEPS, Level, Plan, PlanStep


@dataclass(frozen=True, slots=True)
class BatchKey:
    """Rows with equal keys may share a network call: same weights, same shapes. Everything else is free."""

    bundle: str
    network: str  # its name in the bundle
    width: int
    height: int
    guided: bool
    variant: Variant = None


DRAWS_A_PHASE = MAX_STEPS + 1  # the first latent's noise, and fresh noise after each step


@dataclass(frozen=True, slots=True)
class Refinement(Generic[C]):
    """What a finished row goes on to: its picture, under the noise of step `first`, through the rest of `plan`.

    `key` may name a larger size: the picture is then enlarged before.
    """

    key: BatchKey
    plan: Plan
    first: int
    level: Level  # of the noise at that step
    conditioning: C

    @property
    def num_steps(self) -> int:
        return len(self.plan) - self.first


@dataclass(slots=True, eq=False)
class Row(Generic[C]):
    """One image of one job. `step` counts the steps made; the engine is the only one who advances it.

    latent: [C, h, w] float32, in the coordinates of the plan's process. deadline: on the engine's clock, in seconds.
    A row with a `refinement` has another row after it, of the next `phase`: the same image, job and deadline.
    """

    job_id: str
    index: int
    seed: int
    key: BatchKey
    plan: Plan
    conditioning: C
    guidance: float
    deadline: float
    latent: Tensor
    wants_previews: bool = False
    step: int = 0
    clean: Tensor | None = field(default=None, repr=False)
    refinement: Refinement[C] | None = None
    phase: int = 0
    steps_skipped: int = 0  # of this plan, less those made in earlier phases

    @property
    def now(self) -> PlanStep:
        return self.plan.steps[self.step]

    @property
    def is_finished(self) -> bool:
        return self.step >= len(self.plan)

    @property
    def steps_made(self) -> int:
        """Of the image's, over all phases."""
        return self.step - self.steps_skipped

    @property
    def steps_wanted(self) -> int:
        later = self.refinement.num_steps if self.refinement else 0
        return len(self.plan) - self.steps_skipped + later

    @property
    def next_draw(self) -> int:
        """The number of the noise that the present step adds; of a finished row, that its refinement begins with."""
        return (self.phase + 1) * DRAWS_A_PHASE if self.is_finished else self.phase * DRAWS_A_PHASE + self.step + 1

    def refined(self, picture: Tensor, fresh: Tensor) -> "Row[C]":
        """The row after this one. `picture` is the finished latent in the next size, `fresh` unit noise like it."""
        then = self.refinement
        assert then is not None
        return replace(
            self,
            key=then.key,
            plan=then.plan,
            conditioning=then.conditioning,
            latent=then.level.alpha * picture + then.level.sigma * fresh,
            step=then.first,
            clean=None,
            refinement=None,
            phase=self.phase + 1,
            steps_skipped=then.first - self.steps_made,
        )


def noise(seed: int, draw: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Standard normal noise that depends on the row's own seed and which draw it is, and on nothing else.

    Draw 0 is the initial latent, draw k+1 the fresh noise of step k, and a refinement goes on from DRAWS_A_PHASE. Drawn
    on the CPU, so that every device gets the same picture, and sent to a GPU from pinned memory, so that the next row's
    is drawn while the GPU is still at the step; hashed, because neighbouring seeds of a Mersenne twister are correlated
    and it reads only 32 bits.
    """
    digest = hashlib.blake2b(f"{seed}:{draw}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") & (2**63 - 1))
    drawn = torch.randn(shape, generator=generator, pin_memory=device.type == "cuda")
    return drawn.to(device, non_blocking=True)


def initial_latent(seed: int, plan: Plan, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return noise(seed, 0, shape, device) * plan.initial_scale
