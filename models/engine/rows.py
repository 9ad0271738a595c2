"""A row, which is one image in progress with everything that it needs, and its noise."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Generic

import torch
from torch import Tensor

from models.engine.backbone import C, Variant
from models.engine.plan import MAX_STEPS, Level, Plan, PlanStep


@dataclass(frozen=True, slots=True)
class BatchKey:
    """Rows with equal keys may share a network call: same weights, same shapes. Everything else may differ."""

    bundle: str
    network: str  # its name in the bundle
    width: int
    height: int
    guided: bool
    variant: Variant = None


DRAWS_A_PHASE = MAX_STEPS + 1  # the first latent's noise, and fresh noise after each step


@dataclass(frozen=True, slots=True)
class Refinement(Generic[C]):
    """How a finished row continues: its picture gets the noise of step `first` and goes through the rest of `plan`.

    If `key` has a larger size, the picture is enlarged first.
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
    """One image of one job. `step` counts the steps made; only the engine advances it.

    latent: [C, h, w] float32, in the coordinates of the plan's process. deadline: on the engine's clock, in seconds.
    A row with a `refinement` is followed by another of the next `phase`: the same image, job and deadline.
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
        """The image's steps made so far, over all phases."""
        return self.step - self.steps_skipped

    @property
    def steps_wanted(self) -> int:
        later = self.refinement.num_steps if self.refinement else 0
        return len(self.plan) - self.steps_skipped + later

    @property
    def next_draw(self) -> int:
        """The number of the noise draw for the present step or, if the row is finished, for its refinement."""
        return (self.phase + 1) * DRAWS_A_PHASE if self.is_finished else self.phase * DRAWS_A_PHASE + self.step + 1

    def refined(self, picture: Tensor, fresh: Tensor) -> "Row[C]":
        """The row that follows. `picture` is the finished latent in the next size, `fresh` unit noise of its shape."""
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
    """Standard normal noise that depends only on the row's seed and the number of the draw.

    Draw 0 is the initial latent, draw k+1 the fresh noise of step k; a refinement continues from DRAWS_A_PHASE. It is
    drawn on the CPU, so that every device gets the same picture, and sent to a GPU from pinned memory, so that the next
    row's is drawn during the step. Seed and draw are hashed, because neighbouring seeds of a Mersenne twister are
    correlated and it reads only 32 bits.
    """
    digest = hashlib.blake2b(f"{seed}:{draw}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") & (2**63 - 1))
    drawn = torch.randn(shape, generator=generator, pin_memory=device.type == "cuda")
    return drawn.to(device, non_blocking=True)


def initial_latent(seed: int, plan: Plan, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return noise(seed, 0, shape, device) * plan.initial_scale
