"""A selfie as the CLIP image tower wants it."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.wire.picture import Picture

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def clip_pixels(picture: Picture, size: int) -> Tensor:
    """[3, size, size] float32: shortest edge to `size` (PIL bicubic on 8 bits), centre crop, CLIP's mean and std.

    Pillow rather than a tensor resize: only that equals CLIPImageProcessor's published behaviour to the bit.
    """
    image = Image.frombytes("RGB", (picture.width, picture.height), picture.pixels)
    short = min(image.size)
    width, height = (int(size * side / short) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    pixels = np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.float64) / 255
    normalised = (pixels - np.array(MEAN)) / np.array(STD)
    return torch.from_numpy(normalised.astype(np.float32)).permute(2, 0, 1)
