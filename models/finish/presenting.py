"""The last touch before a picture is encoded: its size, and on a preview the mark that says so."""

import math

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

_SPAN = 0.8  # of the diagonal that the mark runs along
_HEIGHT = 0.25  # of the shorter side, at most, for a short word
_OPACITY = 0.55
_DRAWN_AT = 100  # letter size in which a text is measured; any will do


def present(pixels: Tensor, size: tuple[int, int], mark: str | None) -> Tensor:
    """pixels [H, W, 3] uint8 on the CPU -> [height, width, 3]. `size` is width and height; `mark` a short text."""
    height, width = pixels.shape[:2]
    if (width, height) == size and not mark:
        return pixels
    image = Image.fromarray(pixels.numpy()).resize(size, Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(marked(image, mark) if mark else image))


def marked(image: Image.Image, text: str) -> Image.Image:
    """The text across the picture, from the lower left to the upper right, light with a dark rim: it shows on any
    ground and covers the face, so that it can't be cut off."""
    diagonal = math.hypot(*image.size)
    font = _font(text, _SPAN * diagonal, _HEIGHT * min(image.size))
    rim = max(round(font.size / 20), 1)
    box = font.getbbox(text, anchor="mm", stroke_width=rim)
    sign = Image.new("L", (math.ceil(box[2] - box[0]) + 2, math.ceil(box[3] - box[1]) + 2))
    rimmed = sign.copy()
    middle = (sign.width / 2, sign.height / 2)
    ImageDraw.Draw(sign).text(middle, text, 255, font, anchor="mm")
    ImageDraw.Draw(rimmed).text(middle, text, 255, font, anchor="mm", stroke_width=rim)
    angle = math.degrees(math.atan2(image.height, image.width))
    for mask, ink in ((rimmed, "black"), (sign, "white")):
        turned = mask.rotate(angle, Image.Resampling.BICUBIC, expand=True).point(lambda value: value * _OPACITY)
        corner = ((image.width - turned.width) // 2, (image.height - turned.height) // 2)
        image.paste(ink, corner, turned)
    return image


def _font(text: str, width: float, height: float) -> ImageFont.FreeTypeFont:
    """As large as fits; pillow brings the letters along."""
    left, _, right, _ = _letters(_DRAWN_AT).getbbox(text)
    return _letters(max(min(width * _DRAWN_AT / max(right - left, 1), height), 1))


def _letters(size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "pillow was built without FreeType"
    return font
