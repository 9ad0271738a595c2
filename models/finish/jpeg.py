"""Pixels to baseline JPEGs without metadata: 4:2:0 up to quality 90, 4:4:4 above, where colour edges would show."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
from torch import Tensor

Encode = Callable[[Tensor, int], bytes]  # pixels [H, W, 3] uint8 on the CPU, quality 1-100

FINEST_HALVED = 90  # above it colours keep their full size


@dataclass(frozen=True, slots=True)
class JpegEncoder:
    """`encode` may be called by one thread at a time; `name` is what operators read."""

    name: str
    encode: Encode


def encode_on_cpu(pixels: Tensor, quality: int) -> bytes:
    """pixels [H, W, 3] uint8 on the CPU, quality 1-100. OpenCV writes Pillow's bytes sooner (.82, by hand)."""
    bgr = cv2.cvtColor(pixels.numpy(), cv2.COLOR_RGB2BGR)
    halved = quality <= FINEST_HALVED
    colour = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420 if halved else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, colour]
    return cv2.imencode(".jpg", bgr, options)[1].tobytes()


ON_CPU = JpegEncoder("OpenCV", encode_on_cpu)
