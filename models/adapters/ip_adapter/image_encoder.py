"""CLIP's image tower up to its last layer but one, whose patches say more of a face than the pooled end does."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from models.adapters.clip import filled


class ImageEncoder(nn.Module):
    """Drops what comes after the penultimate layer: it would be computed and thrown away."""

    def __init__(self, tower: CLIPVisionModelWithProjection) -> None:
        super().__init__()
        self.image_size = cast(int, tower.config.image_size)
        self._tower = tower.vision_model
        del self._tower.encoder.layers[-1]
        self._tower.post_layernorm = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]

    def forward(self, pixels: Tensor) -> Tensor:
        """[N, 3, S, S] -> [N, 1 + patches, W]."""
        return self._tower(pixels).last_hidden_state


def load_image_encoder(
    config: Mapping[str, Any], state: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype
) -> ImageEncoder:
    """From the published folder `models/image_encoder`. Raises RuntimeError naming missing and unexpected keys."""
    with torch.device("meta"):
        tower = CLIPVisionModelWithProjection(CLIPVisionConfig(**config))
    return ImageEncoder(filled(tower, state, device, dtype))
