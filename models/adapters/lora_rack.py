"""One LoRA at a time on a model's weights, put on and taken off between calls.

Weights change in place, so that captured graphs and compiled code run on. The bare bits of every changed weight are
kept meanwhile and copied back: subtracting an update would leave rounding behind, swap after swap.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.adapters.lora import part_of, updated, weight_of
from models.adapters.lora_shelf import LoraShelf
from models.sdxl.lora_choice import LoraChoice


class LoraRack:
    """Owns what the weights of its models wear; nothing else may change them. Belongs to the thread that runs them."""

    def __init__(self, models: Mapping[str, nn.Module], shelf: LoraShelf) -> None:
        """`models` are the components that this rack dresses; a LoRA's updates of other components are not its own."""
        self._models = models
        self._shelf = shelf
        self._bare: dict[str, Tensor] = {}  # of the weights that wear something, by path
        self._worn: LoraChoice | None = None

    @torch.inference_mode()
    def wear(self, wanted: LoraChoice | None) -> bool:
        """The weights as they were loaded, plus `wanted` alone. False, and free, if it is worn already."""
        if wanted == self._worn:
            return False
        self._take_off()
        if wanted is None:
            return True
        try:
            self._put_on(wanted)
        except BaseException:  # out of memory, say: the next call must find bare weights
            self._take_off()
            raise
        return True

    def _put_on(self, wanted: LoraChoice) -> None:
        for path, update in part_of(self._shelf.take(wanted.name), self._models).items():
            weight = weight_of(self._models, path)
            self._bare[path] = weight.clone()
            weight.copy_(updated(weight, [(update, wanted.scale)]))
        self._worn = wanted

    def _take_off(self) -> None:
        for path, bare in self._bare.items():
            weight_of(self._models, path).copy_(bare)
        self._bare.clear()
        self._worn = None
