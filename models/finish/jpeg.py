"""Pixels to baseline JPEGs without metadata: 4:2:0 up to quality 90, 4:4:4 above, where colour edges would show."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import simplejpeg
from torch import Tensor

Encode = Callable[[Tensor, int], bytes]  # pixels [H, W, 3] uint8 on the CPU, quality 1-100

FINEST_HALVED = 90  # above it colours keep their full size


@dataclass(frozen=True, slots=True)
class JpegEncoder:
    """`encode` may be called by one thread at a time; `name` is what operators read."""

    name: str
    encode: Encode


def encode_on_cpu(pixels: Tensor, quality: int) -> bytes:
    """pixels [H, W, 3] uint8 on the CPU, quality 1-100. libjpeg-turbo itself: OpenCV wants colours swapped first."""
    colours = "420" if quality <= FINEST_HALVED else "444"
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels.numpy()), quality, "RGB", colours, fastdct=False)


ON_CPU = JpegEncoder("libjpeg-turbo", encode_on_cpu)
