"""Layers of a decoder that are one linear map, folded into one.

A tiny decoder without blocks in its last level ends in an upsampling and two convolutions with nothing between them
that bends. On every pixel of the small map that is one convolution to the four pixels that it becomes: a tenth of the
multiplications, at the picture's half size.
"""

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch import Tensor, nn

RING = 2  # rows and columns of the small map that the outermost pixels are made of


class FoldedTail(nn.Module):
    """[B, C, h, w] -> [B, 3, 2h, 2w], as the layers it is made of give it, to rounding.

    They differ at the outermost pixels, where the second convolution meets zeros and not what the first would give
    beyond the edge; these are still made by the layers themselves.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, upsample: nn.Upsample, first: nn.Conv2d, second: nn.Conv2d) -> None:
        super().__init__()
        self.layers = nn.Sequential(upsample, first, second)
        weight, bias = _folded(upsample, first, second)
        self.register_buffer("weight", weight, persistent=False)  # no parameters: they are in no file
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        picture = F.pixel_shuffle(F.conv2d(x, self.weight, self.bias, padding=1), 2)
        top, bottom = self.layers(torch.cat([x[:, :, :RING], x[:, :, -RING:]])).chunk(2)
        left, right = self.layers(torch.cat([x[..., :RING], x[..., -RING:]])).chunk(2)
        picture[:, :, 0], picture[:, :, -1] = top[:, :, 0], bottom[:, :, -1]
        picture[..., 0], picture[..., -1] = left[..., 0], right[..., -1]
        return picture


def fold(vae: AutoencoderTiny) -> AutoencoderTiny:
    """In place, where the decoder ends in such layers; any other stays as it is."""
    layers = vae.decoder.layers
    match list(layers)[-3:]:
        case [nn.Upsample(mode="nearest", scale_factor=2.0) as upsample, nn.Conv2d() as first, nn.Conv2d() as second]:
            if first.bias is None and first.kernel_size == second.kernel_size == (3, 3):
                vae.decoder.layers = nn.Sequential(*list(layers)[:-3], FoldedTail(upsample, first, second))
    return vae


@torch.no_grad()
def _folded(upsample: nn.Upsample, first: nn.Conv2d, second: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight [4 * 3, C, 3, 3] and bias [4 * 3], read off what the layers make of one lit pixel of each channel."""
    channels, colours = first.in_channels, second.out_channels
    lit = torch.zeros(channels, channels, 5, 5, dtype=torch.float64, device=first.weight.device)
    lit[torch.arange(channels), torch.arange(channels), 2, 2] = 1
    between = F.conv2d(upsample(lit), first.weight.double(), padding=1)
    made = F.conv2d(between, second.weight.double(), padding=1)  # [C, 3, 10, 10]
    phases = F.pixel_unshuffle(made, 2)[:, :, 1:4, 1:4]  # [C, 4 * 3, 3, 3], of the pixels around the lit one
    weight = phases.flip(-2, -1).transpose(0, 1)  # a pixel right of the lit one looks to its left
    bias = torch.zeros(colours, device=weight.device) if second.bias is None else second.bias
    layout = torch.channels_last
    return weight.to(first.weight.dtype).contiguous(memory_format=layout), bias.repeat_interleave(4).to(first.weight)
