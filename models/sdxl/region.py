"""A part of the picture, laid out for every resolution of the network."""

from dataclasses import dataclass
from typing import Self

import torch.nn.functional as F
from torch import Tensor

_LEVELS = 4  # SDXL has three; a level that no layer has costs nothing


@dataclass(frozen=True, slots=True)
class Region:
    """Where an identity acts: 1 inside, 0 outside.

    The two kinds of edges are those that InstantID's reference has: hard for attention, soft for residuals.
    """

    tokens: dict[int, Tensor]  # N latent tokens -> [N, 1], nearest
    planes: dict[tuple[int, int], Tensor]  # (h, w) of a level -> [1, h, w], bilinear

    @classmethod
    def of(cls, mask: Tensor, height: int, width: int) -> Self:
        """`mask`: [H, W] floats in 0..1, of the picture. `height`, `width`: of its latent."""
        tokens, planes = {}, {}
        for level in range(_LEVELS):
            size = (-(-height // 2**level), -(-width // 2**level))  # a stride of 2 rounds up
            hard = F.interpolate(mask[None, None], size, mode="nearest")
            tokens[size[0] * size[1]] = hard.view(-1, 1)
            planes[size] = F.interpolate(mask[None, None], size, mode="bilinear", align_corners=False)[0]
        return cls(tokens, planes)
