"""One LoRA at a time on a model's weights, applied and removed between calls.

Weights change in place, so that captured graphs and compiled code run on. The loaded bits of every changed weight are
kept meanwhile and copied back: subtracting an update would leave rounding behind, swap after swap.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.adapters.lora import part_of, updated, weight_of
from models.adapters.style_loras import StyleLoras
from models.sdxl.lora_choice import LoraChoice


class AppliedLora:
    """The one thing that may change its models' weights. Belongs to the thread that runs them."""

    def __init__(self, models: Mapping[str, nn.Module], loras: StyleLoras) -> None:
        """`models` are the components to change; a LoRA's updates of other components are left out."""
        self._models = models
        self._loras = loras
        self._loaded: dict[str, Tensor] = {}  # what the changed weights were, by path
        self._applied: LoraChoice | None = None

    @torch.inference_mode()
    def apply(self, wanted: LoraChoice | None) -> bool:
        """The weights as they were loaded, plus `wanted` alone. False, and free, if it is applied already."""
        if wanted == self._applied:
            return False
        self._remove()
        if wanted is None:
            return True
        try:
            self._add(wanted)
        except BaseException:  # out of memory, say: the next call must find the loaded weights
            self._remove()
            raise
        return True

    def _add(self, wanted: LoraChoice) -> None:
        for path, update in part_of(self._loras.take(wanted.name), self._models).items():
            weight = weight_of(self._models, path)
            self._loaded[path] = weight.clone()
            weight.copy_(updated(weight, [(update, wanted.scale)]))
        self._applied = wanted

    def _remove(self) -> None:
        for path, loaded in self._loaded.items():
            weight_of(self._models, path).copy_(loaded)
        self._loaded.clear()
        self._applied = None
