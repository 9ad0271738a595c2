"""Pixels to the bytes that leave: JPEG, WebP or PNG, without a trace of the selfie's metadata.

JPEG is OpenCV's, because Pillow's takes a fifth longer for the same bytes (scripts/bench_codecs.py).
"""

import io

import cv2
from PIL import Image
from torch import Tensor

from models.finish.png import encode_png
from models.messages import ImageFormat

PREVIEW_SIDE = 256
PREVIEW_QUALITY = 70


def encode_image(pixels: Tensor, image_format: ImageFormat, quality: int) -> bytes:
    """pixels [H, W, 3] uint8 on the CPU. `quality` is 1-100; PNG is lossless and ignores it."""
    if image_format == "webp":
        out = io.BytesIO()
        Image.fromarray(pixels.numpy()).save(out, "WEBP", quality=quality, method=2)
        return out.getvalue()
    if image_format == "png":
        return encode_png(pixels.numpy())
    bgr = cv2.cvtColor(pixels.numpy(), cv2.COLOR_RGB2BGR)
    colour = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444 if quality > 90 else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, colour]
    return cv2.imencode(".jpg", bgr, options)[1].tobytes()


def encode_preview(pixels: Tensor) -> bytes:
    """A small JPEG of an unfinished picture."""
    image = Image.fromarray(pixels.numpy())
    image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=PREVIEW_QUALITY)
    return out.getvalue()
