"""Everything but the latent that a row brings to the UNet, and how rows stack."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.sdxl.attention import ImageBatch, ImagePrompt, stack_images
from models.sdxl.control import Control


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Prompt:
    """One encoded prompt: the token embeddings for cross-attention and the pooled one for `text_time`.

    Equal only to itself: what is made of a prompt is kept as long as the prompt.
    """

    embeds: Tensor  # [77, D]
    pooled: Tensor  # [P]


@dataclass(frozen=True, slots=True)
class Branch:
    """What one row brings to one side of a network call: towards its prompt, or (under guidance) against another."""

    prompt: Prompt
    time_ids: Tensor  # [6]
    image: ImagePrompt | None
    controls: Sequence[Control]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowConditioning:
    """What one row is steered by, over all of its steps.

    Steps 0 to `merge_step` see `plain` (no identity in the text); later ones see `personal`. -1 gives the identity
    from the first step on. An identity beside the text is in `image` and `controls`. What is called negative is
    needed only under guidance.
    """

    personal: Prompt
    plain: Prompt
    merge_step: int
    negative: Prompt | None
    time_ids: Tensor  # [6]: original height, width, crop top, left, target height, width
    image: ImagePrompt | None = None
    negative_image: ImagePrompt | None = None
    controls: tuple[Control, ...] = ()
    negative_controls: tuple[Control, ...] = ()

    def prompt_at(self, step: int) -> Prompt:
        return self.plain if step <= self.merge_step else self.personal

    def towards(self, step: int) -> Branch:
        controls = [control for control in self.controls if step in control.steps]
        return Branch(self.prompt_at(step), self.time_ids, self.image, controls)

    def against(self, step: int) -> Branch:
        if self.negative is None:
            raise ValueError("a guided row needs a negative prompt (zeros count as one)")
        controls = [control for control in self.negative_controls if step in control.steps]
        return Branch(self.negative, self.time_ids, self.negative_image, controls)


@dataclass(frozen=True, slots=True)
class Batch:
    """The stacked inputs of one UNet call, in row order."""

    pooled: Tensor  # [B, P]
    time_ids: Tensor  # [B, 6]
    image: ImageBatch | None


def stack(branches: Sequence[Branch]) -> Batch:
    return Batch(
        pooled=torch.stack([branch.prompt.pooled for branch in branches]),
        time_ids=torch.stack([branch.time_ids for branch in branches]),
        image=stack_images([branch.image for branch in branches]),
    )


def time_ids_for(width: int, height: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """SDXL's size conditioning for an uncropped picture of its own size; height comes first."""
    return torch.tensor([height, width, 0, 0, height, width], device=device, dtype=dtype)


def zeros_like(prompt: Prompt) -> Prompt:
    """SDXL base's unconditional branch when no negative prompt is given (`force_zeros_for_empty_prompt`)."""
    return Prompt(torch.zeros_like(prompt.embeds), torch.zeros_like(prompt.pooled))
