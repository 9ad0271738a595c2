"""Pixels to the bytes that leave: JPEG, WebP or PNG, without a trace of the selfie's metadata.

PNG is OpenCV's, because Pillow's takes four times as long for a larger file (scripts/bench_codecs.py).
"""

import io

import cv2
import numpy as np
from PIL import Image
from torch import Tensor

from models.messages import ImageFormat

PREVIEW_SIDE = 256
PREVIEW_QUALITY = 70


def encode_image(pixels: Tensor, image_format: ImageFormat, quality: int) -> bytes:
    """pixels [H, W, 3] uint8 on the CPU. `quality` is 1-100; PNG is lossless and ignores it."""
    if image_format == "png":
        return cv2.imencode(".png", np.ascontiguousarray(pixels.numpy()[:, :, ::-1]))[1].tobytes()
    image = Image.fromarray(pixels.numpy())
    out = io.BytesIO()
    if image_format == "webp":
        image.save(out, "WEBP", quality=quality, method=2)
    else:
        image.save(out, "JPEG", quality=quality, subsampling=0 if quality > 90 else 2)
    return out.getvalue()


def encode_preview(pixels: Tensor) -> bytes:
    """A small JPEG of an unfinished picture."""
    image = Image.fromarray(pixels.numpy())
    image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=PREVIEW_QUALITY)
    return out.getvalue()
