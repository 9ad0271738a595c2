"""Makes a drawing look more like a snapshot, so that the face networks do not learn what only drawings have."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SOFTNESSES = 4  # in a batch


def snapshot(x: Tensor, generator: torch.Generator, *, occlude: bool = True) -> Tensor:
    """[B, 3, H, W] in 0..1 -> the same: light, camera and noise of its own for each; four softnesses in a batch."""
    x = _white_balance(x, generator)
    x = _shadow(x, generator)
    x = _skin_texture(x, generator)
    if occlude:
        x = _occlude(x, generator)
    x = _soften(x, generator)
    x = _saturation(x, generator)
    noise = torch.randn(x.shape, generator=generator) * _uniform(generator, x, 0.0, 0.05)
    return (x + noise).clamp(0, 1)


def _uniform(generator: torch.Generator, x: Tensor, low: float, high: float, channels: int = 1) -> Tensor:
    """One number per picture (and channel), [B, channels, 1, 1]."""
    return low + (high - low) * torch.rand(len(x), channels, 1, 1, generator=generator)


def _white_balance(x: Tensor, generator: torch.Generator) -> Tensor:
    """Seldom far off: a camera measures its light, and who looks past all brightness cannot tell a light skin."""
    wrong = _uniform(generator, x, 0, 1).square()
    x = x.clamp(0, 1) ** (1 + wrong * _uniform(generator, x, -0.25, 0.35))
    x = x * (1 + wrong * _uniform(generator, x, -0.3, 0.25)) * (1 + wrong * _uniform(generator, x, -0.1, 0.1, 3))
    contrast = 1 + wrong * _uniform(generator, x, -0.25, 0.2)
    return (x - 0.5) * contrast + 0.5


def _shadow(x: Tensor, generator: torch.Generator) -> Tensor:
    """Light that falls off to one side."""
    height, width = x.shape[-2:]
    angle = _uniform(generator, x, 0.0, 2 * math.pi)
    across = torch.linspace(-1, 1, width)[None, None, None] * torch.cos(angle)
    down = torch.linspace(-1, 1, height)[None, None, :, None] * torch.sin(angle)
    steep = _uniform(generator, x, 0.6, 4.0)
    return x * (1 + _uniform(generator, x, 0.0, 0.32) * torch.tanh((across + down) * steep))


def _skin_texture(x: Tensor, generator: torch.Generator) -> Tensor:
    """Blotches of several sizes: flat fills are what gives a drawing away."""
    for cells in (7, 14, 28):
        blotches = torch.randn(len(x), 1, cells, cells, generator=generator)
        blotches = F.interpolate(blotches, x.shape[-2:], mode="bilinear")
        x = x + blotches * _uniform(generator, x, 0.0, 0.035)
    return x


def _occlude(x: Tensor, generator: torch.Generator) -> Tensor:
    """A soft-edged patch of one colour over a fifth of the pictures, seldom in the middle."""
    height, width = x.shape[-2:]
    rows = torch.linspace(-1, 1, height)[None, None, :, None]
    columns = torch.linspace(-1, 1, width)[None, None, None]
    angle = _uniform(generator, x, 0.0, 2 * math.pi)
    reach = _uniform(generator, x, 0.7, 1.1)
    distance = ((columns - reach * torch.cos(angle)) ** 2 + (rows - reach * torch.sin(angle)) ** 2).sqrt()
    mask = torch.sigmoid((_uniform(generator, x, 0.15, 0.5) - distance) * 30)
    mask = mask * (_uniform(generator, x, 0, 1) < 0.2)
    return x * (1 - mask) + mask * _uniform(generator, x, 0, 1, channels=3)


def _soften(x: Tensor, generator: torch.Generator) -> Tensor:
    """Every fourth picture alike: of a batch that is soft as a whole, batch norm learns what holds for no picture."""
    softened = x.clone()
    for first in range(min(SOFTNESSES, len(x))):
        softened[first::SOFTNESSES] = _softened(x[first::SOFTNESSES], generator)
    return softened


def _softened(x: Tensor, generator: torch.Generator) -> Tensor:
    kind = float(torch.rand((), generator=generator))
    size = x.shape[-2:]
    if kind < 0.25:
        return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    if kind < 0.5:
        share = 0.35 + 0.5 * float(torch.rand((), generator=generator))
        small = F.interpolate(x, scale_factor=share, mode="bilinear", antialias=True)
        return F.interpolate(small, size, mode="bilinear")
    if kind < 0.6:  # what strong compression does: 8x8 blocks lose their detail
        means = F.interpolate(F.avg_pool2d(x, 8, ceil_mode=True), scale_factor=8)[..., : size[0], : size[1]]
        return 0.6 * x + 0.4 * means
    return x


def _saturation(x: Tensor, generator: torch.Generator) -> Tensor:
    """Paler or deeper, for cameras err both ways, and some black and white."""
    paler = _uniform(generator, x, -0.35, 0.35)
    paler = torch.where(_uniform(generator, x, 0, 1) < 0.06, torch.ones_like(paler), paler)
    return x * (1 - paler) + x.mean(dim=1, keepdim=True) * paler
