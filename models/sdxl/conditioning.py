"""Everything but the latent that a row brings to the UNet, and how rows stack."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Prompt:
    """One encoded prompt: the token embeddings for cross-attention and the pooled one for `text_time`."""

    embeds: Tensor  # [77, D]
    pooled: Tensor  # [P]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowConditioning:
    """What one row is steered by, over all of its steps.

    Steps 0 to `merge_step` see `plain` (no identity); later ones see `personal`. -1 gives the identity from the first
    step on. `negative` is needed only under guidance.
    """

    personal: Prompt
    plain: Prompt
    merge_step: int
    negative: Prompt | None
    time_ids: Tensor  # [6]: original height, width, crop top, left, target height, width

    def prompt_at(self, step: int) -> Prompt:
        return self.plain if step <= self.merge_step else self.personal


@dataclass(frozen=True, slots=True)
class Batch:
    """The stacked inputs of one UNet call, in row order."""

    embeds: Tensor  # [B, 77, D]
    pooled: Tensor  # [B, P]
    time_ids: Tensor  # [B, 6]


def stack(prompts: Sequence[Prompt], time_ids: Sequence[Tensor]) -> Batch:
    return Batch(
        embeds=torch.stack([prompt.embeds for prompt in prompts]),
        pooled=torch.stack([prompt.pooled for prompt in prompts]),
        time_ids=torch.stack(list(time_ids)),
    )


def time_ids_for(width: int, height: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """SDXL's size conditioning for an uncropped picture of its own size; height comes first."""
    return torch.tensor([height, width, 0, 0, height, width], device=device, dtype=dtype)


def zeros_like(prompt: Prompt) -> Prompt:
    """SDXL base's unconditional branch when no negative prompt is given (`force_zeros_for_empty_prompt`)."""
    return Prompt(torch.zeros_like(prompt.embeds), torch.zeros_like(prompt.pooled))
