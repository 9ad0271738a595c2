"""Random networks made on the device, and the inputs of rows for them.

Normal weights, not zeros: a GPU that multiplies zeros draws less power and clocks higher than it ever would at work.
"""

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from models.bundle.modules import Place
from scripts.gpu.shapes import FACE_TOKENS, Shapes

SEED = 20
TEXT_TOKENS = 77
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Networks:
    unet: UNet2DConditionModel
    net: ControlNetModel
    vae: AutoencoderKL

    @classmethod
    def random(cls, shapes: Shapes, place: Place) -> "Networks":
        return cls(
            _random(UNet2DConditionModel, shapes.unet, place),
            _random(ControlNetModel, shapes.net, place),
            _random(AutoencoderKL, shapes.vae, place),
        )


@dataclass(frozen=True, slots=True)
class PersonInputs:
    """What an encoded prompt, a face and keypoints bring; the same for all that is measured."""

    embeds: Tensor  # [77, D]
    pooled: Tensor  # [P]
    tokens: Tensor  # [16, D]

    @classmethod
    def random(cls, shapes: Shapes, place: Place) -> "PersonInputs":
        generator = torch.Generator(place.device).manual_seed(SEED)
        width = shapes.unet["cross_attention_dim"]

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, device=place.device, dtype=place.dtype, generator=generator)

        return cls(draw(TEXT_TOKENS, width), draw(shapes.pooled_width), draw(FACE_TOKENS, width))


def keypoint_picture(size: int) -> Tensor:
    """[size, size, 3] uint8."""
    return torch.randint(0, 256, (size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(SEED))


def unit_noise(seed: int, batch: int, size: int, shapes: Shapes) -> Tensor:
    side = size // shapes.factor
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, shapes.vae["latent_channels"], side, side, generator=generator)


def _random(kind: type[M], config: dict[str, Any], place: Place) -> M:
    with torch.device("meta"):
        module = kind.from_config(config)  # pyright: ignore[reportAttributeAccessIssue]
    nn.Module.to(module, place.dtype)  # diffusers' own warns of layers that it would keep in float32: none
    module = module.to_empty(device=place.device).eval().requires_grad_(False)
    generator = torch.Generator(place.device).manual_seed(SEED)
    for name, parameter in module.named_parameters():
        _fill(name, parameter, generator)
    return module.to(memory_format=torch.channels_last)


def _fill(name: str, parameter: Tensor, generator: torch.Generator) -> None:
    """Scaled by fan-in, and norms about 1, so that numbers neither die nor grow on the way through."""
    if parameter.dim() == 1:
        mean = 1.0 if name.endswith("weight") else 0.0
        parameter.normal_(mean, 0.02, generator=generator)
    else:
        parameter.normal_(0.0, 1 / math.sqrt(parameter[0].numel()), generator=generator)
