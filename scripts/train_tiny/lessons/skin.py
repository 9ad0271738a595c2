"""Skin's colour in pictures of a network, with gradients, and by how much it leans for people of like tone."""

import numpy as np
import torch
from torch import Tensor

from scripts.train_tiny.drawing.person import TONE_GROUPS, tone_group
from scripts.train_tiny.drawing.skin_patches import skin_patches

MIDDLE = 0.2  # of the skin's pixels, by each number of their colours, say what the skin's is
LATELY = 0.95  # of a mean stays with each further portrait: about the last twenty count
XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))  # of linear sRGB
WHITE = (0.9505, 1.0, 1.089)  # D65


class Lean:
    """By how much the skin of each two tones has lately been off in the mean, in CIELAB; pushes against it.

    Squared errors alone draw all skin towards the middle, because a selfie does not tell its tone exactly.
    """

    def __init__(self) -> None:
        self._means = torch.zeros(TONE_GROUPS, 3)

    def __call__(self, off: Tensor, tones: list[float]) -> Tensor:
        """Off by [B, 3], drawn in tones of 0..9: a loss whose gradient is about that of half the means' squares."""
        groups = [tone_group(tone) for tone in tones]
        for group, shift in zip(groups, off.detach(), strict=True):
            self._means[group].lerp_(shift, 1 - LATELY)
        return (self._means[groups] * off).sum(1).mean()


def skin_colours(pictures: Tensor, landmarks: list[np.ndarray]) -> Tensor:
    """CIELAB [N, 3] of [N, 3, H, W] in -1..1, with gradients: of each channel's middle fifth on cheeks and forehead.

    The judge's median, but of some hundred pixels and not of one. Not the mean of all: hair and glasses that reach in
    there are dark, and where skin is all too dark but hair too soft the one error hides the other.
    """
    colours: list[Tensor] = []
    for picture, points in zip(pictures, landmarks, strict=True):
        patches = skin_patches(points, (picture.shape[1], picture.shape[2]))
        pixels = torch.cat([picture[:, rows, columns].flatten(1) for rows, columns in patches], 1)
        ordered = to_lab(pixels.T).sort(dim=0).values
        outside = round(len(ordered) * (1 - MIDDLE) / 2)
        colours.append(ordered[outside : len(ordered) - outside].mean(0))
    return torch.stack(colours)


def to_lab(colours: Tensor) -> Tensor:
    """CIELAB [N, 3] under D65, where equal distances look about equal, of sRGB [N, 3] in -1..1.

    CIE 1976 L*a*b* (ISO/CIE 11664-4) over IEC 61966-2-1's sRGB. Black is kept a little away from 0, where the
    cube root's slope is infinite, and torch.where would pass it on as NaN.
    """
    srgb = ((colours + 1) / 2).clamp(1e-3, 1)
    linear = torch.where(srgb > 0.04045, ((srgb + 0.055) / 1.055) ** 2.4, srgb / 12.92)
    share = linear @ torch.tensor(XYZ).T / torch.tensor(WHITE)
    dark = (24389 / 27 * share + 16) / 116
    x, y, z = torch.where(share > 216 / 24389, share ** (1 / 3), dark).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)
