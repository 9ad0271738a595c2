"""What decoupled cross-attention needs of an adapter: its tokens as keys and values of every layer, in one product."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from models.sdxl.attention import attention_layers, cross_attention_slots


class ImageProjection(nn.Module):
    """All layers' `to_k_ip` and `to_v_ip` as one matrix: tokens go through it once for each identity, not each step."""

    def __init__(self, weight: Tensor) -> None:
        """`weight`: [2 * W, D], keys above values, layers side by side in the order of the UNet's slots."""
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """[T, D] -> [T, 2, W], the `keys_values` of an ImagePrompt."""
        return nn.functional.linear(tokens, self.weight).unflatten(-1, (2, -1))


def load_image_projection(state: Mapping[str, Tensor], unet: nn.Module) -> ImageProjection:
    """From the published keys `{n}.to_k_ip.weight` and `{n}.to_v_ip.weight` of a UNet's cross-attention layers.

    n counts all attention layers, self-attention too, in diffusers' order: down, up, middle last. Read in another
    order most layers still fit by their shapes and the face is lost without an error, so names and shapes must agree
    to the last. Raises ValueError naming what doesn't.
    """
    layers = list(_layers(unet))
    wanted = {key: shape for n, *shape in layers for key in (f"{n}.to_k_ip.weight", f"{n}.to_v_ip.weight")}
    if missing := sorted(wanted.keys() - state.keys()):
        raise ValueError(f"the adapter lacks {len(missing)} weights that this UNet needs, first {missing[0]}")
    if surplus := sorted(state.keys() - wanted.keys()):
        raise ValueError(f"the adapter has {len(surplus)} weights that this UNet has no place for, first {surplus[0]}")
    for key, shape in wanted.items():
        if list(state[key].shape) != shape:
            raise ValueError(f"{key} is {list(state[key].shape)}, this UNet needs {shape}")
    parts = [state[f"{n}.to_{part}_ip.weight"] for part in "kv" for n, *_ in layers]
    return ImageProjection(torch.cat(parts))


def _layers(unet: nn.Module) -> Iterator[tuple[int, int, int]]:
    """(n, rows, columns) of each cross-attention layer."""
    numbers = {name: n for n, (name, _) in enumerate(attention_layers(unet))}
    for name, layer, slot in cross_attention_slots(unet):
        yield numbers[name], slot.stop - slot.start, layer.cross_attention_dim
