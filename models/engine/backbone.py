"""What the engine asks of a backbone: a prediction for every row, and pictures of latents."""

from collections.abc import Hashable, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

C = TypeVar("C")  # what steers a row: each backbone has its own kind, and the engine only hands it on
C_contra = TypeVar("C_contra", contravariant=True)
Variant = Hashable  # which of its weights a network is to use, such as a style LoRA; the engine only compares


class Denoises(Protocol[C_contra]):
    """A network, or several behind one call."""

    device: torch.device

    def predict(
        self,
        latents: Tensor,
        timesteps: Tensor,
        rows: Sequence[tuple[C_contra, int]],
        guidance: Tensor | None,
        variant: Any,
        /,
    ) -> Tensor:
        """[B, C, h, w] in float32, what the network predicts for each row, whatever rows are beside it.

        latents: [B, C, h, w]. timesteps: [B], of the rows' plans. rows: each one's conditioning and step. guidance:
        [B] scales, None if none of the rows is guided. variant: their key's.
        """
        ...


class Decodes(Protocol):
    """[B, C, h, w] latents to pictures [B, H, W, 3] uint8, or to latents of the same pictures at another size."""

    def decode(self, latents: Tensor) -> Tensor: ...

    def resized(self, latents: Tensor, width: int, height: int) -> Tensor: ...
