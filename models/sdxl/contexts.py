"""What a UNet's cross-attention reads of a prompt, made at the prompt's first step and kept for the others.

Keys and values don't depend on the step. Made inside it they are 140 matrix products of every SDXL call (0.052 TFLOP
and 0.68 GB of weights); made once a prompt they are a copy.
"""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from models.sdxl.attention import keys_values_of
from models.sdxl.conditioning import Prompt
from models.sdxl.lora_choice import LoraChoice

CAPACITY = 64  # prompts; one is 26 MB at SDXL's size in bfloat16


class Contexts:
    """Prompts' keys and values for one UNet. Belongs to the engine's thread.

    A prompt is known by identity: rows of one job, and jobs with one cached prompt, share the object. What was made of
    it goes when it goes, because a prompt may have a person in it; and when `capacity` newer ones have come.
    """

    def __init__(self, unet: nn.Module, capacity: int = CAPACITY) -> None:
        self._unet = unet
        self._capacity = capacity
        self._kept: WeakKeyDictionary[Prompt, dict[LoraChoice | None, Tensor]] = WeakKeyDictionary()

    def stack(self, prompts: Sequence[Prompt], lora: LoraChoice | None) -> Tensor:
        """[B, 77, 2, W] with `lora` on the weights, which the caller has put there."""
        return torch.stack([self._of(prompt, lora) for prompt in prompts])

    def __len__(self) -> int:
        return len(self._kept)

    def _of(self, prompt: Prompt, lora: LoraChoice | None) -> Tensor:
        made = self._kept.setdefault(prompt, {})
        if lora not in made:
            made.clear()  # a prompt's rows seldom have two LoRAs in turn
            made[lora] = keys_values_of(self._unet, prompt.embeds)
            while len(self._kept) > self._capacity:
                del self._kept[next(iter(self._kept.keys()))]
        return made[lora]
