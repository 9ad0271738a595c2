"""The engine's interface to a backbone: a prediction for every row, and pictures from latents."""

from collections.abc import Hashable, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

C = TypeVar("C")  # a row's conditioning: each backbone has its own type, and the engine only passes it on
C_contra = TypeVar("C_contra", contravariant=True)
Variant = Hashable  # which weights a network is to use, such as a style LoRA; the engine only compares it


class Denoises(Protocol[C_contra]):
    """A denoising network, or several behind one call."""

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
        """Predict [B, C, h, w] in float32. A row's prediction does not depend on the rows beside it.

        latents: [B, C, h, w]. timesteps: [B], from the rows' plans. rows: each row's conditioning and step. guidance:
        [B] scales, None if no row is guided. variant: the one in the rows' key.
        """
        ...


class Decodes(Protocol):
    """Decodes latents [B, C, h, w] to pictures [B, H, W, 3] uint8, or resizes them, to latents of another size."""

    def decode(self, latents: Tensor) -> Tensor: ...

    def resized(self, latents: Tensor, width: int, height: int) -> Tensor: ...
