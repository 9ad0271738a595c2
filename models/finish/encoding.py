"""Pixels to the bytes that leave: JPEG, WebP or PNG, without a trace of the selfie's metadata."""

import io

from PIL import Image
from torch import Tensor

from models.finish.jpeg import Encode, encode_on_cpu
from models.finish.png import encode_png
from models.wire.groups import ImageFormat

PREVIEW_SIDE = 256
PREVIEW_QUALITY = 70


def encode_image(pixels: Tensor, image_format: ImageFormat, quality: int, encode_jpeg: Encode = encode_on_cpu) -> bytes:
    """pixels [H, W, 3] uint8 on the CPU. `quality` is 1-100; PNG is lossless and ignores it."""
    if image_format == "webp":
        out = io.BytesIO()
        Image.fromarray(pixels.numpy()).save(out, "WEBP", quality=quality, method=2)
        return out.getvalue()
    if image_format == "png":
        return encode_png(pixels.numpy())
    return encode_jpeg(pixels, quality)


def encode_preview(pixels: Tensor) -> bytes:
    """A small JPEG of an unfinished picture."""
    image = Image.fromarray(pixels.numpy())
    image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=PREVIEW_QUALITY)
    return out.getvalue()
