"""A row: one image in progress, with everything that it needs. And the noise that belongs to it."""

import hashlib
from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.engine.plan import Plan, PlanStep
from models.sdxl.conditioning import RowConditioning
from models.sdxl.lora_choice import LoraChoice


@dataclass(frozen=True, slots=True)
class BatchKey:
    """Rows with equal keys may share a UNet call: same weights, same shapes. Everything else is free."""

    bundle: str
    unet: str  # the denoiser's name
    width: int
    height: int
    guided: bool
    lora: LoraChoice | None = None


@dataclass(slots=True, eq=False)
class Row:
    """One image of one job. `step` counts the steps made; the engine is the only one who advances it.

    latent: [C, h, w] float32 in variance-preserving coordinates. deadline: on the engine's clock, in seconds.
    """

    job_id: str
    index: int
    seed: int
    key: BatchKey
    plan: Plan
    conditioning: RowConditioning
    guidance: float
    deadline: float
    latent: Tensor
    wants_previews: bool = False
    step: int = 0
    clean: Tensor | None = field(default=None, repr=False)

    @property
    def now(self) -> PlanStep:
        return self.plan.steps[self.step]

    @property
    def is_finished(self) -> bool:
        return self.step >= len(self.plan)


def noise(seed: int, draw: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Standard normal noise that depends on the row's own seed and which draw it is, and on nothing else.

    Draw 0 is the initial latent, draw k+1 the fresh noise of step k. Drawn on the CPU, so that every device gets the
    same picture; hashed, because neighbouring seeds of a Mersenne twister are correlated and it reads only 32 bits.
    """
    digest = hashlib.blake2b(f"{seed}:{draw}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") & (2**63 - 1))
    return torch.randn(shape, generator=generator).to(device)


def initial_latent(seed: int, plan: Plan, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return noise(seed, 0, shape, device) * plan.initial_scale
