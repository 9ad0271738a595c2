"""Large matrix products in 8-bit floats: each row of activations and of weights with a scale of its own.

Activations are scaled as they come (dynamic), so there is nothing to calibrate; a compiler fuses the scaling with what
made them. torch's own product is used (`torch.nn.functional.scaled_mm`, the kernel that torchao calls too): one layer
class is all that this takes, and it computes the same on a CPU, for tests.
"""

import re
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.functional import ScalingType

from models.sdxl.attention import FusedProjection, processors

STORED = torch.float8_e4m3fn
_LARGEST = torch.finfo(STORED).max
_SMALLEST_SCALE = 1e-12  # a row of zeros stays one

# Of SDXL's linears only the large ones gain: at 1,024 tokens scaling the input of a 1280x1280 product costs what the
# product saves. What is left out beside them reads a context that is projected once a prompt, or one row a picture.
LARGE = 3_000_000  # weights: GEGLU's in at both widths, its out and the fused projection at the inner one
_FEED_FORWARD = re.compile(r"transformer_blocks\.\d+\.ff\.net\.(0\.proj|2)$")


class Fp8Linear(nn.Module):
    """[..., in] -> [..., out] in the input's dtype."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        quantised, scale = quantise(weight)
        self.register_buffer("weight", quantised, persistent=False)
        self.register_buffer("scale", scale.view(1, -1), persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        weight, scale = self.get_buffer("weight"), self.get_buffer("scale")
        rows, row_scale = quantise(x.flatten(0, -2))
        out = F.scaled_mm(
            rows,
            weight.t(),
            row_scale,
            ScalingType.RowWise,
            scale,
            ScalingType.RowWise,
            output_dtype=torch.bfloat16,
            use_fast_accum=weight.is_cuda,
        )
        out = out.to(x.dtype).view(*x.shape[:-1], -1)
        return out if self._buffers["bias"] is None else out + self.get_buffer("bias")


def quantise(rows: Tensor) -> tuple[Tensor, Tensor]:
    """[N, C] -> [N, C] in 8 bits and [N, 1] float32: a row is the first times the second."""
    wide = rows.float()
    scale = (wide.abs().amax(dim=-1, keepdim=True) / _LARGEST).clamp(min=_SMALLEST_SCALE)
    return (wide / scale).clamp(-_LARGEST, _LARGEST).to(STORED), scale


def use_fp8(net: nn.Module, *, large: int = LARGE) -> list[str]:
    """Replace the large linears of a UNet or ControlNet that has our attention; which ones, by name.

    Weights of `large` numbers or more count. LoRAs must have been fused before: none can be applied afterwards.
    """
    replaced = list(_feed_forwards(net, large))
    for name in replaced:
        linear = net.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        net.set_submodule(name, Fp8Linear(linear.weight, linear.bias))
    for number, (layer, processor) in enumerate(processors(net)):
        fused = processor.fused
        if isinstance(fused, FusedProjection) and fused.get_buffer("weight").numel() >= large:
            processor.fused = Fp8Linear(fused.get_buffer("weight"), None)
            layer.to_q = layer.to_k = layer.to_v = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue] - their memory goes
            layer.register_module("fused", processor.fused)  # told and moved with the layer
            replaced.append(f"fused projection {number}")
    return replaced


def _feed_forwards(net: nn.Module, large: int) -> Iterator[str]:
    for name, module in net.named_modules():
        if isinstance(module, nn.Linear) and _FEED_FORWARD.search(name) and module.weight.numel() >= large:
            yield name
